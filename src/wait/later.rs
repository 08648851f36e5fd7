//! A wait that runs a future of its own, for a limiter that is not in memory.

use super::acquire::Pollable;
use super::jitter::Jitter;
use crate::answer::Grant;
use alloc::boxed::Box;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;

type Running<'a, E> = Pin<Box<dyn Future<Output = Result<Grant, E>> + Send + 'a>>;
type Start<'a, E> = Box<dyn FnOnce(Option<Duration>) -> Running<'a, E> + Send + 'a>;

enum State<'a, E> {
    /// The function that starts the future, before the first poll.
    Begin(Start<'a, E>),
    Runs(Running<'a, E>),
    /// The answer, while the jitter runs.
    Done(Result<Grant, E>),
    /// The answer has moved to the caller.
    Gone,
}

/// A wait whose first poll starts a future, with the longest time that it may wait.
pub(crate) struct Later<'a, E> {
    state: State<'a, E>,
    within: Option<Duration>,
    jitter: Option<Jitter>,
}

impl<'a, E> Later<'a, E> {
    pub(crate) fn new<F>(start: impl FnOnce(Option<Duration>) -> F + Send + 'a) -> Self
    where
        F: Future<Output = Result<Grant, E>> + Send + 'a,
    {
        let start = Box::new(|within| -> Running<'a, E> { Box::pin(start(within)) });
        Self { state: State::Begin(start), within: None, jitter: None }
    }
}

impl<E> Pollable<E> for Later<'_, E> {
    fn wait_at_most(&mut self, longest: Duration) {
        self.within = Some(longest);
    }

    fn jitter_by(&mut self, up_to: Duration) {
        self.jitter = Some(Jitter::new(up_to));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Grant, E>> {
        if let State::Begin(_) = self.state
            && let State::Begin(start) = core::mem::replace(&mut self.state, State::Gone)
        {
            self.state = State::Runs(start(self.within));
            if let Some(jitter) = &mut self.jitter {
                jitter.end_by(self.within);
            }
        }
        if let State::Runs(future) = &mut self.state {
            self.state = State::Done(ready!(future.as_mut().poll(cx)));
        }
        let State::Done(answer) = &self.state else { return Poll::Pending };
        if let (Ok(_), Some(jitter)) = (answer, &mut self.jitter) {
            ready!(jitter.poll(cx));
        }
        match core::mem::replace(&mut self.state, State::Gone) {
            State::Done(answer) => Poll::Ready(answer),
            _ => Poll::Pending,
        }
    }
}

impl<E> fmt::Debug for Later<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Begin(_) => "Asked",
            State::Runs(_) => "Waiting",
            State::Done(_) | State::Gone => "Done",
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::Later;
    use crate::answer::Denied;
    use crate::clock::ManualClock;
    use crate::limiter::RateLimiter;
    use crate::quota::Quota;
    use crate::wait::Acquire;
    use core::time::Duration;
    use tokio::time::{sleep, timeout};

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn it_starts_when_it_is_polled_and_its_jitter_ends_with_its_patience() {
        let builder = RateLimiter::builder(Quota::per_second(1)).clock(ManualClock::new());
        let grant = builder.build().unwrap().check().unwrap();
        let asked = async move |within| {
            assert_eq!(within, Some(50 * MS));
            sleep(20 * MS).await;
            Ok::<_, Denied>(grant)
        };
        let mut acquire = core::pin::pin!(Acquire::other(Later::new(asked)).timeout(50 * MS));
        sleep(100 * MS).await;
        assert!(timeout(19 * MS, acquire.as_mut()).await.is_err());
        assert_eq!(timeout(2 * MS, acquire.as_mut()).await, Ok(Ok(grant)));
        // It has answered.
        assert!(timeout(MS, acquire).await.is_err());
        for _ in 0..20 {
            let jittery = Acquire::other(Later::new(asked)).jitter(1_000 * MS).timeout(50 * MS);
            let mut jittery = core::pin::pin!(jittery);
            assert!(timeout(19 * MS, jittery.as_mut()).await.is_err());
            assert_eq!(timeout(32 * MS, jittery).await, Ok(Ok(grant)));
        }
    }
}
