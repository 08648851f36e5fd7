//! The scripts in a real server, the decisions in Rust and the rational models agree.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../../../tests/support/redis.rs"]
pub(super) mod server;
#[path = "../../../tests/support/mod.rs"]
mod support;

mod bucket_scripts;
mod group_scripts;
mod kept;
mod link;
mod places;
mod share;
mod wait_queue;
mod window_laws;
mod window_model;
pub(super) mod window_scripts;

use crate::error::QuotaError;
use crate::quota::Quota;
use crate::redis::script::Ask;
use crate::redis::script::fingerprint;
use crate::redis::script::units::Units;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use support::quota;

/// 2026-01-01, in microseconds.
pub(super) const START: u64 = 1_767_225_600_000_000;

/// Quotas of every kind: with one part and many, a token of less than a microsecond, bursts of
/// years.
fn quotas() -> Vec<Quota> {
    alloc::vec![
        Quota::per_second(100).burst(20),
        Quota::per_minute(100),
        Quota::per_second(7),
        Quota::per_day(11).burst(3),
        Quota::per_second(7_000_003).burst(1_000_000),
        Quota::per_second(1 << 40).burst(1 << 48),
        quota(999_999_999_989, 1_000_000_007, 12_345),
        quota(3, 7, 5),
        quota(1, 3_660 * 86_400_000_000_000, 7),
        quota(1, 1_000, 1 << 48),
        quota(10_000_000_019, 86_400_000_000_001, 1),
    ]
}

/// A generator that is good enough for choices (xorshift64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// A number at, below or over the limit, or any number.
fn any_count(random: &mut Random, limit: u64) -> u64 {
    match random.below(8) {
        0 => 0,
        1 => limit,
        2 => limit.saturating_add(1),
        3 => random.next() >> random.below(64),
        4 | 5 => 1,
        _ => random.below(limit) + 1,
    }
}

/// A random question.
pub(super) fn any_ask(random: &mut Random, limit: u64) -> Ask {
    let n = any_count(random, limit);
    match random.below(12) {
        0 => Ask::Charge(n),
        1 => Ask::Refund(n),
        2 => Ask::Look(n),
        3..=6 => Ask::UpTo(n),
        _ => Ask::Take(n),
    }
}

/// The factor by which random tests are longer: 1 unless `SLUICEGATE_REDIS_LONG` says otherwise.
fn long() -> u64 {
    let long = std::env::var("SLUICEGATE_REDIS_LONG");
    long.map_or(1, |long| long.parse().expect("SLUICEGATE_REDIS_LONG is a number"))
}

/// The script with the test's own time, whose keys do not expire by the server's clock.
pub(super) fn timed(code: &str, expiry: &[&str]) -> String {
    let time = "call('TIME')";
    assert!(code.contains(time), "{code}");
    let code = code.replace(&format!("redis.{time}"), time);
    // The last two numbers are the time.
    let code = code.replace(time, "{ARGV[#ARGV - 1], ARGV[#ARGV]}");
    let code = code.replace("i = 5, #ARGV", "i = 5, #ARGV - 2");
    let code = expiry.iter().fold(code, |code, expiry| code.replace(expiry, ""));
    assert!(!code.contains("PXAT"), "{code}");
    code
}

#[test]
fn most_quotas_have_one_part_and_nothing_is_rounded_in_any() {
    let parts = |quota: Quota| Units::new(&quota).unwrap().parts();
    assert_eq!(parts(Quota::per_second(100)), 1);
    assert_eq!(parts(Quota::per_minute(60)), 1);
    assert_eq!(parts(Quota::per_second(7)), 7);
    assert_eq!(parts(Quota::per_second(7_000_003)), 7_000_003);
    for quota in quotas() {
        let units = Units::new(&quota).unwrap();
        // The tokens of a period flow in a period.
        let period = u128::from(quota.period_ns()) * u128::from(units.parts());
        let tokens = u128::from(quota.count()) * units.cost(1) * 1_000;
        assert_eq!(tokens, period, "{quota:?}");
    }
}

/// Where a microsecond would have more parts than the script has numbers for, a token is rounded
/// up.
#[test]
fn the_highest_counts_are_slower_by_less_than_a_part_in_a_billion() {
    let quota = quota(10_000_000_000_000_061, 3_600_000_000_000_001, 5_000_000);
    let units = Units::new(&quota).unwrap();
    assert_eq!(units.parts(), 1 << 52);
    let period = u128::from(quota.period_ns()) * u128::from(units.parts());
    let tokens = u128::from(quota.count()) * units.cost(1) * 1_000;
    assert!(tokens > period && tokens - period < period / 1_000_000_000);
}

#[test]
fn a_burst_of_centuries_is_refused_by_name() {
    let too_long = Quota::per_day(1).burst(30_000);
    assert_eq!(Units::new(&too_long), Err(QuotaError::REDIS_BURST));
    assert!(Units::new(&Quota::per_day(1).burst(26_000)).is_ok());
}

#[test]
fn a_fingerprint_is_short_and_of_one_quota_and_what_is_kept() {
    use crate::algorithm::Algorithm::{FixedWindow, LeakyBucket, SlidingWindow, TokenBucket};
    let minute = Quota::per_minute(100);
    let odd = Quota::new(5, Duration::from_millis(1_500)).unwrap();
    assert_eq!(fingerprint(&minute.burst(20), TokenBucket), "b100/1m/20");
    assert_eq!(fingerprint(&minute.burst(20), LeakyBucket), "b100/1m/20");
    assert_eq!(fingerprint(&minute, FixedWindow), "f100/1m");
    assert_eq!(fingerprint(&odd, SlidingWindow), "s5/1500ms");
    let second = fingerprint(&Quota::per_second(1), TokenBucket);
    assert_ne!(fingerprint(&Quota::per_minute(60), TokenBucket), second);
}
