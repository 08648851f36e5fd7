//! Waiting in a future.

use super::{Held, Of, Reservation, too_late};
use crate::error::Denied;
use crate::figures::Grant;
use crate::keyed::KeyedLimiter;
use crate::limiter::RateLimiter;
use crate::line::Whose;
use core::fmt;
use core::future::Future;
use core::hash::{BuildHasher, Hash};
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use pin_project_lite::pin_project;
use tokio::task::coop;
use tokio::time::{Sleep, sleep};

pin_project! {
    /// The future of [`acquire`](RateLimiter::acquire) and its kin.
    ///
    /// Nothing is taken before it is polled first. From then on it holds a place in line, and one timer for
    /// that moment, so it is woken once. Dropped before, it gives the place up as
    /// [`Reservation::cancel`] does. Polled again when it is done, it answers the same.
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Acquire<'a> {
        #[pin]
        wait: Wait<Request<'a>>,
    }
}

/// Whose line, and how many tokens.
#[derive(Clone, Copy)]
struct Request<'a> {
    line: Of<'a>,
    whose: Whose,
    n: u64,
}

impl<'a> Ask for Request<'a> {
    type Place = Reservation<'a>;

    fn place(&self, within: Option<Duration>) -> Result<Reservation<'a>, Denied> {
        Reservation::take(self.line, self.whose, self.n, within)
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("n", &self.n).finish_non_exhaustive()
    }
}

impl<'a> Acquire<'a> {
    pub(super) fn new(line: Of<'a>, whose: Whose, n: u64, within: Option<Duration>) -> Self {
        Self { wait: Wait::new(Request { line, whose, n }, within) }
    }

    /// Waits a random time longer, at most `up_to`, and no longer than the timeout: so that many who
    /// became due at the same moment do not act at the same moment. The place in line stays the same. It counts from
    /// the first poll.
    pub fn jitter(mut self, up_to: Duration) -> Self {
        self.wait.jitter(up_to);
        self
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

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().wait.poll(cx)
    }
}

/// What is to be waited for.
pub(crate) trait Ask {
    /// What is held meanwhile.
    type Place: Held;

    /// Takes it, unless it were due only after `within`.
    fn place(&self, within: Option<Duration>) -> Result<Self::Place, Denied>;
}

/// How far a wait is. One after the other in the same memory, since who is woken finds none of it in his caches.
#[derive(Debug)]
enum State<A: Ask> {
    Asked {
        ask: A,
        within: Option<Duration>,
        jitter: Duration,
    },
    /// And how much later it may yet become.
    Waiting(A::Place, Option<Duration>),
    Done(Result<Grant, Denied>),
}

pin_project! {
    /// Waiting for what is taken at the first poll.
    pub(crate) struct Wait<A: Ask> {
        state: State<A>,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<A: Ask> Wait<A> {
    pub(crate) fn new(ask: A, within: Option<Duration>) -> Self {
        Self { state: State::Asked { ask, within, jitter: Duration::ZERO }, timer: None }
    }

    pub(crate) fn jitter(&mut self, up_to: Duration) {
        if let State::Asked { jitter, .. } = &mut self.state {
            *jitter = up_to;
        }
    }

    pub(crate) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Grant, Denied>> {
        let mut this = self.project();
        if let State::Asked { ask, within, jitter } = &*this.state {
            // A loop of calls that need not wait lets other tasks run.
            let budget = ready!(coop::poll_proceed(cx));
            let taken = ask.place(*within);
            budget.made_progress();
            *this.state = match taken {
                Ok(place) => {
                    let wait = place.waits();
                    let most =
                        within.map_or(*jitter, |within| (*jitter).min(within.saturating_sub(wait)));
                    let wait =
                        if most.is_zero() { wait } else { wait.saturating_add(random(most)) };
                    if !wait.is_zero() {
                        this.timer.set(Some(sleep(wait)));
                    }
                    let rest = within.map(|within| within.saturating_sub(wait));
                    State::Waiting(place, rest)
                }
                Err(denied) => State::Done(Err(denied)),
            };
        }
        let (place, rest) = match this.state {
            State::Waiting(place, rest) => (place, rest),
            State::Done(answer) => return Poll::Ready(*answer),
            // It has just been taken, or denied.
            State::Asked { .. } => return Poll::Pending,
        };
        while let Some(timer) = this.timer.as_mut().as_pin_mut() {
            ready!(timer.poll(cx));
            // Another quota may have moved the place; the limiter's clock is not asked otherwise, so that a
            // timer's word is enough.
            this.timer.set(None);
            let Some(left) = place.moved() else { break };
            if let Some(late) = too_late(left, rest) {
                let answer = Err(place.late(late));
                *this.state = State::Done(answer);
                return Poll::Ready(answer);
            }
            this.timer.set(Some(sleep(left)));
        }
        let answer = Ok(place.used());
        *this.state = State::Done(answer);
        Poll::Ready(answer)
    }
}

impl<A: Ask + fmt::Debug> fmt::Debug for Wait<A>
where
    A::Place: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.fmt(f)
    }
}

impl fmt::Debug for Acquire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Acquire").field(&self.wait).finish()
    }
}

impl RateLimiter {
    /// Takes `n` tokens, and waits until they are there, in the order of the first polls.
    ///
    /// It is a [`reserve`](Self::reserve) with one of tokio's timers: nothing is taken before the first poll, and
    /// what is dropped gives its place up. If the tokens are there it is ready at once, at the cost of a check.
    /// Timers have milliseconds: a wait ends up to one later than its moment, never before. A lower rate makes it longer;
    /// a higher one is for those who come after, since nobody is woken before his timer. A limiter that is waited for
    /// on a paused clock should read [`TokioClock`](crate::TokioClock).
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
    /// nothing: what is known to come too late is not waited for. If it becomes so by a lower rate, it fails when it would
    /// have ended, and gives its place up.
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
}
