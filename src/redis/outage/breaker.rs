//! A circuit breaker: whether Redis is asked at all.
//!
//! ```text
//!              failures outweigh answers                 a probe's answers are good
//!     closed ───────────────────────────► open ───────────────────────────────────► closed
//!                                          │ ▲
//!                                          └─┘ one probe after each pause (50 ms, doubled up to
//!                                              5 s, with jitter)
//! ```
//!
//! A failure adds ten to a score, and an answer takes one off. So a few failures in a row open the
//! breaker, and so does a lasting share of failures over a tenth. Calls in flight at the same time
//! may all fail for one cause. So if N calls were in flight, N times as many failures are needed to
//! open the breaker. While the breaker is open, no call does any I/O. One task probes Redis over a
//! connection of its own. Once a probe has been answered well, the limiter goes on with that
//! connection.

use crate::sync::plain::AtomicU64;
use crate::sync::plain::Ordering::{Acquire, Relaxed, Release};
use core::hash::BuildHasher;
use core::time::Duration;
use std::hash::RandomState;

/// The weight of a failure, where an answer weighs 1.
const WEIGHT: u64 = 10;

/// The state of an open breaker. A closed breaker's state holds the score in its low 40 bits, and
/// above them the most calls that were in flight at a failure.
const OPEN: u64 = u64::MAX;
const SCORE_BITS: u32 = 40;
const SCORE: u64 = (1 << SCORE_BITS) - 1;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Breaker {
    state: AtomicU64,
    failures: u64,
    /// The longest pause before the next probe, in milliseconds, while it is open.
    pause: AtomicU64,
}

impl Breaker {
    /// A breaker that this number of failures in a row opens.
    pub(super) fn new(failures: u32) -> Self {
        let failures = u64::from(failures.max(1));
        Self { state: AtomicU64::new(0), failures, pause: AtomicU64::new(0) }
    }

    pub(super) fn is_open(&self) -> bool {
        // ORDERING: pairs with `close`: a call that finds it closed finds the new connection.
        self.state.load(Acquire) == OPEN
    }

    /// Says whether answers have outweighed all failures.
    pub(super) fn is_calm(&self) -> bool {
        self.state.load(Relaxed) == 0
    }

    /// Notes an answer, of whatever kind.
    pub(super) fn good(&self) {
        let state = self.state.load(Relaxed);
        if state != 0 && state != OPEN {
            // When the score is gone, so is the number of calls that it was measured by.
            let next = if state & SCORE <= 1 { 0 } else { state - 1 };
            // A step that is lost to another thread's does no harm.
            let _ = self.state.compare_exchange(state, next, Relaxed, Relaxed);
        }
    }

    /// Notes that one of `pending` calls in flight was not answered. Returns whether this failure
    /// opens the breaker.
    pub(super) fn bad(&self, pending: u64) -> bool {
        let step = |state| (state != OPEN).then(|| self.after_failure(state, pending));
        let before = self.state.fetch_update(Relaxed, Relaxed, step);
        before.is_ok_and(|state| self.after_failure(state, pending) == OPEN)
    }

    fn after_failure(&self, state: u64, pending: u64) -> u64 {
        // Far more calls than there ever are, and few enough for the bits.
        let pending = pending.clamp(1, 1 << 20);
        let (mut most, mut score) = ((state >> SCORE_BITS).max(1), state & SCORE);
        // More calls are in flight than before: scale the score, so that the same number of
        // failures in a row still opens the breaker.
        if pending > most {
            (most, score) = (pending, score * pending / most);
        }
        score += WEIGHT;
        if score >= self.failures.saturating_mul(WEIGHT * most) {
            return OPEN;
        }
        // All calls that were in flight have failed: the next failure is one of those in flight
        // now.
        let row = WEIGHT * most;
        if score % row < WEIGHT && pending < most {
            (most, score) = (pending, score / row * WEIGHT * pending);
        }
        most << SCORE_BITS | score.min(SCORE)
    }

    /// Opens the breaker at once, for a limiter that starts without its server.
    pub(super) fn open(&self) {
        self.state.store(OPEN, Relaxed);
    }

    pub(super) fn close(&self) {
        // ORDERING: see `is_open`.
        self.state.store(0, Release);
    }

    /// The longest time until the next probe.
    pub(super) fn pause(&self) -> Duration {
        Duration::from_millis(self.pause.load(Relaxed))
    }

    /// The pause before the probe of this number, counted from 0. Up to half of it is left out at
    /// random, so that machines that lost a server together do not come back together.
    pub(super) fn next_pause(&self, probe: u32) -> Duration {
        let longest = FIRST_PAUSE.saturating_mul(1 << probe.min(16)).min(LONGEST_PAUSE);
        // At most 5,000.
        self.pause.store(longest.as_millis() as u64, Relaxed);
        jittered(longest, RandomState::new().hash_one(probe))
    }
}

/// A pause between half of the longest and all of it, by a random number.
fn jittered(longest: Duration, random: u64) -> Duration {
    // At most 5 * 10^9.
    let half = longest.as_nanos() as u64 / 2;
    let part = (u128::from(random) * u128::from(half)) >> 64;
    Duration::from_nanos(half + part as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_open_it_and_one_of_them_is_told() {
        let breaker = Breaker::new(5);
        let told: alloc::vec::Vec<_> = (0..7).map(|_| breaker.bad(1)).collect();
        assert_eq!(told, [false, false, false, false, true, false, false]);
        assert!(breaker.is_open());
        (0..100).for_each(|_| breaker.good());
        assert!(breaker.is_open(), "late answers do not close it");
        breaker.close();
        assert!(!breaker.is_open() && !breaker.bad(1));
    }

    /// All calls in flight fail by one hiccup, however many they are.
    #[test]
    fn calls_that_fail_at_once_are_one_in_a_row() {
        for tasks in [2, 256, 4_096] {
            let breaker = Breaker::new(5);
            let wave = || (0..tasks).any(|failed| breaker.bad(tasks - failed));
            let waves: alloc::vec::Vec<_> = (0..5).map(|_| wave()).collect();
            assert_eq!(waves, [false, false, false, false, true], "{tasks}");
            // A failure that answers have outweighed is forgotten.
            breaker.close();
            assert!(!wave());
            (0..WEIGHT * tasks).for_each(|_| breaker.good());
            assert_eq!((0..4).filter(|_| breaker.bad(1)).count(), 0);
            assert!(breaker.bad(1));
        }
    }

    /// After many calls that failed at once, the next single call that fails is one in a row.
    #[test]
    fn many_that_failed_at_once_do_not_keep_it_closed_for_few() {
        for tasks in [2, 256, 4_096] {
            let breaker = Breaker::new(5);
            assert!((0..tasks).all(|failed| !breaker.bad(tasks - failed)));
            assert_eq!((2..10 * tasks).find(|_| breaker.bad(1)), Some(5), "{tasks}");
        }
    }

    #[test]
    fn a_share_of_failures_over_a_tenth_opens_it_and_one_below_does_not() {
        for pending in [1, 100] {
            let calls_until_open = |good: u64| {
                let breaker = Breaker::new(5);
                (1..100_000u64).find(|call| {
                    if call % (good + 1) == 0 {
                        return breaker.bad(pending);
                    }
                    breaker.good();
                    false
                })
            };
            assert!(calls_until_open(8).is_some());
            assert_eq!(calls_until_open(10), None);
        }
    }

    #[test]
    fn one_that_is_never_to_open_does_not() {
        let breaker = Breaker::new(u32::MAX);
        assert!((0..100_000).all(|_| !breaker.bad(u64::MAX)));
    }

    #[test]
    fn pauses_double_with_jitter_up_to_five_seconds() {
        let breaker = Breaker::new(1);
        for (probe, longest) in [(0, 50), (1, 100), (6, 3_200), (7, 5_000), (1_000, 5_000)] {
            let longest = Duration::from_millis(longest);
            for random in [0, 1 << 63, u64::MAX] {
                let pause = jittered(longest, random);
                assert!(longest / 2 <= pause && pause <= longest, "{pause:?}");
            }
            let pause = breaker.next_pause(probe);
            assert!(longest / 2 <= pause && pause <= longest, "{pause:?}");
            assert_eq!(breaker.pause(), longest);
        }
    }
}
