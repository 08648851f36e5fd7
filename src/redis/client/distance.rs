//! How far away the server is: a round trip, and the deadline, which must be longer.

use crate::redis::error::RedisError;
use crate::sync::plain::AtomicU64;
use crate::sync::plain::Ordering::Relaxed;
use core::time::Duration;

/// The deadline of calls, and the round trips that were measured.
#[derive(Debug)]
pub(crate) struct Distance {
    /// The shortest deadline. Round trips may make it longer.
    least: Duration,
    /// The number of round trips that the deadline must have room for.
    round_trips: u32,
    /// The present deadline, in nanoseconds.
    deadline: AtomicU64,
    /// The last round trip that was measured, in nanoseconds; 0 before the first.
    round_trip: AtomicU64,
    /// Whether that was too long for the deadline: 0 or 1.
    too_far: AtomicU64,
}

impl Distance {
    pub(crate) fn new(least: Duration, round_trips: u32) -> Self {
        let this = Self {
            least,
            round_trips,
            deadline: AtomicU64::new(0),
            round_trip: AtomicU64::new(0),
            too_far: AtomicU64::new(0),
        };
        this.set_deadline(Duration::ZERO);
        this
    }

    fn set_deadline(&self, round_trip: Duration) {
        let deadline = round_trip.saturating_mul(self.round_trips).max(self.least);
        self.deadline.store(nanos(deadline), Relaxed);
    }

    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_nanos(self.deadline.load(Relaxed))
    }

    /// The time for which a timer must be set to keep the deadline. Timers count milliseconds, and
    /// are late rather than early.
    pub(crate) fn patience(&self) -> Duration {
        let deadline = self.deadline();
        deadline - deadline.min(Duration::from_millis(4)) / 4
    }

    /// Notes a round trip. Fails if it is too long for a call to be in time.
    pub(crate) fn measured(&self, round_trip: Duration) -> Result<(), RedisError> {
        self.round_trip.store(nanos(round_trip), Relaxed);
        self.set_deadline(round_trip);
        let far = round_trip >= self.patience();
        self.too_far.store(far.into(), Relaxed);
        if far { Err(self.too_far()) } else { Ok(()) }
    }

    /// Notes that the server did not answer at all.
    pub(crate) fn unanswered(&self) {
        self.too_far.store(0, Relaxed);
    }

    /// The round trip that was measured last.
    pub(crate) fn round_trip(&self) -> Duration {
        Duration::from_nanos(self.round_trip.load(Relaxed))
    }

    /// Says whether the last round trip was too long.
    pub(crate) fn is_too_far(&self) -> bool {
        self.too_far.load(Relaxed) != 0
    }

    /// The error of a server that is too far away.
    pub(crate) fn too_far(&self) -> RedisError {
        RedisError::TooFar { round_trip: self.round_trip(), deadline: self.deadline() }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_round_trip_must_be_shorter_than_the_deadline_less_what_timers_take() {
        let distance = Distance::new(5 * MS, 0);
        assert_eq!((distance.deadline(), distance.patience()), (5 * MS, 4 * MS));
        assert_eq!(distance.measured(3 * MS), Ok(()));
        assert!(!distance.is_too_far());
        for far in [4 * MS, 6 * MS, Duration::MAX] {
            let told = RedisError::TooFar { round_trip: far.min(LONGEST), deadline: 5 * MS };
            assert_eq!(distance.measured(far), Err(told));
            assert!(distance.is_too_far());
        }
        distance.unanswered();
        assert!(!distance.is_too_far());
    }

    /// The longest time that the numbers have room for.
    const LONGEST: Duration = Duration::from_nanos(u64::MAX);

    #[test]
    fn a_deadline_in_round_trips_follows_what_is_measured() {
        let distance = Distance::new(5 * MS, 3);
        for (round_trip, deadline) in [(30, 90), (6, 18), (1, 5), (0, 5)] {
            assert_eq!(distance.measured(round_trip * MS), Ok(()));
            assert_eq!(distance.deadline(), deadline * MS);
            assert_eq!(distance.round_trip(), round_trip * MS);
        }
        let hasty = Distance::new(Duration::ZERO, 1);
        assert!(hasty.measured(30 * MS).is_err(), "no call is faster than that");
    }
}
