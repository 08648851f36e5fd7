//! The law of the burst, and the order of those who wait, whatever is given up, reserved, checked
//! and changed meanwhile.

use crate::support::models::{self, WindowLaw, exact, unit_of_56_bits};
use proptest::prelude::*;
use sluicegate::{Acquire, KeyedLimiter, Quota, RateLimiter, Reservation, TokioClock};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};

const MS: Duration = Duration::from_millis(1);

/// What somebody does, and so many milliseconds after the one before.
#[derive(Clone, Debug)]
enum Op {
    /// Waits for so many tokens, for at most so long.
    Wait(u64, u64),
    Check(u64),
    /// Reserves, and cancels after so long, unless it is due.
    Reserve(u64, u64),
    /// Waits, and is told at once if it takes longer.
    Timeout(u64, u64),
}

fn ops() -> impl Strategy<Value = Vec<(u64, Op)>> {
    let n = || 1..4_u64;
    let long = || prop_oneof![0..400_u64, Just(100_000)];
    let op = prop_oneof![
        5 => (n(), long()).prop_map(|(n, patience)| Op::Wait(n, patience)),
        2 => n().prop_map(Op::Check),
        2 => (n(), long()).prop_map(|(n, patience)| Op::Reserve(n, patience)),
        1 => (n(), 0..500_u64).prop_map(|(n, patience)| Op::Timeout(n, patience)),
    ];
    proptest::collection::vec((prop_oneof![Just(0), 0..120_u64], op), 1..40)
}

/// Either kind of limiter.
#[derive(Clone)]
enum Kind {
    Direct(Rc<RateLimiter>),
    Keyed(Rc<KeyedLimiter<u8>>),
}

impl Kind {
    fn acquire(&self, n: u64) -> Acquire<'_> {
        match self {
            Self::Direct(limiter) => limiter.acquire(n),
            Self::Keyed(limiter) => limiter.acquire(&7, n),
        }
    }

    fn reserve(&self, n: u64) -> Reservation<'_> {
        match self {
            Self::Direct(limiter) => limiter.reserve(n).unwrap(),
            Self::Keyed(limiter) => limiter.reserve(&7, n).unwrap(),
        }
    }

    fn check(&self, n: u64) -> bool {
        match self {
            Self::Direct(limiter) => limiter.check_n(n).is_ok(),
            Self::Keyed(limiter) => limiter.check_n(&7, n).is_ok(),
        }
    }

    fn available(&self) -> i64 {
        match self {
            Self::Direct(limiter) => limiter.available(),
            Self::Keyed(limiter) => limiter.available(&7),
        }
    }
}

/// What was admitted, when; and who of those who waited without a reservation, in which order.
#[derive(Default)]
struct Log {
    admitted: Vec<(Duration, u64)>,
    served: Vec<(Duration, usize)>,
}

/// Runs all of it, then takes what is there for some seconds more. Tokens flow ten a second, a
/// whole number each time.
async fn run(limiter: Kind, ops: Vec<(u64, Op)>) -> Log {
    let (log, start) = (Rc::new(RefCell::new(Log::default())), Instant::now());
    let local = LocalSet::new();
    local
        .run_until(async {
            for (i, (after, op)) in ops.into_iter().enumerate() {
                sleep(MS * after as u32).await;
                let (limiter, log) = (limiter.clone(), log.clone());
                local.spawn_local(async move {
                    let admit = |n| log.borrow_mut().admitted.push((start.elapsed(), n));
                    match op {
                        Op::Wait(n, patience) => {
                            let patience = MS * patience as u32;
                            if let Ok(answer) = timeout(patience, limiter.acquire(n)).await {
                                answer.unwrap();
                                admit(n);
                                log.borrow_mut().served.push((start.elapsed(), i));
                            }
                        }
                        Op::Timeout(n, patience) => {
                            if limiter.acquire(n).timeout(MS * patience as u32).await.is_ok() {
                                admit(n);
                                log.borrow_mut().served.push((start.elapsed(), i));
                            }
                        }
                        Op::Check(n) => {
                            if limiter.check(n) {
                                admit(n);
                            }
                        }
                        Op::Reserve(n, patience) => {
                            let place = limiter.reserve(n);
                            let (due, patience) = (place.ready_in(), MS * patience as u32);
                            sleep(due.min(patience)).await;
                            if due <= patience {
                                assert!(place.ready_in().is_zero(), "its moment was promised");
                                admit(n);
                            }
                        }
                    }
                });
                tokio::task::yield_now().await;
            }
        })
        .await;
    local.await;
    assert!(limiter.available() >= 0, "nobody waits any more");
    for _ in 0..60 {
        while limiter.check(1) {
            log.borrow_mut().admitted.push((start.elapsed(), 1));
        }
        sleep(MS * 100).await;
    }
    Rc::into_inner(log).unwrap().into_inner()
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: models::cases(400), ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_given_up_the_law_stands(burst in 3..7_u64, ops in ops(), keyed: bool) {
        let quota = Quota::per_second(10).burst(burst);
        let log = runtime().block_on(async {
            let limiter = if keyed {
                let builder = KeyedLimiter::builder(quota, 9).clock(TokioClock::new());
                Kind::Keyed(Rc::new(builder.build().unwrap()))
            } else {
                let builder = RateLimiter::builder(quota).clock(TokioClock::new());
                Kind::Direct(Rc::new(builder.build().unwrap()))
            };
            run(limiter, ops).await
        });
        // Those who are served at the same moment run in any order.
        let mut in_order = log.served.clone();
        in_order.sort_unstable_by_key(|(_, i)| *i);
        prop_assert!(in_order.is_sorted_by_key(|(at, _)| *at), "{:?}", log.served);
        // A timer is late by a millisecond at most, which is a hundredth of a token.
        let late = exact(1) / exact(100) + unit_of_56_bits(&quota) * exact(4);
        let mut law = WindowLaw::new(&quota, burst, &late);
        for (at, n) in log.admitted {
            prop_assert_eq!(law.admit(at.as_nanos() as u64, n), Ok(()));
        }
    }

    /// Without reservations, which keep moments that nobody may use, nothing is lost at all: with
    /// somebody waiting all the time as many are admitted as flow, to within what whoever left had
    /// been granted and let flow by.
    #[test]
    fn with_somebody_waiting_all_that_flows_is_served(
        burst in 3..7_u64,
        patience in proptest::collection::vec((0..40_u64, 1..4_u64, 0..700_u64), 1..60),
    ) {
        let quota = Quota::per_second(10).burst(burst);
        let served = runtime().block_on(async {
            let limiter = RateLimiter::builder(quota).clock(TokioClock::new()).build().unwrap();
            let (limiter, start) = (Rc::new(limiter), Instant::now());
            assert!(limiter.check_n(burst).is_ok());
            let (local, served) = (LocalSet::new(), Rc::new(RefCell::new(0)));
            // One who stays, and comes again and again.
            let (stays, count) = (limiter.clone(), served.clone());
            local.spawn_local(async move {
                while start.elapsed() < MS * 6_000 {
                    stays.acquire(1).await.unwrap();
                    *count.borrow_mut() += 1;
                }
            });
            for (after, n, patience) in patience {
                let (limiter, count) = (limiter.clone(), served.clone());
                local.spawn_local(async move {
                    sleep(MS * 100 * after as u32).await;
                    if timeout(MS * patience as u32, limiter.acquire(n)).await.is_ok() {
                        *count.borrow_mut() += n;
                    }
                });
            }
            local.await;
            // The last one is served when its token has just flowed.
            let flowed = start.elapsed().as_millis() as u64 / 100;
            let there = limiter.available();
            (flowed, served.take() as i64 + there)
        });
        prop_assert_eq!(served.0 as i64, served.1);
    }
}
