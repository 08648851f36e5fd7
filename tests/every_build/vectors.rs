//! Decisions computed by an exact model, replayed through the public verbs.
//!
//! Every file in `tests/vectors/` is replayed: a limit, then operations at microsecond times with
//! the figures expected of each. Durations may differ by a microsecond, since the vectors round to
//! one.

use serde::Deserialize;
use sluicegate::{Denied, Grant, KeyedLimiter, ManualClock, Quota, RateLimiter};
use std::time::Duration;

#[derive(Deserialize)]
struct Vector {
    name: String,
    limit: Limit,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Limit {
    count: u64,
    period_us: u64,
    burst: u64,
    initial: Option<u64>,
}

#[derive(Deserialize)]
struct Step {
    t_us: u64,
    n: u64,
    op: String,
    expect: Expect,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Expect {
    allowed: bool,
    granted: u64,
    never: bool,
    retry_after_us: Option<u64>,
    remaining: u64,
    reset_after_us: u64,
}

impl Expect {
    fn of(answer: &Result<Grant, Denied>) -> Self {
        // Rounded up, as a duration is when it is coarsened.
        let micros = |d: Duration| u64::try_from(d.as_nanos().div_ceil(1000)).unwrap();
        match answer {
            Ok(grant) => Self {
                allowed: true,
                granted: grant.granted(),
                never: false,
                retry_after_us: None,
                remaining: grant.remaining(),
                reset_after_us: micros(grant.reset_after()),
            },
            Err(denied) => Self {
                allowed: false,
                granted: 0,
                never: denied.retry_after().is_none(),
                retry_after_us: denied.retry_after().map(micros),
                remaining: denied.remaining(),
                reset_after_us: micros(denied.reset_after()),
            },
        }
    }

    fn matches(&self, other: &Self) -> bool {
        let near = |a: u64, b: u64| a.abs_diff(b) <= 1;
        let retry = match (self.retry_after_us, other.retry_after_us) {
            (Some(a), Some(b)) => near(a, b),
            (a, b) => a == b,
        };
        retry
            && near(self.reset_after_us, other.reset_after_us)
            && (self.allowed, self.granted, self.never, self.remaining)
                == (other.allowed, other.granted, other.never, other.remaining)
    }
}

/// The verbs of a limiter, direct or one key of a keyed one.
trait Verbs {
    fn run(&self, op: &str, n: u64) -> Result<Grant, Denied>;
}

impl Verbs for RateLimiter {
    fn run(&self, op: &str, n: u64) -> Result<Grant, Denied> {
        match op {
            "take" => self.check_n(n),
            "take_up_to" => self.check_up_to(n),
            "peek" => self.peek(n),
            other => panic!("no such operation: {other}"),
        }
    }
}

/// The key `alice`, while `bob` takes what he can.
impl Verbs for KeyedLimiter<str> {
    fn run(&self, op: &str, n: u64) -> Result<Grant, Denied> {
        let _ = self.check("bob");
        match op {
            "take" => self.check_n("alice", n),
            "take_up_to" => self.check_up_to("alice", n),
            "peek" => self.peek("alice", n),
            other => panic!("no such operation: {other}"),
        }
    }
}

fn vectors() -> Vec<Vector> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        all.extend(serde_json::from_str::<Vec<Vector>>(&text).unwrap());
    }
    assert!(!all.is_empty());
    all
}

fn replay(vector: &Vector, clock: &ManualClock, limiter: &impl Verbs) {
    for (i, step) in vector.steps.iter().enumerate() {
        clock.set(Duration::from_micros(step.t_us));
        let answer = Expect::of(&limiter.run(&step.op, step.n));
        assert!(
            answer.matches(&step.expect),
            "{}, step {i} at {} us: {} {}\n  expected {:?}\n  answered {answer:?}",
            vector.name,
            step.t_us,
            step.op,
            step.n,
            step.expect,
        );
    }
}

#[test]
fn direct_limiter_answers_every_vector() {
    for vector in vectors() {
        for leaky in [false, true] {
            let clock = ManualClock::new();
            let Limit { count, period_us, burst, initial } = vector.limit;
            let quota = Quota::new(count, Duration::from_micros(period_us)).unwrap().burst(burst);
            let mut builder = RateLimiter::builder(quota).clock(clock.clone());
            if leaky {
                builder = builder.leaky_bucket();
            }
            if let Some(tokens) = initial {
                builder = builder.initial(tokens);
            }
            replay(&vector, &clock, &builder.build().unwrap());
        }
    }
}

#[test]
fn keyed_limiter_answers_every_vector() {
    // A key starts full, so vectors with another start are the direct limiter's.
    for vector in vectors().iter().filter(|vector| vector.limit.initial.is_none()) {
        for leaky in [false, true] {
            let clock = ManualClock::new();
            let Limit { count, period_us, burst, .. } = vector.limit;
            let quota = Quota::new(count, Duration::from_micros(period_us)).unwrap().burst(burst);
            let mut builder =
                KeyedLimiter::<str>::builder(quota, 1).clock(clock.clone()).seed([1, 2]);
            if leaky {
                builder = builder.leaky_bucket();
            }
            replay(vector, &clock, &builder.build().unwrap());
        }
    }
}
