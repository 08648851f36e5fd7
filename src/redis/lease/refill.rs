//! The task that fetches leases, and gives back what has not been spent of them.

use super::record::{Key, Records};
use super::{Shared, size};
use crate::answer::{Denied, Grant};
use crate::redis::RedisError;
use crate::redis::script::units::Ask as Exact;
use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};

/// Calls on their way at once.
const CALLS: usize = 256;

/// Who waits for a lease. Told nothing, it looks whether there is enough for it.
pub(super) type Waiter = oneshot::Sender<Result<(), RedisError>>;

/// A key wants a lease.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) hash: u64,
    /// What stands for it in the limiter: see `key.rs`.
    pub(super) key: Key,
    pub(super) need: u64,
    pub(super) waiter: Option<Waiter>,
}

#[derive(Debug)]
pub(super) enum Message {
    Ask(Ask),
    /// Give all back, and end.
    Stop,
}

/// A call that has ended.
#[derive(Debug)]
pub(super) enum Done {
    Fetched { key: Key, want: u64, began: u64, asked: bool, answer: Result<Grant, RedisError> },
    Returned { key: Key, tokens: u64, answer: Result<(), RedisError> },
}

#[derive(Debug)]
enum Event {
    Done(Option<Done>),
    /// `None`: there is nobody left who could ask.
    Message(Option<Message>),
    Due,
}

/// The task's own.
pub(super) struct Refiller {
    pub(super) shared: Arc<Shared>,
    asks: mpsc::Receiver<Message>,
    pub(super) records: Records,
    calls: JoinSet<Done>,
    /// Tokens on their way back to Redis.
    pub(super) returning: u64,
    timer: Option<(u64, Pin<Box<Sleep>>)>,
    /// Whether it is to end.
    pub(super) stops: bool,
}

impl Refiller {
    pub(super) fn new(shared: Arc<Shared>, asks: mpsc::Receiver<Message>) -> Self {
        let (records, calls) = (Records::default(), JoinSet::new());
        Self { shared, asks, records, calls, returning: 0, timer: None, stops: false }
    }

    /// Until it is told to stop, or nobody is left who could.
    pub(super) async fn run(mut self) {
        loop {
            match self.event().await {
                Event::Done(done) => self.done(done),
                Event::Message(Some(Message::Ask(ask))) => self.ask(ask),
                Event::Message(Some(Message::Stop) | None) => break,
                Event::Due => self.look_at_due(),
            }
        }
        self.asks.close();
        // Who has asked for a lease is told by the loss of its answer.
        while self.asks.try_recv().is_ok() {}
        self.give_all_back().await;
    }

    async fn event(&mut self) -> Event {
        self.set_timer();
        poll_fn(|context| self.poll_event(context)).await
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(Some(done)) = self.calls.poll_join_next(context) {
            return Poll::Ready(Event::Done(done.ok()));
        }
        // Without room for a call requests wait in their queue.
        if self.calls.len() >= CALLS {
            return Poll::Pending;
        }
        if let Some((_, sleep)) = &mut self.timer
            && sleep.as_mut().poll(context).is_ready()
        {
            self.timer = None;
            return Poll::Ready(Event::Due);
        }
        self.asks.poll_recv(context).map(Event::Message)
    }

    /// For when the next record is due.
    fn set_timer(&mut self) {
        let due = self.records.next();
        if self.timer.as_ref().map(|(due, _)| *due) != due {
            let wait = |due: u64| due.saturating_sub(self.shared.leases.nanos());
            self.timer = due.map(|due| (due, Box::pin(sleep(Duration::from_nanos(wait(due))))));
        }
    }

    /// A request for a lease.
    fn ask(&mut self, ask: Ask) {
        let Ask { hash, key, need, waiter } = ask;
        let now = self.shared.leases.nanos();
        if self.records.get(&key).is_none() {
            if self.records.len() >= self.shared.capacity {
                self.shared.drop_ask(hash);
                if let Some(waiter) = waiter {
                    let full = "too many keys have leases at once: the capacity is too small";
                    tell(waiter, Err(RedisError::Unavailable(full.to_string())));
                }
                return;
            }
            self.records.insert(key.clone(), hash);
        }
        let Some(record) = self.records.get(&key) else { return };
        if now < record.held
            && let Some(verdict) = &record.verdict
        {
            if let Some(waiter) = waiter {
                tell(waiter, Err(self.shared.still(verdict, record.held - now)));
            }
            return;
        }
        record.wanted = true;
        match waiter {
            Some(waiter) => {
                record.need = record.need.saturating_add(need);
                record.next.push(waiter);
            }
            None => record.need = record.need.max(need),
        }
        if !record.calls && now >= record.held {
            self.fetch(&key, now);
        }
        self.records.plan(&key);
    }

    /// Fetches a lease for those who want one by now.
    pub(super) fn fetch(&mut self, key: &Key, now: u64) {
        // The process may have stood still since, and another have taken its place: that comes first, and this after it.
        if self.end(key, now) {
            return;
        }
        let shared = self.shared.clone();
        let Some(record) = self.records.get(key) else { return };
        let left = shared.leases.left(record.hash);
        let rate = || {
            let spent = record.left.saturating_sub(left);
            let elapsed = now.saturating_sub(record.at);
            size::next(record.size, spent, elapsed, shared.horizon, shared.max_lease)
        };
        // Nothing is known yet of a key that is new: what is asked for is all that it gets.
        let size = if record.size == 0 { 1 } else { rate() };
        record.size = size.max(record.need).min(shared.max_lease);
        let want = record.size.saturating_sub(left);
        record.wanted = false;
        record.need = 0;
        record.waiting.append(&mut record.next);
        if want == 0 {
            // There is enough, of a lease that is about to end: it goes on.
            let ends = now + shared.lease_for;
            if let Some(left) = shared.leases.deposit(record.hash, 0, record.size, ends) {
                (record.left, record.at, record.ends) = (left, now, ends);
            }
            record.waiting.drain(..).for_each(|waiter| tell(waiter, Ok(())));
            return;
        }
        record.calls = true;
        shared.counters.fetches.add(1);
        let key = key.clone();
        self.calls.spawn(async move {
            // The lease is shorter by as long as the call takes.
            let began = shared.leases.nanos();
            let asked = !shared.redis.is_away();
            let path = &shared.redis.path;
            let answer = path.decide(&key, Exact::UpTo(want), want.min(1)).await;
            Done::Fetched { key, want, began, asked, answer }
        });
    }

    /// Records that are due: a key may ask again, or its lease has ended.
    fn look_at_due(&mut self) {
        let now = self.shared.leases.nanos();
        // Not all at once: others want the thread as well.
        for _ in 0..CALLS {
            if self.calls.len() >= CALLS {
                break;
            }
            let Some(key) = self.records.pop_due(now) else { break };
            self.look_at(&key, now);
            self.records.plan(&key);
        }
    }

    fn look_at(&mut self, key: &Key, now: u64) {
        let Some(record) = self.records.get(key) else { return };
        if record.held > 0 && now >= record.held {
            (record.held, record.verdict) = (0, None);
            if record.wanted {
                return self.fetch(key, now);
            }
            self.shared.leases.unask(record.hash);
        }
        self.end(key, now);
    }

    /// Gives back what is left of a lease that has ended. Whether there is anything.
    fn end(&mut self, key: &Key, now: u64) -> bool {
        let Some(record) = self.records.get(key) else { return false };
        if record.ends == 0 || now < record.ends {
            return false;
        }
        record.ends = 0;
        let tokens = self.shared.leases.withdraw(record.hash);
        if tokens > 0 {
            self.give_back(key, tokens);
        }
        tokens > 0
    }

    /// Gives tokens back to Redis that nobody can spend here.
    pub(super) fn give_back(&mut self, key: &Key, tokens: u64) {
        let Some(record) = self.records.get(key) else { return };
        record.calls = true;
        self.returning += tokens;
        let (shared, key) = (self.shared.clone(), key.clone());
        self.calls.spawn(async move {
            let answer = shared.redis.path.refund(&key, tokens).await;
            Done::Returned { key, tokens, answer }
        });
    }

    /// Takes in what is left of all leases, and gives it back, for as long as one holds.
    async fn give_all_back(&mut self) {
        self.stops = true;
        let mut left = Vec::new();
        for key in self.records.keys() {
            let Some(record) = self.records.get(&key) else { continue };
            (record.waiting, record.next) = (Vec::new(), Vec::new());
            let tokens = self.shared.leases.withdraw(record.hash);
            if tokens > 0 {
                left.push((key, tokens));
            }
        }
        let mut end = Box::pin(sleep(Duration::from_nanos(self.shared.lease_for)));
        loop {
            while self.calls.len() < CALLS
                && let Some((key, tokens)) = left.pop()
            {
                self.give_back(&key, tokens);
            }
            let next = poll_fn(|context| match self.calls.poll_join_next(context) {
                Poll::Ready(done) => Poll::Ready(done),
                Poll::Pending => end.as_mut().poll(context).map(|()| None),
            });
            match next.await {
                Some(done) => self.done(done.ok()),
                None => break,
            }
        }
        let rest = left.iter().map(|(_, tokens)| tokens).sum::<u64>();
        self.shared.counters.lost.add(rest + self.returning);
    }
}

/// Also where the runtime ends it.
impl Drop for Refiller {
    fn drop(&mut self) {
        self.shared.ended.close();
    }
}

impl Shared {
    /// The same again, that much later.
    fn still(&self, verdict: &RedisError, left: u64) -> RedisError {
        match verdict {
            RedisError::Denied(denied) => Denied::new(denied.asked(), self.figures(0, left)).into(),
            failure => failure.clone(),
        }
    }
}

/// It may have lost patience.
pub(super) fn tell(waiter: Waiter, what: Result<(), RedisError>) {
    let _ = waiter.send(what);
}
