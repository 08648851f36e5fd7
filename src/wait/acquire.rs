//! Waiting in a future.

use super::Of;
use super::held::{Ask, Asker, Held, Holds};
use crate::answer::{Denied, Grant};
use crate::bucket::Whose;
use crate::bucket::queue::Stand;
use crate::clock::{Instant, instant};
use crate::keyed::KeyedLimiter;
use crate::limiter::RateLimiter;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::hash::{BuildHasher, Hash};
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use tokio::task::coop;
use tokio::time::{Sleep, sleep};

/// The future of [`acquire`](RateLimiter::acquire) and its kin.
///
/// Nothing is taken before it is polled first. From then on it stands in line, first come, first served, and is woken
/// once. Dropped at any moment, it costs nobody a token: those behind it come earlier by what it leaves, also if
/// its own moment had come and it had not been polled since. Polled again when it is done, it answers the same.
#[must_use = "futures do nothing unless they are awaited"]
#[derive(Debug)]
pub struct Acquire<'a> {
    wait: Wait<Request<'a>>,
}

/// Whose line, and how many tokens.
#[derive(Clone)]
struct Request<'a> {
    bucket: Of<'a>,
    whose: Whose,
    n: u64,
}

impl<'a> Ask for Request<'a> {
    type Holds = Held<'a>;

    fn ask(&self, within: Option<Duration>, asker: Asker<'_>) -> Result<Held<'a>, Denied> {
        Held::take(self.bucket.clone(), self.whose, self.n, within, || asker.notify())
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("n", &self.n).finish_non_exhaustive()
    }
}

impl<'a> Acquire<'a> {
    pub(crate) fn new(
        bucket: impl Into<Of<'a>>,
        whose: Whose,
        n: u64,
        within: Option<Duration>,
    ) -> Self {
        let bucket = bucket.into();
        Self { wait: Wait::new(Request { bucket, whose, n }, within) }
    }

    /// Waits a random time longer, at most `up_to`, and no longer than the timeout: so that many who
    /// became due at the same moment do not act at the same moment. The place in line stays the same. It counts from
    /// when the tokens are there.
    pub fn jitter(mut self, up_to: Duration) -> Self {
        self.wait.jitter_by(up_to);
        self
    }

    /// The tokens, which are handed on if they are not spent.
    pub(super) fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<Held<'a>, Denied>> {
        self.wait.poll_held(cx)
    }
}

/// Random enough to spread: the standard library's hasher with random keys, of which each has others.
fn random(up_to: Duration) -> Duration {
    let random = std::hash::RandomState::new().hash_one(());
    let nanos = u64::try_from(up_to.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(((u128::from(random) * u128::from(nanos)) >> 64) as u64)
}

impl Future for Acquire<'_> {
    type Output = Result<Grant, Denied>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.wait.poll(cx)
    }
}

/// How far a wait is.
enum State<A: Ask> {
    /// To be asked, for a wait of that time at most.
    Asked(A, Option<Duration>),
    /// In line, or with its tokens.
    Holds(A::Holds),
    Done(Result<Grant, Denied>),
    /// Somebody else has the tokens now.
    Gone,
}

/// Waiting for what is taken at the first poll.
pub(crate) struct Wait<A: Ask> {
    state: State<A>,
    /// Apart, since few want it.
    jitter: Option<Box<Jitter>>,
}

/// A random time more.
struct Jitter {
    up_to: Duration,
    /// When the caller's patience ends.
    latest: Option<Instant>,
    /// From when the tokens are there.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<A: Ask> Unpin for Wait<A> {}

impl<A: Ask> Wait<A> {
    pub(crate) fn new(ask: A, within: Option<Duration>) -> Self {
        Self { state: State::Asked(ask, within), jitter: None }
    }

    pub(crate) fn jitter_by(&mut self, up_to: Duration) {
        self.jitter = Some(Box::new(Jitter { up_to, latest: None, timer: None }));
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Grant, Denied>> {
        if let State::Done(answer) = &self.state {
            return Poll::Ready(*answer);
        }
        let answer = ready!(self.poll_due(cx)).map(Holds::spend);
        self.state = State::Done(answer);
        Poll::Ready(answer)
    }

    /// The hold, once it is due. It is asked no more after that.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<A::Holds, Denied>> {
        if let Err(denied) = ready!(self.poll_due(cx)) {
            self.state = State::Gone;
            return Poll::Ready(Err(denied));
        }
        match mem::replace(&mut self.state, State::Gone) {
            State::Holds(holds) => Poll::Ready(Ok(holds)),
            // It was polled again after it was done.
            state => {
                self.state = state;
                Poll::Pending
            }
        }
    }

    /// The hold, once it is due, where it is: it is large to move.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Result<&mut A::Holds, Denied>> {
        if let State::Asked(ask, within) = &self.state {
            // A loop of calls that need not wait lets other tasks run.
            let budget = ready!(coop::poll_proceed(cx));
            let asked = ask.ask(*within, Asker::Task(cx.waker()));
            budget.made_progress();
            if let Some(jitter) = &mut self.jitter {
                jitter.latest = within.and_then(|within| instant().checked_add(within));
            }
            match asked {
                Ok(holds) => {
                    let will_be_told = holds.will_be_told();
                    self.state = State::Holds(holds);
                    if will_be_told {
                        return Poll::Pending;
                    }
                }
                Err(denied) => return Poll::Ready(Err(denied)),
            }
        }
        // It was polled again after it was done.
        let State::Holds(holds) = &mut self.state else { return Poll::Pending };
        match holds.stand(Asker::Task(cx.waker())) {
            Stand::Waits(_) => return Poll::Pending,
            Stand::Late(by) => return Poll::Ready(Err(holds.late(by))),
            Stand::Granted => {}
        }
        if let Some(jitter) = &mut self.jitter {
            ready!(jitter.poll(cx));
        }
        Poll::Ready(Ok(holds))
    }
}

impl Jitter {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = match &mut self.timer {
            Some(timer) => timer,
            none => {
                let rest = self.latest.map(|latest| latest.saturating_duration_since(instant()));
                let delay = random(rest.map_or(self.up_to, |rest| rest.min(self.up_to)));
                if delay.is_zero() {
                    return Poll::Ready(());
                }
                none.insert(Box::pin(sleep(delay)))
            }
        };
        timer.as_mut().poll(cx)
    }
}

impl<A: Ask + fmt::Debug> fmt::Debug for Wait<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Asked(ask, _) => f.debug_tuple("Asked").field(ask).finish(),
            State::Holds(_) => f.write_str("Waiting"),
            State::Done(answer) => f.debug_tuple("Done").field(answer).finish(),
            State::Gone => f.write_str("Done"),
        }
    }
}

impl RateLimiter {
    /// Takes `n` tokens, and waits until they are there, in the order of the first polls.
    ///
    /// Nothing is taken before the first poll. If the tokens are there it is ready at once, at the cost of a check.
    /// Otherwise the caller stands in line, and one of tokio's timers rings for the first of it. Whoever leaves the line,
    /// at any moment, costs nobody a token: those behind come earlier by as much, and also when the quota is
    /// raised. A lower one makes the wait longer. Timers have milliseconds: a wait ends up to one later than its
    /// moment, never before. A limiter that is waited for on a paused clock should read
    /// [`TokioClock`](crate::TokioClock).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sluicegate::{Quota, RateLimiter, TokioClock};
    ///
    /// let limiter = RateLimiter::builder(Quota::per_second(2).burst(1)).clock(TokioClock::new()).build()?;
    /// let start = tokio::time::Instant::now();
    /// for _ in 0..5 {
    ///     limiter.acquire(1).await?;
    /// }
    /// assert_eq!(start.elapsed().as_millis(), 2_000);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// At once, as [`reserve`](Self::reserve).
    ///
    /// # Panics
    ///
    /// A wait panics outside of a tokio runtime with its time enabled.
    pub fn acquire(&self, n: u64) -> Acquire<'_> {
        Acquire::new(self, Whose::default(), n, None)
    }

    /// [`acquire`](Self::acquire), if the wait is at most `timeout`. Otherwise it fails at once, and takes
    /// nothing: what is known to come too late is not waited for. If it becomes so by a lower rate, it fails then, and
    /// gives its place up.
    ///
    /// # Errors
    ///
    /// At once, as [`reserve_within`](Self::reserve_within).
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire).
    pub fn acquire_timeout(&self, n: u64, timeout: Duration) -> Acquire<'_> {
        Acquire::new(self, Whose::default(), n, Some(timeout))
    }

    /// [`acquire`](Self::acquire) by a future that owns its limiter, for tasks that outlive the call.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire).
    pub fn acquire_owned(self: Arc<Self>, n: u64) -> Acquire<'static> {
        Acquire::new(self, Whose::default(), n, None)
    }
}

impl<K: Hash + ?Sized> KeyedLimiter<K> {
    /// [`RateLimiter::acquire`] in the key's line.
    ///
    /// # Errors
    ///
    /// At once, as [`reserve`](Self::reserve).
    ///
    /// # Panics
    ///
    /// As [`RateLimiter::acquire`].
    pub fn acquire(&self, key: &K, n: u64) -> Acquire<'_> {
        Acquire::new(self, self.whose(key), n, None)
    }

    /// [`RateLimiter::acquire_timeout`] in the key's line.
    ///
    /// # Errors
    ///
    /// At once, as [`reserve_within`](Self::reserve_within).
    ///
    /// # Panics
    ///
    /// As [`RateLimiter::acquire`].
    pub fn acquire_timeout(&self, key: &K, n: u64, timeout: Duration) -> Acquire<'_> {
        Acquire::new(self, self.whose(key), n, Some(timeout))
    }

    /// [`acquire`](Self::acquire) by a future that owns its limiter.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire).
    pub fn acquire_owned(self: Arc<Self>, key: &K, n: u64) -> Acquire<'static>
    where
        K: 'static,
    {
        let whose = self.whose(key);
        Acquire::new(self, whose, n, None)
    }
}
