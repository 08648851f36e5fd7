//! The size of a key's next lease.

/// The most times that a lease is as large as the last one, since two readings at a moment tell no
/// rate.
const GROWTH: u64 = 8;

/// The tokens that are spent within `horizon`, at the rate at which `spent` tokens were spent in
/// `elapsed` (both times in nanoseconds). At least half of the last lease and at most eight times
/// that, from 1 to `most`.
pub(super) fn next(last: u64, spent: u64, elapsed: u64, horizon: u64, most: u64) -> u64 {
    let ahead = u128::from(spent) * u128::from(horizon) / u128::from(elapsed.max(1));
    let ahead = u64::try_from(ahead).unwrap_or(u64::MAX);
    ahead.clamp(last / 2, last.saturating_mul(GROWTH)).clamp(1, most)
}

#[cfg(test)]
mod tests {
    use super::next;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_lease_follows_the_rate() {
        let next = |last, spent, elapsed| next(last, spent, elapsed, 100 * MS, 1_000);
        assert_eq!(next(100, 50, 50 * MS), 100, "as fast as before");
        assert_eq!(next(100, 50, 25 * MS), 200);
        assert_eq!(next(1, 1, MS / 10), 8, "eight times as many at most");
        assert_eq!(next(900, 900, 1), 1_000);
        assert_eq!(next(100, 10, 100 * MS), 50, "half as many at least");
        assert_eq!(next(1, 0, u64::MAX), 1);
        assert_eq!(next(u64::MAX, u64::MAX, 0), 1_000);
    }
}
