//! Futures that wait for tokens.

use super::Of;
use super::held::{Ask, Asker, Held, Holds};
use super::jitter::Jitter;
use crate::answer::{Denied, Grant};
use crate::bucket::Whose;
use crate::bucket::queue::Progress;
use crate::keyed::KeyedLimiter;
use crate::limiter::RateLimiter;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::hash::Hash;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use tokio::task::coop;

/// The future of every limiter's `acquire`, such as [`RateLimiter::acquire`].
///
/// The first poll takes the tokens, or a place in line in the order of the first polls. While the
/// caller waits, its task is woken once. Dropping the future at any moment costs no other caller a
/// token: the callers behind it come earlier by the tokens that it leaves. This holds even if the
/// future's tokens were already granted but it has not been polled since. After its answer, the
/// future of a limiter in memory returns the same answer on every poll; that of any other limiter
/// stays pending.
///
/// `E` is the error of the limiter: [`Denied`] in memory, and an error that contains a `Denied`
/// elsewhere.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Acquire<'a, E = Denied> {
    wait: Waiting<'a, E>,
}

enum Waiting<'a, E> {
    /// The wait for one limiter in memory. It needs no allocation.
    One(Wait<Request<'a>>, fn(Denied) -> E),
    Other(Box<dyn Pollable<E> + Send + 'a>),
}

/// A wait behind a pointer.
pub(crate) trait Pollable<E>: fmt::Debug {
    /// Bounds the wait.
    fn wait_at_most(&mut self, longest: Duration);

    /// Lengthens the wait by a random time of at most `up_to`.
    fn jitter_by(&mut self, up_to: Duration);

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Grant, E>>;
}

/// A request for `n` tokens in a bucket's line.
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

    /// Polls for the tokens. The hold gives them to the next caller if it is dropped unspent. Only
    /// a future of one limiter in memory may be polled so.
    pub(super) fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<Held<'a>, Denied>> {
        match &mut self.wait {
            Waiting::One(wait, _) => wait.poll_held(cx),
            Waiting::Other(_) => Poll::Pending,
        }
    }
}

impl<'a, E> Acquire<'a, E> {
    /// Makes the future of a limiter in memory. `error` turns its denial into the error type.
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
    /// nothing. If a lower rate makes them come later while the caller waits, it is denied then and
    /// gives its place up. [`Denied::retry_after`] is the time by which the tokens would come too
    /// late.
    pub fn timeout(mut self, longest: Duration) -> Self {
        match &mut self.wait {
            Waiting::One(wait, _) => wait.wait_at_most(longest),
            Waiting::Other(wait) => wait.wait_at_most(longest),
        }
        self
    }

    /// Waits a random time longer, at most `up_to` and never beyond the timeout. Callers whose
    /// tokens come at the same moment then do not all act at that moment. The random time begins
    /// when the tokens are there; the place in line does not change.
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

/// The state of a wait.
enum State<A: Ask> {
    /// The request before the first poll, and the longest time to wait.
    Asked(A, Option<Duration>),
    /// A place in line, or the tokens.
    Holds(A::Holds),
    Done(Result<Grant, Denied>),
    /// The hold has moved to the caller.
    Gone,
}

/// A wait whose first poll takes the tokens or a place.
pub(crate) struct Wait<A: Ask> {
    state: State<A>,
    /// The random time, in a box of its own since few waits have one.
    jitter: Option<Box<Jitter>>,
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

    /// Moves the hold out of the wait once it is due. A poll after that is never ready.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<A::Holds, Denied>> {
        if let Err(denied) = ready!(self.poll_due(cx)) {
            self.state = State::Gone;
            return Poll::Ready(Err(denied));
        }
        match mem::replace(&mut self.state, State::Gone) {
            State::Holds(holds) => Poll::Ready(Ok(holds)),
            // The wait has been polled again after its answer.
            state => {
                self.state = state;
                Poll::Pending
            }
        }
    }

    /// Polls until the hold is due. It stays in its place, since it is large to move.
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
        // The wait has been polled again after its answer.
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
    /// The first poll takes the tokens, at the cost of a check, and is ready at once if they are
    /// there. Otherwise the caller stands in line, and one of tokio's timers rings for the first in
    /// line. A caller that leaves the line at any moment costs no other a token: the callers behind
    /// it come earlier by its tokens. All come earlier when the quota is raised, and later when it
    /// is lowered.
    ///
    /// Timers count milliseconds: a wait ends up to one millisecond after its moment, never before.
    /// A limiter whose callers wait on a paused clock should read
    /// [`TokioClock`](crate::TokioClock).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sluicegate::{Quota, RateLimiter, TokioClock};
    ///
    /// let quota = Quota::per_second(2).burst(1);
    /// let limiter = RateLimiter::builder(quota).clock(TokioClock::new()).build()?;
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
    /// Those of [`reserve`](Self::reserve), at once.
    ///
    /// # Panics
    ///
    /// A wait panics outside of a tokio runtime with its time enabled.
    pub fn acquire(&self, n: u64) -> Acquire<'_> {
        Acquire::new(self, Whose::default(), n)
    }

    /// Makes the future of [`acquire`](Self::acquire) hold an [`Arc`] of its limiter, for tasks
    /// that outlive the call.
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire).
    ///
    /// # Panics
    ///
    /// Those of [`acquire`](Self::acquire).
    pub fn acquire_owned(self: Arc<Self>, n: u64) -> Acquire<'static> {
        Acquire::new(self, Whose::default(), n)
    }
}

impl<K: Hash + ?Sized> KeyedLimiter<K> {
    /// Takes `n` tokens of the key's bucket, and waits in the key's line until they are there. See
    /// [`RateLimiter::acquire`].
    ///
    /// # Errors
    ///
    /// Those of [`reserve`](Self::reserve), at once.
    ///
    /// # Panics
    ///
    /// Those of [`RateLimiter::acquire`].
    pub fn acquire(&self, key: &K, n: u64) -> Acquire<'_> {
        Acquire::new(self, self.whose(key), n)
    }

    /// Makes the future of [`acquire`](Self::acquire) hold an [`Arc`] of its limiter.
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire).
    ///
    /// # Panics
    ///
    /// Those of [`acquire`](Self::acquire).
    pub fn acquire_owned(self: Arc<Self>, key: &K, n: u64) -> Acquire<'static>
    where
        K: 'static,
    {
        let whose = self.whose(key);
        Acquire::new(self, whose, n)
    }
}
