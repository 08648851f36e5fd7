//! The scripts in a real server, the decisions in Rust and the rational model are one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../../tests/support/redis.rs"]
pub(super) mod server;
#[path = "../../tests/support/mod.rs"]
mod support;

use super::builder::fingerprint;
use super::kernel;
use super::link::{Lua, Reply};
use super::units::{Ask, Flow, LONGEST_DEBT, Units};
use crate::error::QuotaError;
use crate::quota::Quota;
use ::redis::Pipeline;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use server::Server;
use support::{Model, exact as whole, floor, quota};

/// 2026-01-01, in microseconds.
pub(super) const START: u64 = 1_767_225_600_000_000;

/// Quotas of every kind: one part and many, a token of parts of a microsecond, bursts of years.
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

/// A generator good enough to choose by (xorshift64).
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

/// How the scripts of buckets let a key expire.
const EXPIRY: &[&str] =
    &[", 'PXAT', math.ceil((full + math.min(part, 1)) / 1000)", ", 'PXAT', math.ceil(full / 1000)"];

/// The script with a time of the test's own, and with keys that do not expire by the server's clock.
pub(super) fn timed(code: &str, expiry: &[&str]) -> String {
    let time = "call('TIME')";
    assert!(code.contains(time), "{code}");
    let code = code.replace(&format!("redis.{time}"), time);
    let code = code.replace(time, "{ARGV[#ARGV - 1], ARGV[#ARGV]}");
    let code = expiry.iter().fold(code, |code, expiry| code.replace(expiry, ""));
    assert!(!code.contains("PXAT"), "{code}");
    code
}

/// A key as the scripts keep it: the time to full, its parts, and a debt over the burst.
#[derive(Clone, Copy, Debug, Default)]
struct Kept(Option<(u64, u64, Option<u64>)>);

impl Kept {
    /// What is missing at a time.
    fn debt(&self, units: &Units, now: u64) -> u128 {
        let Some((full, part, noted)) = self.0 else { return 0 };
        let Some(us) = full.checked_sub(now) else { return 0 };
        match noted {
            Some(noted) => units.in_parts(Flow { us: us.min(noted), part }),
            None => units.in_parts(Flow { us, part }).min(units.burst()),
        }
    }

    /// What a clock that was set back has made more than can be missing is put right.
    fn heal(&mut self, units: &Units, now: u64) {
        let debt = self.debt(units, now);
        if self.0.is_some_and(|(full, part, _)| {
            full.checked_sub(now).is_some_and(|us| units.in_parts(Flow { us, part }) > debt)
        }) {
            self.keep(units, now, debt);
        }
    }

    /// What is kept of a debt; a full bucket is not.
    fn keep(&mut self, units: &Units, now: u64, debt: u128) {
        let Flow { us, part } = units.flow(debt);
        self.0 = (debt > 0).then(|| (now + us, part, (debt > units.burst()).then_some(us)));
    }

    fn text(&self) -> Option<String> {
        self.0.map(|kept| match kept {
            (full, part, Some(noted)) => format!("{full}:{part}:{noted}"),
            (full, 0, None) => format!("{full}"),
            (full, part, None) => format!("{full}:{part}"),
        })
    }
}

/// What a bucket is asked by chance.
pub(super) fn any_ask(random: &mut Random, limit: u64) -> Ask {
    let n = match random.below(8) {
        0 => 0,
        1 => limit,
        2 => limit.saturating_add(1),
        3 => random.next() >> random.below(64),
        4 | 5 => 1,
        _ => random.below(limit) + 1,
    };
    match random.below(12) {
        0 => Ask::Charge(n),
        1 => Ask::Refund(n),
        2 => Ask::Look(n),
        3..=6 => Ask::UpTo(n),
        _ => Ask::Take(n),
    }
}

/// How much later it is asked next, in microseconds: not at all, a little, until about full, or longer than that.
fn any_pause(random: &mut Random, units: &Units) -> u64 {
    let burst = units.until_full(units.burst());
    match random.below(6) {
        0 | 1 => 0,
        2 => random.below(3),
        3 => random.below(burst / 3 + 2),
        4 => units.until_full(units.cost(1)),
        _ => random.below(burst + 2),
    }
}

/// Runs calls in a pipeline, and says what was missing before each.
fn run(client: &mut ::redis::Connection, pipeline: &Pipeline) -> Vec<Flow> {
    let answers: Result<Vec<Reply>, _> = pipeline.query(client);
    let answers = answers.map_err(|error| error.to_string().chars().take(200).collect::<String>());
    // Of one part there is but the one number.
    answers.unwrap().into_iter().map(|Reply([us, part, ..], _)| Flow { us, part }).collect()
}

fn add_call(
    pipeline: &mut Pipeline,
    digests: &Digests,
    units: &Units,
    key: &str,
    ask: Ask,
    now: u64,
) {
    let (script, numbers) = kernel::call(units, ask);
    let digest = digests.of(script);
    let call = pipeline.cmd("EVALSHA").arg(digest).arg(1).arg(key).arg(numbers);
    call.arg(now / 1_000_000).arg(now % 1_000_000);
}

/// The digests of the timed scripts, which the server has loaded.
struct Digests(Vec<(&'static str, String)>);

impl Digests {
    fn load(client: &mut ::redis::Connection) -> Self {
        let all = [
            &kernel::TAKE,
            &kernel::WHOLE,
            &kernel::EACH,
            &kernel::UP_TO,
            &kernel::CHARGE,
            &kernel::REFUND,
            &kernel::LOOK,
        ];
        let load = |script: &&'static Lua| {
            let timed = timed(script.code, EXPIRY);
            let digest = ::redis::cmd("SCRIPT").arg("LOAD").arg(timed).query(client).unwrap();
            (script.code, digest)
        };
        Self(all.iter().map(load).collect())
    }

    fn of(&self, script: &Lua) -> &str {
        &self.0.iter().find(|(code, _)| *code == script.code).unwrap().1
    }
}

/// The model's decision, held against that in Rust; what is missing from the model then.
fn hold_against(model: &mut Model, units: &Units, debt: u128, ask: Ask, about: &str) {
    let settled = units.settle(debt, ask);
    let balance = i64::try_from(floor(&model.tokens)).unwrap_or(i64::MIN);
    assert_eq!(units.balance(debt), balance, "{about}");
    let wait = |asked: u64| {
        let wait = model.wait(asked).map(|nanos| (nanos + 999) / 1_000);
        assert_eq!(units.until(debt, asked).map(i128::from), wait, "{about}");
    };
    match ask {
        Ask::Take(n) | Ask::Look(n) => {
            wait(n);
            assert_eq!(settled.granted.is_some(), model.peek(n), "{about}");
            if settled.granted.is_some() && ask == Ask::Take(n) {
                assert!(model.take(n), "{about}");
            }
        }
        Ask::UpTo(n) => {
            wait(n.min(1));
            assert_eq!(settled.granted.unwrap_or(0), model.take_up_to(n), "{about}");
        }
        Ask::Charge(n) => model.charge(n),
        Ask::Refund(n) => model.refund(n),
    }
    if matches!(ask, Ask::Look(_)) {
        return;
    }
    // A charge beyond the longest debt is not recorded.
    let longest = units.in_parts(Flow { us: LONGEST_DEBT, part: 0 });
    if settled.debt == longest {
        let rest = whole(longest) / whole(units.cost(1));
        model.tokens = &model.burst - rest;
    }
    let full = (model.until_full() + 999) / 1_000;
    assert_eq!(i128::from(units.until_full(settled.debt)), full, "{about}");
}

/// Asks buckets by chance, each of `keys` so many times, of every quota; and what the scripts answer and keep is what
/// the decisions in Rust say. If `exactly`, those are held against the rational model.
fn ask_by_chance(seed: u64, keys: u64, times: u64, exactly: bool) {
    let server = Server::start(&[]);
    let mut client = server.client();
    let digests = Digests::load(&mut client);
    let mut random = Random(seed);
    for quota in quotas() {
        let units = Units::new(&quota).unwrap();
        let mut pipeline = Pipeline::new();
        let (mut expected, mut kept) = (Vec::new(), Vec::new());
        for key in 0..keys {
            let name = format!("{quota}:{key}");
            let (mut now, mut bucket, mut model) = (START, Kept::default(), Model::new(&quota));
            for _ in 0..times {
                // Within the years that the numbers are made for.
                now += any_pause(&mut random, &units).min(((1 << 52) - START) / times);
                // The model knows no clock that is set back.
                if !exactly && random.below(16) == 0 {
                    now = now.saturating_sub(any_pause(&mut random, &units)).max(START);
                }
                let ask = any_ask(&mut random, units.limit());
                add_call(&mut pipeline, &digests, &units, &name, ask, now);
                bucket.heal(&units, now);
                let debt = bucket.debt(&units, now);
                let settled = units.settle(debt, ask);
                if exactly {
                    let about = format!("{quota:?} {ask:?} at {now}, {debt} missing");
                    hold_against(model.flow((now - START) * 1_000), &units, debt, ask, &about);
                }
                let writes = !matches!(ask, Ask::Look(_) | Ask::Charge(0) | Ask::Refund(0));
                if writes && settled.granted.is_some_and(|n| n > 0) {
                    bucket.keep(&units, now, settled.debt);
                }
                expected.push((units.flow(debt), ask, now));
            }
            kept.push((name, bucket.text()));
        }
        for (answer, (expected, ask, now)) in run(&mut client, &pipeline).into_iter().zip(expected)
        {
            assert_eq!(answer, expected, "{quota:?} {ask:?} at {now}");
        }
        for (name, text) in kept {
            let in_server: Option<String> =
                ::redis::cmd("GET").arg(&name).query(&mut client).unwrap();
            assert_eq!(in_server, text, "{name}");
        }
    }
}

/// 66,000 operations.
#[test]
fn scripts_decide_as_the_kernel_and_the_rational_model() {
    ask_by_chance(0x9E37_79B9_7F4A_7C15, 20, 300, true);
}

/// 220,000 operations.
#[test]
fn scripts_decide_as_the_kernel_also_on_a_clock_that_is_set_back() {
    ask_by_chance(0xD1B5_4A32_D192_ED03, 50, 400, false);
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
        // A period's tokens are a period of flow.
        let period = u128::from(quota.period_ns()) * u128::from(units.parts());
        let tokens = u128::from(quota.count()) * units.cost(1) * 1_000;
        assert_eq!(tokens, period, "{quota:?}");
    }
}

/// Where a microsecond would have more parts than a script's numbers have room for, a token is rounded up.
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
