//! Waiting in a future.

use super::Of;
use super::held::{Ask, Asker, Held, Holds};
use crate::answer::{Denied, Grant};
use crate::bucket::Whose;
use crate::bucket::queue::Progress;
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

/// The future of every limiter's `acquire`, such as [`RateLimiter::acquire`].
///
/// Nothing is taken before the first poll. From then on the caller stands in line, first come, first
/// served, and its task is woken once. A future that is dropped, at any moment, costs nobody a token:
/// the callers behind it come earlier by what it leaves, even if its own moment had come and it had
/// not been polled since. Polled after its answer, a limiter's in memory returns the same answer;
/// others stay pending.
///
/// `E` is the limiter's error: [`Denied`] in memory, and one that contains it elsewhere.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Acquire<'a, E = Denied> {
    wait: Waiting<'a, E>,
}

enum Waiting<'a, E> {
    /// For one limiter in memory, without an allocation.
    One(Wait<Request<'a>>, fn(Denied) -> E),
    Other(Box<dyn Pollable<E> + Send + 'a>),
}

/// A wait that can be polled, behind a pointer.
pub(crate) trait Pollable<E>: fmt::Debug {
    /// Bounds the wait.
    fn wait_at_most(&mut self, longest: Duration);

    /// Waits a random time of at most `up_to` longer.
    fn jitter_by(&mut self, up_to: Duration);

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Grant, E>>;
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
    pub(crate) fn new(bucket: impl Into<Of<'a>>, whose: Whose, n: u64) -> Self {
        Self::failing(bucket, whose, n, |denied| denied)
    }

    /// The tokens, which are handed on if they are not spent. Of one limiter in memory only.
    pub(super) fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<Held<'a>, Denied>> {
        match &mut self.wait {
            Waiting::One(wait, _) => wait.poll_held(cx),
            Waiting::Other(_) => Poll::Pending,
        }
    }
}

impl<'a, E> Acquire<'a, E> {
    /// Waits for a limiter in memory, and makes an error of its denial.
    pub(crate) fn failing(
        bucket: impl Into<Of<'a>>,
        whose: Whose,
        n: u64,
        error: fn(Denied) -> E,
    ) -> Self {
        let wait = Wait::new(Request { bucket: bucket.into(), whose, n });
        Self { wait: Waiting::One(wait, error) }
    }

    pub(crate) fn other(wait: impl Pollable<E> + Send + 'a) -> Self {
        Self { wait: Waiting::Other(Box::new(wait)) }
    }

    /// Waits `longest` at most. A caller whose tokens would come later is denied at once and takes
    /// nothing. If a lower rate makes them come later while it waits, it is denied then, and gives its
    /// place up. [`Denied::retry_after`] says by how much they would come too late.
    pub fn timeout(mut self, longest: Duration) -> Self {
        match &mut self.wait {
            Waiting::One(wait, _) => wait.wait_at_most(longest),
            Waiting::Other(wait) => wait.wait_at_most(longest),
        }
        self
    }

    /// Waits a random time longer, at most `up_to`, and no longer than the timeout: so callers whose
    /// tokens come at the same moment do not all act at that moment. The time counts from when the
    /// tokens are there; the place in line stays the same.
    pub fn jitter(mut self, up_to: Duration) -> Self {
        match &mut self.wait {
            Waiting::One(wait, _) => wait.jitter_by(up_to),
            Waiting::Other(wait) => wait.jitter_by(up_to),
        }
        self
    }
}

impl<E> Future for Acquire<'_, E> {
    type Output = Result<Grant, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.wait {
            Waiting::One(wait, error) => wait.poll(cx).map_err(*error),
            Waiting::Other(wait) => wait.poll(cx),
        }
    }
}

impl<E> fmt::Debug for Acquire<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("Acquire");
        match &self.wait {
            Waiting::One(wait, _) => tuple.field(wait),
            Waiting::Other(wait) => tuple.field(wait),
        };
        tuple.finish()
    }
}

/// Random enough to spread: the standard library's hasher with random keys, of which each has others.
fn random(up_to: Duration) -> Duration {
    let random = std::hash::RandomState::new().hash_one(());
    let nanos = u64::try_from(up_to.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(((u128::from(random) * u128::from(nanos)) >> 64) as u64)
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
pub(super) struct Jitter {
    up_to: Duration,
    /// When the caller's patience ends.
    latest: Option<Instant>,
    /// From when the tokens are there.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<A: Ask> Unpin for Wait<A> {}

impl<A: Ask> Wait<A> {
    pub(crate) fn new(ask: A) -> Self {
        Self { state: State::Asked(ask, None), jitter: None }
    }

    fn wait_at_most(&mut self, longest: Duration) {
        if let State::Asked(_, within) = &mut self.state {
            *within = Some(longest);
        }
    }

    fn jitter_by(&mut self, up_to: Duration) {
        self.jitter = Some(Box::new(Jitter::new(up_to)));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Grant, Denied>> {
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
                jitter.end_by(*within);
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
        match holds.progress(Asker::Task(cx.waker())) {
            Progress::Waits(_) => return Poll::Pending,
            Progress::Late(by) => return Poll::Ready(Err(holds.late(by))),
            Progress::Granted => {}
        }
        if let Some(jitter) = &mut self.jitter {
            ready!(jitter.poll(cx));
        }
        Poll::Ready(Ok(holds))
    }
}

impl<A: Ask + fmt::Debug> Pollable<Denied> for Wait<A> {
    fn wait_at_most(&mut self, longest: Duration) {
        self.wait_at_most(longest);
    }

    fn jitter_by(&mut self, up_to: Duration) {
        self.jitter_by(up_to);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Grant, Denied>> {
        self.poll(cx)
    }
}

impl Jitter {
    pub(super) fn new(up_to: Duration) -> Self {
        Self { up_to, latest: None, timer: None }
    }

    /// Ends with the caller's patience, which begins now.
    pub(super) fn end_by(&mut self, within: Option<Duration>) {
        self.latest = within.and_then(|within| instant().checked_add(within));
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
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
        Acquire::new(self, Whose::default(), n)
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
        Acquire::new(self, Whose::default(), n)
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
        Acquire::new(self, self.whose(key), n)
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
        Acquire::new(self, whose, n)
    }
}
