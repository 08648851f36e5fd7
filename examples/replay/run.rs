//! The replay: the real limiter, on a clock that follows the log.

use crate::log::Log;
use sluicegate::{Algorithm, KeyedLimiter, ManualClock, Quota, QuotaError, WhenFull};
use std::time::Duration;

/// The outcome of a replay.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Requests and denials of each key.
    pub(crate) clients: Vec<(u64, u64)>,
    pub(crate) denied: u64,
    /// Whether each request was admitted, in order.
    pub(crate) admitted: Vec<bool>,
}

pub(crate) fn is_window(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::FixedWindow | Algorithm::SlidingWindow)
}

/// Adapts the quota to the algorithm: a window admits its count, and has no burst.
fn for_algorithm(limit: Quota, algorithm: Algorithm) -> Result<Quota, QuotaError> {
    if is_window(algorithm) { limit.try_burst(limit.count()) } else { Ok(limit) }
}

pub(crate) fn limiter(
    limit: Quota,
    algorithm: Algorithm,
    keys: usize,
) -> Result<(ManualClock, KeyedLimiter<u32>), QuotaError> {
    let clock = ManualClock::new();
    // A table so large forgets no key of the log.
    let builder = KeyedLimiter::builder(for_algorithm(limit, algorithm)?, keys.max(64));
    let builder = builder.algorithm(algorithm).when_full(WhenFull::Deny).clock(clock.clone());
    Ok((clock, builder.build()?))
}

/// Replays the log through a limiter of its own.
pub(crate) fn replay(log: &Log, limit: Quota, algorithm: Algorithm) -> Result<Outcome, QuotaError> {
    let mut room = 2 * log.keys.len();
    loop {
        // A key without room in the table would be taken for a limited one: use a larger table
        // then.
        if let Some(outcome) = replay_in(log, limit, algorithm, room)? {
            return Ok(outcome);
        }
        room *= 2;
    }
}

/// Replays the log with room for `room` keys. `None`: that was too little.
fn replay_in(
    log: &Log,
    limit: Quota,
    algorithm: Algorithm,
    room: usize,
) -> Result<Option<Outcome>, QuotaError> {
    let (clock, limiter) = limiter(limit, algorithm, room)?;
    let mut clients = vec![(0, 0); log.keys.len()];
    let mut admitted = Vec::with_capacity(log.requests.len());
    let origin = origin(log, limit);
    for (at, key) in &log.requests {
        clock.set(Duration::from_secs(at.abs_diff(origin)));
        let answer = limiter.check(key);
        if matches!(&answer, Err(denied) if denied.is_table_full()) {
            return Ok(None);
        }
        let client = &mut clients[*key as usize];
        client.0 += 1;
        client.1 += u64::from(answer.is_err());
        admitted.push(answer.is_ok());
    }
    let denied = clients.iter().map(|(_, denied)| denied).sum();
    Ok(Some(Outcome { clients, denied, admitted }))
}

/// The clock's zero, at or before the first request. It is a multiple of the period since 1970, so
/// that windows begin at whole minutes, hours and days of UTC.
fn origin(log: &Log, limit: Quota) -> i64 {
    let first = log.requests.first().map_or(0, |(at, _)| *at);
    let period = i64::try_from(limit.period().as_secs()).unwrap_or(i64::MAX).max(1);
    first - first.rem_euclid(period)
}

/// Finds the smallest burst, at the limit's rate, that would have denied no request. It works for
/// buckets.
pub(crate) fn tightest_burst(
    log: &Log,
    limit: Quota,
    algorithm: Algorithm,
) -> Result<Option<u64>, QuotaError> {
    if is_window(algorithm) {
        return Ok(None);
    }
    smallest(most_requests(log), |burst| {
        Ok(replay(log, limit.try_burst(burst)?, algorithm)?.denied == 0)
    })
}

/// Finds the smallest count in the limit's period, with its burst, that would have denied no
/// request. `None`: the burst is too small for any count.
pub(crate) fn tightest_count(
    log: &Log,
    limit: Quota,
    algorithm: Algorithm,
) -> Result<Option<u64>, QuotaError> {
    // Between two seconds of the log all of a burst must be able to come back.
    let within = if is_window(algorithm) { 1 } else { limit.period().as_secs().max(1) };
    smallest(most_requests(log).saturating_mul(within), |count| {
        let quota = Quota::new(count, limit.period())?;
        let quota =
            if is_window(algorithm) { quota } else { quota.try_burst(limit.burst_size())? };
        Ok(replay(log, quota, algorithm)?.denied == 0)
    })
}

fn most_requests(log: &Log) -> u64 {
    let mut requests = vec![0; log.keys.len()];
    log.requests.iter().for_each(|(_, key)| requests[*key as usize] += 1);
    requests.into_iter().max().unwrap_or(1)
}

/// Finds the smallest number from 1 to `most` that is enough, if there is one. Every larger number
/// must be enough as well.
fn smallest(
    most: u64,
    mut enough: impl FnMut(u64) -> Result<bool, QuotaError>,
) -> Result<Option<u64>, QuotaError> {
    if !enough(most)? {
        return Ok(None);
    }
    let (mut low, mut high) = (0, most);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if enough(middle)? { high = middle } else { low = middle }
    }
    Ok(Some(high))
}
