//! The task that fetches leases, and gives back the tokens that no caller has spent.

use super::message::{Ask, Done, Key, Message, tell};
use super::record::Records;
use super::shared::Shared;
use super::size;
use crate::redis::error::RedisError;
use crate::redis::script;
use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};

/// The most calls in flight at once.
const CALLS: usize = 256;

#[derive(Debug)]
enum Event {
    Done(Option<Done>),
    /// `None` if no handle is left that could ask.
    Message(Option<Message>),
    Due,
}

/// The state of the task.
pub(super) struct Refiller {
    pub(super) shared: Arc<Shared>,
    asks: mpsc::Receiver<Message>,
    pub(super) records: Records,
    calls: JoinSet<Done>,
    /// The tokens on their way back to Redis.
    pub(super) returning: u64,
    timer: Option<(u64, Pin<Box<Sleep>>)>,
    /// Whether the task is to end.
    pub(super) stops: bool,
}

impl Refiller {
    pub(super) fn new(shared: Arc<Shared>, asks: mpsc::Receiver<Message>) -> Self {
        let (records, calls) = (Records::default(), JoinSet::new());
        Self { shared, asks, records, calls, returning: 0, timer: None, stops: false }
    }

    /// Runs until the task is told to stop, or no handle is left that could.
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
        // A caller that has asked for a lease learns of it as its answer is dropped.
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
        // While there is no room for a call, requests wait in their queue.
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

    /// Sets the timer for the next record that is due.
    fn set_timer(&mut self) {
        let due = self.records.next();
        if self.timer.as_ref().map(|(due, _)| *due) != due {
            let wait = |due: u64| due.saturating_sub(self.shared.leases.nanos());
            self.timer = due.map(|due| (due, Box::pin(sleep(Duration::from_nanos(wait(due))))));
        }
    }

    /// Acts on a request for a lease.
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

    /// Fetches a lease for the callers that want one by now.
    pub(super) fn fetch(&mut self, key: &Key, now: u64) {
        // If the process has stood still, the last lease may have ended. It is given back first;
        // the fetch comes after that.
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
        // Nothing is known yet of the rate of a new key: it gets no more than it needs.
        let size = if record.size == 0 { 1 } else { rate() };
        record.size = size.max(record.need).min(shared.max_lease);
        let want = record.size.saturating_sub(left);
        record.wanted = false;
        record.need = 0;
        record.waiting.append(&mut record.next);
        if want == 0 {
            // There is enough left of a lease that is about to end: it goes on.
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
            // The lease is shorter by the time that the call takes.
            let began = shared.leases.nanos();
            let asked = !shared.redis.is_away();
            let ask = script::Ask::UpTo(want);
            let answer = shared.redis.requests.decide(&key, ask, want.min(1)).await;
            Done::Fetched { key, want, began, asked, answer }
        });
    }

    /// Looks at the records that are due: a key may ask again, or its lease has ended.
    fn look_at_due(&mut self) {
        let now = self.shared.leases.nanos();
        // Not all at once, since other tasks want the thread too.
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

    /// Gives back the tokens left of a lease that has ended. Returns whether there are any.
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

    /// Gives tokens back to Redis that no caller can spend here.
    pub(super) fn give_back(&mut self, key: &Key, tokens: u64) {
        let Some(record) = self.records.get(key) else { return };
        record.calls = true;
        self.returning += tokens;
        let (shared, key) = (self.shared.clone(), key.clone());
        self.calls.spawn(async move {
            let answer = shared.redis.requests.refund(&key, tokens).await;
            Done::Returned { key, tokens, answer }
        });
    }

    /// Collects the tokens left of all leases, and gives them back, within the time that a lease
    /// holds.
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

/// The end of the runtime ends the task too.
impl Drop for Refiller {
    fn drop(&mut self) {
        self.shared.ended.close();
    }
}
