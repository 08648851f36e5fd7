//! A random time to wait longer, so that callers do not all act at one moment.

use crate::clock::{Instant, instant};
use alloc::boxed::Box;
use core::future::Future;
use core::hash::BuildHasher;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use tokio::time::{Sleep, sleep};

/// A random time to wait once the tokens are there.
pub(super) struct Jitter {
    up_to: Duration,
    /// The moment at which the timeout ends.
    latest: Option<Instant>,
    /// The timer of the random time. It starts when the tokens are there.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Jitter {
    pub(super) fn new(up_to: Duration) -> Self {
        Self { up_to, latest: None, timer: None }
    }

    /// Bounds the random time by the caller's timeout, which begins now.
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

/// Draws a random time from the standard library's hasher, whose keys differ in every instance.
/// That is random enough to spread callers.
fn random(up_to: Duration) -> Duration {
    let random = std::hash::RandomState::new().hash_one(());
    let nanos = u64::try_from(up_to.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(((u128::from(random) * u128::from(nanos)) >> 64) as u64)
}
