//! Windows: the script in a real server, the decisions in Rust and a rational model agree.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use super::window_model::Model;
use crate::error::QuotaError;
use crate::quota::Quota;
use crate::redis::client::lua::Call;
use crate::redis::script::window::{Counts, Known, MOST_COUNTED, WINDOW, Window};
use crate::redis::script::{Ask, Scripts, State};
use crate::redis::tests::server::Server;
use crate::redis::tests::{Random, START, any_ask, timed};
use ::redis::{Connection, FromRedisValue, Pipeline, RedisResult};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

pub(super) const SECOND: u64 = 1_000_000;
pub(super) const DAY: u64 = 86_400 * SECOND;
/// The longest period, and the highest limit.
pub(super) const MOST: u64 = 1 << 51;
/// The first time that the script has no number for.
const END: u64 = 1 << 52;

/// Periods and limits of every kind: the extremes, and numbers beside them that are no powers of
/// two.
fn windows() -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    for period in [1, SECOND, DAY, MOST] {
        all.extend([1, 7, 1_000_000, MOST].map(|limit| (limit, period)));
    }
    all.extend([(MOST - 1, MOST - 21), (999_999_999_989, 1_000_000_000_039), (MOST / 3, 7)]);
    all
}

/// The script with the test's own time, whose keys do not expire by the server's.
pub(super) struct Timed {
    pub(super) client: Connection,
    digest: String,
}

pub(super) const EXPIRY: &[&str] = &[", 'PXAT', math.ceil((index + windows) * period / 1000)"];

impl Timed {
    pub(super) fn on(server: &Server) -> Self {
        let mut client = server.client();
        let code = timed(WINDOW.code, EXPIRY);
        let digest = ::redis::cmd("SCRIPT").arg("LOAD").arg(code).query(&mut client).unwrap();
        Self { client, digest }
    }

    pub(super) fn add(
        &self,
        pipeline: &mut Pipeline,
        key: &str,
        window: &Window,
        ask: Ask,
        now: u64,
    ) {
        let Call { verb, numbers, .. } = window.call(ask);
        let call = pipeline.cmd("EVALSHA").arg(&self.digest).arg(1).arg(key).arg(verb).arg(numbers);
        call.arg(now / SECOND).arg(now % SECOND);
    }

    pub(super) fn run<T: FromRedisValue>(&mut self, pipeline: &Pipeline) -> Vec<T> {
        let answers: RedisResult<Vec<T>> = pipeline.query(&mut self.client);
        let short = |error: ::redis::RedisError| {
            error.to_string()[..200.min(error.to_string().len())].to_string()
        };
        answers.map_err(short).unwrap()
    }

    /// Asks once. Returns the tokens granted and the counts before.
    pub(super) fn ask(
        &mut self,
        key: &str,
        window: &Window,
        ask: Ask,
        now: u64,
    ) -> (Option<u64>, Counts) {
        let mut pipeline = Pipeline::new();
        self.add(&mut pipeline, key, window, ask, now);
        let counts = window.counts(self.run(&pipeline)[0]);
        (window.settle(counts, ask).0, counts)
    }
}

/// The time of the next question: at once, a little later, at the beginning of a window or just
/// before, after the wait that was told, or windows later; or the time of a clock that has been set
/// back.
fn any_time(random: &mut Random, now: u64, period: u64, wait: u64) -> u64 {
    let boundary = now - now % period + period;
    let next = match random.below(20) {
        0..=2 => now,
        3 | 4 => now + 1,
        5 => boundary,
        6 => boundary - 1,
        7 | 8 => now + random.below(period),
        9 | 10 => now + random.below(period / 20 + 1),
        11 => now + random.below(4 * period),
        12..=14 => now + wait,
        15..=17 => (now + wait).saturating_sub(1).max(now),
        18 => now.saturating_sub(1),
        _ => now.saturating_sub(random.below(3 * period)),
    };
    next.min(END - 1)
}

/// 218,880 operations.
#[test]
fn window_scripts_decide_as_rust_and_the_rational_model() {
    let server = Server::start(&[]);
    let mut scripts = Timed::on(&server);
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for (limit, period) in windows() {
        for sliding in [false, true] {
            let unbounded = Window::of(limit, period, sliding).unwrap();
            let mut pipeline = Pipeline::new();
            let (mut expected, mut kept) = (Vec::new(), Vec::new());
            for key in 0..16 {
                let max_debt = [u64::MAX, 0, random.below(3 * limit)][key % 3];
                let window = unbounded.with_max_debt(max_debt);
                let name = format!("{window:?}{key}");
                let (mut now, mut wait) = (START, 0);
                let mut model = Model::new(limit, period, sliding).with_max_debt(max_debt);
                for _ in 0..360 {
                    now = any_time(&mut random, now, period, wait);
                    let ask = any_ask(&mut random, limit);
                    scripts.add(&mut pipeline, &name, &window, ask, now);
                    let counts = model.settle(&window, ask, now);
                    let n = random.below(limit) + 1;
                    wait = model.hold_waits(&window, n, now);
                    let Counts { left, previous, current, known } = counts;
                    expected.push(([left, previous, current, known.mark()], ask, now));
                }
                kept.push((name, model.text()));
            }
            let answers: Vec<State> = scripts.run(&pipeline);
            assert_eq!(answers.len(), expected.len());
            for (answer, (expected, ask, now)) in answers.into_iter().zip(expected) {
                assert_eq!(answer, expected, "{unbounded:?} {ask:?} at {now}");
            }
            for (name, text) in kept {
                let get: Option<String> =
                    ::redis::cmd("GET").arg(&name).query(&mut scripts.client).unwrap();
                assert_eq!(get, text, "{name}");
            }
        }
    }
}

/// Divides products of up to 2^103 by periods that leave a digit many bits, or one.
#[test]
fn a_share_is_divided_exactly() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let (head, _) = WINDOW.code.split_once("if verb == 'take'").unwrap();
    let code = format!("{}return {{share(n)}}", timed(head, EXPIRY));
    let digest: String = ::redis::cmd("SCRIPT").arg("LOAD").arg(code).query(&mut client).unwrap();
    let mut random = Random(0xD1B5_4A32_D192_ED03);
    let (mut pipeline, mut expected) = (Pipeline::new(), Vec::new());
    for _ in 0..40_000 {
        let short_of = |most: u64, random: &mut Random| match random.below(3) {
            0 => most - random.below(3).min(most - 1),
            1 => (most >> random.below(52)).max(1),
            _ => random.below(most) + 1,
        };
        let period = short_of(MOST, &mut random);
        let left = short_of(period, &mut random);
        let count = short_of(MOST_COUNTED, &mut random);
        let now = period - left;
        let call = pipeline.cmd("EVALSHA").arg(&digest).arg(1).arg("a");
        call.arg("share").arg(&[period, 1, count, now / SECOND, now % SECOND]);
        let product = u128::from(count) * u128::from(left);
        let period = u128::from(period);
        expected.push(((product / period) as u64, (product % period) as u64));
    }
    let answers: Vec<(u64, u64)> = pipeline.query(&mut client).unwrap();
    assert!(answers == expected);
}

#[test]
fn what_a_window_cannot_be_is_refused_by_name() {
    let minute = Window::new(&Quota::per_minute(100), true).unwrap();
    assert_eq!(Some(minute), Window::of(100, 60 * SECOND, true));
    assert_eq!(minute.limit(), 100);
    let burst = Quota::per_minute(100).burst(20);
    assert_eq!(Window::new(&burst, false), Err(QuotaError::WINDOW_BURST));
    for (nanos, is_whole) in [(1, false), (999, false), (1_000, true), (1_500, false)] {
        let quota = Quota::new(1, Duration::from_nanos(nanos)).unwrap();
        let refused = Window::new(&quota, false).err();
        assert_eq!(refused, (!is_whole).then_some(QuotaError::REDIS_WINDOW), "{nanos} ns");
    }
    // The script has numbers for every quota.
    let longest = Duration::from_secs(3_660 * 86_400);
    assert!(Window::new(&Quota::new(1 << 48, longest).unwrap(), true).is_ok());
    for (limit, period) in [(0, 1), (1, 0), (MOST + 1, 1), (1, MOST + 1)] {
        assert_eq!(Window::of(limit, period, true), None);
    }
}

/// Holds for any question and any answer, from Redis or from another server.
#[test]
fn extremes_are_settled_without_overflow() {
    let extremes = [0, 1, MOST - 1, MOST, MOST_COUNTED, MOST_COUNTED + 1, u64::MAX];
    for (limit, period) in windows() {
        for sliding in [false, true] {
            let window = Window::of(limit, period, sliding).unwrap();
            for left in extremes {
                for counted in extremes {
                    for mark in [0, 1, 2, period, period + 1, u64::MAX] {
                        let counts = window.counts([left, counted, counted, mark]);
                        assert!((1..=period).contains(&counts.left));
                        assert_eq!(counts.previous > 0, sliding && counted > 0);
                        for n in extremes {
                            for ask in [Ask::Take(n), Ask::UpTo(n), Ask::Charge(n), Ask::Refund(n)]
                            {
                                let (granted, then) = window.settle(counts, ask);
                                assert!(then.current <= MOST_COUNTED && granted.unwrap_or(0) <= n);
                                let Call { numbers, .. } = window.call(ask);
                                assert!(numbers.iter().all(|number| *number <= 1 << 53));
                            }
                            assert_eq!(window.until(counts, n).is_none(), n > limit);
                        }
                        assert!(window.until_full(counts) <= 2 * period);
                        if counts.known == Known::Count {
                            assert_eq!(window.balance(counts) == limit as i64, counted == 0);
                        }
                    }
                }
            }
        }
    }
}
