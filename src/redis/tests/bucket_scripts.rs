//! Buckets asked at random: the scripts in a server, the decisions in Rust and the rational model
//! agree.

use super::kept::Kept;
use super::server::Server;
use super::support::{Exact, Model, exact as whole, floor, rate};
use super::{Random, START, any_ask, any_count, long, quotas, timed};
use crate::quota::Quota;
use crate::redis::client::lua::{Call, Lua};
use crate::redis::script::place::{End, HandedBack, ServerQueue};
use crate::redis::script::units::{Flow, LONGEST_DEBT, Units};
use crate::redis::script::{Ask, Scripts, bucket};
use ::redis::Pipeline;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use num_traits::Signed;

/// The text by which the scripts of buckets let a key expire.
pub(super) const EXPIRY: &[&str] = &[
    ", 'PXAT', math.ceil((till + math.min(till_part, 1)) / 1000)",
    ", 'PXAT', math.ceil(full / 1000)",
];

/// A question about a key.
#[derive(Clone, Debug)]
enum Op {
    Ask(Ask),
    /// Requests of one call, one after the other.
    Each(Vec<u64>),
    Reserve {
        n: u64,
        reach: u128,
    },
    GiveUp {
        end: End,
        n: u64,
    },
    /// Hands back places that no caller has used.
    HandBack {
        end: End,
        n: u64,
    },
    /// Voids the places of all callers that wait.
    Reset,
}

/// The places that were taken last, and may be given up.
type Places = Vec<(End, u64)>;

fn any_op(random: &mut Random, units: &Units, places: &mut Places) -> Op {
    let limit = units.limit();
    match random.below(20) {
        0 => {
            let one = |random: &mut Random| any_count(random, limit).clamp(1, limit);
            Op::Each((0..=random.below(6)).map(|_| one(random)).collect())
        }
        1..=5 => {
            let most = if random.below(2) == 0 { u64::MAX } else { random.below(3 * limit) };
            let n = any_count(random, limit).clamp(1, limit);
            Op::Reserve { n, reach: units.reach(most, None) }
        }
        6..=9 if !places.is_empty() => {
            let (end, of) = places.swap_remove(random.below(places.len() as u64) as usize);
            let n = if random.below(4) == 0 { random.below(of) + 1 } else { of };
            if random.below(2) == 0 { Op::GiveUp { end, n } } else { Op::HandBack { end, n } }
        }
        10 if random.below(8) == 0 => Op::Reset,
        _ => Op::Ask(any_ask(random, limit)),
    }
}

/// The microseconds until the next question: none, a few, until the bucket is about full, or
/// longer.
pub(super) fn any_pause(random: &mut Random, units: &Units) -> u64 {
    let burst = units.until_full(units.burst());
    match random.below(6) {
        0 | 1 => 0,
        2 => random.below(3),
        3 => random.below(burst / 3 + 2),
        4 => units.until_full(units.cost(1)),
        _ => random.below(burst + 2),
    }
}

/// The digests of the timed scripts, which the server has loaded.
struct Digests(Vec<(&'static str, String)>);

impl Digests {
    fn load(client: &mut ::redis::Connection) -> Self {
        let load = |script: &&'static Lua| {
            let timed = timed(script.code, EXPIRY);
            let digest = ::redis::cmd("SCRIPT").arg("LOAD").arg(timed).query(client).unwrap();
            (script.code, digest)
        };
        Self(bucket::ALL.iter().map(load).collect())
    }

    fn of(&self, script: &Lua) -> &str {
        &self.0.iter().find(|(code, _)| *code == script.code).unwrap().1
    }

    fn add_call(&self, pipeline: &mut Pipeline, units: &Units, key: &str, op: &Op, now: u64) {
        let Call { script, verb, numbers } = match op {
            Op::Ask(ask) => units.call(*ask),
            Op::Each(asked) => units.call_each(asked),
            Op::Reserve { n, reach } => units.call_reserve(*n, *reach),
            Op::GiveUp { end, n } => units.call_give_up(*end, *n),
            Op::HandBack { end, n } => units.call_hand_back(*end, *n),
            Op::Reset => units.call_reset(units.limit()),
        };
        let digest = self.of(script);
        let call = pipeline.cmd("EVALSHA").arg(digest).arg(1).arg(key).arg(verb).arg(numbers);
        call.arg(now / 1_000_000).arg(now % 1_000_000);
    }
}

/// What the script must answer, and keep.
fn settle(units: &Units, kept: &mut Kept, places: &mut Places, op: &Op, now: u64) -> Vec<u64> {
    let line = kept.line(units, now);
    let Flow { us, part } = units.flow(line.debt);
    match op {
        Op::Ask(ask) => {
            let settled = units.settle(line.debt, *ask);
            let writes = !matches!(ask, Ask::Look(_) | Ask::Charge(0) | Ask::Refund(0));
            // A charge that adds nothing is not written.
            let adds = !matches!(ask, Ask::Charge(_)) || settled.debt > line.debt;
            if writes && adds && settled.granted.is_some_and(|n| n > 0) {
                kept.keep(units, now, settled.debt);
            }
        }
        Op::Each(asked) => {
            let take = |debt, n: &u64| units.settle(debt, Ask::Take(*n)).debt;
            let after = asked.iter().fold(line.debt, take);
            if after > line.debt {
                kept.keep(units, now, after);
            }
        }
        Op::Reserve { n, reach } => {
            if let Some(after) = units.reserve(line.debt, *n, *reach) {
                kept.keep(units, now, after);
                places.push((units.end(after, now), *n));
            }
            return [us, part, now].into();
        }
        Op::GiveUp { end, n } => {
            let back = units.give_up(line, *end, *n);
            if back > 0 {
                kept.give_up(units, line, *end, back);
            }
            return [us, part, now, line.last.us, line.last.part].into();
        }
        Op::HandBack { end, n } => {
            if let HandedBack::Returned(back) = units.hand_back(line, *end, *n) {
                kept.keep(units, now, line.debt - back);
            }
            return [us, part, now, line.last.us, line.last.part].into();
        }
        Op::Reset => kept.reset(units, now, units.cost(units.limit())),
    }
    [us, part].into()
}

/// A bucket in rational numbers, and the promised end of its waiting line, in tokens that have
/// flowed since the test began.
struct Rational {
    model: Model,
    rate: Exact,
    promised: Exact,
    /// The lowest balance that a charge leaves.
    lowest: Exact,
}

impl Rational {
    fn new(quota: &Quota, max_debt: u64) -> Self {
        let (promised, lowest) = (whole(0), -whole(max_debt));
        Self { model: Model::new(quota), rate: rate(quota), promised, lowest }
    }

    fn flowed(&self, now: u64) -> Exact {
        &self.rate * whole((now - START) * 1_000)
    }

    fn last(&self, now: u64) -> Exact {
        let full = self.flowed(now) + (&self.model.burst - &self.model.tokens);
        full.max(self.promised.clone())
    }

    /// Decides, and compares that with the decision in Rust from the debt before it.
    fn hold_against(&mut self, units: &Units, line: ServerQueue, op: &Op, about: &str) {
        let now = line.now;
        let balance = i64::try_from(floor(&self.model.tokens)).unwrap_or(i64::MIN);
        assert_eq!(units.balance(line.debt), balance, "{about}");
        match op {
            Op::Ask(ask) => self.ask(units, line.debt, *ask, about),
            Op::Each(asked) => asked.iter().for_each(|n| {
                self.model.take(*n);
            }),
            Op::Reserve { n, reach } => {
                let owes = &self.model.burst - &self.model.tokens + whole(*n);
                let over = (&owes - self.tokens(units, *reach)) / &self.rate;
                let wait = |nanos: &Exact| (floor(&nanos.ceil()).max(0) + 999) / 1_000;
                let until = units.until_place(line.debt, *n, *reach);
                let ever = whole(*n) <= self.tokens(units, *reach);
                assert_eq!(until.map(i128::from), ever.then(|| wait(&over)), "{about}");
                let after = units.reserve(line.debt, *n, *reach);
                assert_eq!(after.is_some(), !over.is_positive(), "{about}");
                if let Some(after) = after {
                    let due = wait(&((owes - &self.model.burst) / &self.rate));
                    assert_eq!(i128::from(units.until_due(after)), due, "{about}");
                    self.model.charge(*n);
                }
            }
            Op::GiveUp { end, n } => {
                let start = units.in_parts(End { us: START, part: 0 });
                let end = self.tokens(units, units.in_parts(*end) - start);
                let last = self.last(now);
                let behind = &last - &end;
                let due = end - &self.model.burst <= self.flowed(now);
                let missing = &self.model.burst - &self.model.tokens;
                let back = (whole(*n) - &behind).max(whole(0)).min(missing);
                if due || behind.is_negative() || !back.is_positive() {
                    return;
                }
                if behind.is_positive() {
                    self.promised = last;
                }
                self.model.tokens += back;
            }
            Op::HandBack { end, n } => {
                let start = units.in_parts(End { us: START, part: 0 });
                let end = self.tokens(units, units.in_parts(*end) - start);
                if self.last(now) == end {
                    self.model.refund(*n);
                }
            }
            Op::Reset => {
                let last = self.last(now);
                let waits = &last - &self.model.burst > self.flowed(now);
                // The script keeps no larger number.
                let most = units.in_parts(End { us: (1 << 53) - 1 - START, part: 0 });
                let void = (last + &self.model.burst).min(self.tokens(units, most));
                self.promised = if waits { void } else { whole(0) };
                self.model.reset();
            }
        }
    }

    fn tokens(&self, units: &Units, parts: u128) -> Exact {
        whole(parts) / whole(units.cost(1))
    }

    fn ask(&mut self, units: &Units, debt: u128, ask: Ask, about: &str) {
        let (model, settled) = (&mut self.model, units.settle(debt, ask));
        let wait = |model: &Model, asked: u64| {
            let wait = model.wait(asked).map(|nanos| (nanos + 999) / 1_000);
            assert_eq!(units.until(debt, asked).map(i128::from), wait, "{about}");
        };
        match ask {
            Ask::Take(n) | Ask::Look(n) => {
                wait(model, n);
                assert_eq!(settled.granted.is_some(), model.peek(n), "{about}");
                if settled.granted.is_some() && ask == Ask::Take(n) {
                    assert!(model.take(n), "{about}");
                }
            }
            Ask::UpTo(n) => {
                wait(model, n.min(1));
                assert_eq!(settled.granted.unwrap_or(0), model.take_up_to(n), "{about}");
            }
            Ask::Charge(n) => {
                let before = model.tokens.clone();
                model.charge(n);
                if model.tokens < self.lowest {
                    model.tokens = before.min(self.lowest.clone());
                }
            }
            Ask::Refund(n) => model.refund(n),
        }
        // A charge beyond the longest debt is not recorded.
        let longest = units.in_parts(Flow { us: LONGEST_DEBT, part: 0 });
        if settled.debt == longest {
            let rest = whole(longest) / whole(units.cost(1));
            model.tokens = &model.burst - rest;
        }
    }

    /// Compares the debts afterwards.
    fn is_at(&self, units: &Units, line: ServerQueue, about: &str) {
        let full = (self.model.until_full() + 999) / 1_000;
        assert_eq!(i128::from(units.until_full(line.debt)), full, "{about}");
    }
}

/// Runs calls in a pipeline. Returns their answers, which may be a single number for a bucket with
/// one part.
pub(super) fn run(client: &mut ::redis::Connection, pipeline: &Pipeline) -> Vec<Vec<u64>> {
    let answers: Result<Vec<::redis::Value>, _> = pipeline.query(client);
    let answers = answers.map_err(|error| error.to_string().chars().take(200).collect::<String>());
    let numbers = |answer| match answer {
        ::redis::Value::Int(us) => [us as u64, 0].into(),
        answer => ::redis::from_redis_value(answer).unwrap(),
    };
    answers.unwrap().into_iter().map(numbers).collect()
}

/// Asks buckets of every quota at random, each of `keys` keys `times` times. The scripts must
/// answer and keep what the decisions in Rust say. If `exactly`, those must agree with the rational
/// model.
fn ask_by_chance(seed: u64, keys: u64, times: u64, exactly: bool) {
    let server = Server::start(&[]);
    let mut client = server.client();
    let digests = Digests::load(&mut client);
    let mut random = Random(seed);
    for quota in quotas().into_iter().cycle().take(quotas().len() * long() as usize) {
        let unbounded = Units::new(&quota).unwrap();
        let mut pipeline = Pipeline::new();
        let (mut expected, mut kept) = (Vec::new(), Vec::new());
        for key in 0..keys {
            let name = format!("{quota}:{key}");
            let (mut now, mut bucket, mut places) = (START, Kept::default(), Places::new());
            let limit = unbounded.limit();
            let max_debt = [u64::MAX, 0, random.below(3 * limit)][key as usize % 3];
            let units = unbounded.with_max_debt(max_debt);
            let mut model = Rational::new(&quota, max_debt);
            for _ in 0..times {
                // The time stays within the years that the numbers are made for.
                now += any_pause(&mut random, &units).min(((1 << 52) - START) / times);
                // The model knows no clock that is set back.
                if !exactly && random.below(16) == 0 {
                    now = now.saturating_sub(any_pause(&mut random, &units)).max(START);
                }
                let op = any_op(&mut random, &units, &mut places);
                digests.add_call(&mut pipeline, &units, &name, &op, now);
                bucket.heal(&units, now);
                let line = bucket.line(&units, now);
                let answer = settle(&units, &mut bucket, &mut places, &op, now);
                if exactly {
                    let about = format!("{quota:?} {op:?} at {line:?}");
                    model.model.flow((now - START) * 1_000);
                    model.hold_against(&units, line, &op, &about);
                    model.is_at(&units, bucket.line(&units, now), &about);
                }
                expected.push((answer, op, now));
            }
            kept.push((name, bucket.text()));
        }
        for (answer, (expected, op, now)) in run(&mut client, &pipeline).into_iter().zip(expected) {
            assert_eq!(answer, expected, "{quota:?} {op:?} at {now}");
        }
        for (name, text) in kept {
            let in_server: Option<String> =
                ::redis::cmd("GET").arg(&name).query(&mut client).unwrap();
            assert_eq!(in_server, text, "{name}");
        }
        ::redis::cmd("FLUSHALL").exec(&mut client).unwrap();
    }
}

/// 26,400 operations.
#[test]
fn scripts_decide_as_rust_and_the_rational_model() {
    ask_by_chance(0x9E37_79B9_7F4A_7C15, 12, 200, true);
}

/// 99,000 operations.
#[test]
fn scripts_decide_as_rust_also_on_a_clock_that_is_set_back() {
    ask_by_chance(0xD1B5_4A32_D192_ED03, 30, 300, false);
}
