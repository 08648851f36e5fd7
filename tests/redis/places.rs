//! Places in lines that all machines share, against real servers: their order, their moments, and
//! what is given back.

use crate::support::server::Server;
use sluicegate::{
    Fallback, KeyedLimiter, ManualClock, Quota, RedisBuilder, RedisError, RedisLimiter, Source,
};
use std::time::Duration;
use tokio::task::JoinSet;

/// On a machine that has much else to do a test's calls may take long.
const PATIENT: Duration = Duration::from_secs(20);

/// So slow that no test takes long enough for a token to flow.
const SLOW: Quota = Quota::per_day(1);

fn patient(quota: Quota) -> RedisBuilder {
    let builder = RedisLimiter::builder(quota).deadline(PATIENT).connect_timeout(PATIENT);
    builder.fallback(Fallback::Error)
}

async fn connect(server: &Server, quota: Quota) -> RedisLimiter {
    patient(quota).connect(&server.url()).await.unwrap()
}

/// Whether a wait is one that a local limiter had said, or as much less as a test may have taken.
#[track_caller]
fn about(wait: Duration, local: Duration) {
    assert!(wait <= local && wait + PATIENT >= local, "{wait:?} for {local:?}");
}

#[track_caller]
fn denied<T: std::fmt::Debug>(answer: Result<T, RedisError>) -> sluicegate::Denied {
    *answer.unwrap_err().denied().unwrap()
}

/// Until it is so, which may take long on a busy machine.
async fn available_is(limiter: &RedisLimiter, key: &str, expected: i64) {
    let began = std::time::Instant::now();
    loop {
        let there = limiter.available(key).await.unwrap();
        if there == expected {
            return;
        }
        assert!(began.elapsed() < PATIENT, "{there} for {expected}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A choice by chance (xorshift64).
fn below(random: &mut u64, n: u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random % n
}

/// What the server keeps says where the last place is; with its wait, that says the microsecond at
/// which it was taken. A local limiter at that microsecond says the same wait, to the nanosecond,
/// rounded up.
#[tokio::test]
async fn places_of_several_machines_are_those_of_one_local_line() {
    let server = Server::start(&[]);
    let mut client = server.client();
    // A token takes 3,600 / 7 s, and a microsecond has 7 parts.
    let (hour, parts, burst) = (3_600_000_000, 7, 5);
    let quota = Quota::per_hour(parts).burst(burst);
    let machines = [(); 3].map(|()| connect(&server, quota));
    let [a, b, c] = machines;
    let machines = [a.await, b.await, c.await];
    let clock = ManualClock::new();
    let builder = KeyedLimiter::<str>::builder(quota, 10).clock(clock.clone());
    let local = builder.build().unwrap();

    let mut full = || {
        let key = machines[0].key("a");
        let kept: String = redis::cmd("GET").arg(key).query(&mut client).unwrap();
        let mut numbers = kept.split(':').map(|number| number.parse::<u64>().unwrap());
        numbers.next().unwrap() * parts + numbers.next().unwrap()
    };
    machines[0].charge("a", burst).await.unwrap();
    let start = (full() - burst * hour) / parts;
    local.charge("a", burst);
    let (mut latest, mut places, mut random) = (start, Vec::new(), 0x9E37_79B9_7F4A_7C15);
    for step in 0..200 {
        let machine = &machines[below(&mut random, 3) as usize];
        if below(&mut random, 3) > 0 || places.is_empty() {
            let n = below(&mut random, burst) + 1;
            let there = machine.reserve("a", n).await.unwrap();
            let wait = u64::try_from(there.waits().as_micros()).unwrap();
            let now = (full() - burst * hour).div_ceil(parts) - wait;
            assert!(latest <= now, "step {step}: {latest} is after {now}");
            latest = now;
            clock.set(Duration::from_micros(now - start));
            let here = local.reserve("a", n).unwrap();
            assert_eq!(u128::from(wait), here.waits().as_nanos().div_ceil(1_000), "step {step}");
            assert_eq!(there.grant().remaining(), here.grant().remaining());
            places.push((there, here));
        } else {
            // The last: of one with others behind it the local line keeps all for whoever comes
            // next, Redis what it had more than those.
            let Some((there, here)) = places.pop() else { continue };
            assert_eq!(there.cancel().await.unwrap(), here.cancel(), "step {step}");
        }
        assert_eq!(machine.available("a").await.unwrap(), local.available("a"), "step {step}");
    }
}

/// In the same order as in the local test of that name; Go's x/time/rate gives back one too many in
/// the end.
#[tokio::test]
async fn a_promised_place_outlasts_the_line() {
    let server = Server::start(&[]);
    let limiter = connect(&server, SLOW.burst(3)).await;
    let reserve = async |n| limiter.reserve("a", n).await.unwrap();
    let due = reserve(3).await;
    let (first, second, stays) = (reserve(3).await, reserve(3).await, reserve(1).await);
    for (place, tokens) in [(&due, 0), (&first, 3), (&second, 6), (&stays, 7)] {
        about(place.waits(), SLOW.period() * tokens);
        assert!(place.ready_in() <= place.waits());
    }
    assert_eq!(second.cancel().await.unwrap(), 2);
    let third = reserve(2).await;
    about(third.waits(), SLOW.period() * 7);
    assert_eq!(third.cancel().await.unwrap(), 2);
    assert_eq!(first.cancel().await.unwrap(), 0);
    assert_eq!(due.cancel().await.unwrap(), 0);
    // The key outlasts the line as well.
    let mut client = server.client();
    let key = limiter.key("a");
    let kept: String = redis::cmd("GET").arg(&key).query(&mut client).unwrap();
    let numbers: Vec<u64> = kept.split(':').map(|number| number.parse().unwrap()).collect();
    assert_eq!(numbers[3] - numbers[0], 2 * 86_400_000_000, "{kept}");
    let expires: u64 = redis::cmd("PEXPIRETIME").arg(&key).query(&mut client).unwrap();
    assert_eq!(expires, numbers[3].div_ceil(1_000));
    assert_eq!(stays.cancel().await.unwrap(), 1);
    // Five of the eight that were asked for since.
    assert_eq!(limiter.available("a").await.unwrap(), -4);
}

#[tokio::test]
async fn what_is_denied_takes_nothing_and_says_how_much_too_late_it_is() {
    let server = Server::start(&[]);
    let builder = patient(SLOW.burst(5)).max_waiting(3);
    let limiter = builder.connect(&server.url()).await.unwrap();
    let never = denied(limiter.reserve("a", 6).await);
    assert!(never.is_never() && never.remaining() == 5);
    let mut places = Vec::new();
    for _ in 0..8 {
        places.push(limiter.reserve("a", 1).await.unwrap());
    }
    let over = denied(limiter.reserve("a", 1).await);
    about(over.retry_after().unwrap(), SLOW.period());
    assert_eq!((over.asked(), over.remaining()), (1, 0));
    assert_eq!(limiter.available("a").await.unwrap(), -3);
    assert!(limiter.reserve("b", 1).await.is_ok());
    // The last first: nobody is behind.
    while let Some(place) = places.pop() {
        let waits = !place.waits().is_zero();
        assert_eq!(place.cancel().await.unwrap(), u64::from(waits));
    }
    assert_eq!(limiter.available("a").await.unwrap(), 0);
    let within = SLOW.period() * 2;
    let first = limiter.reserve_within("a", 1, within).await.unwrap();
    let late = denied(limiter.reserve_within("a", 2, within).await);
    about(late.retry_after().unwrap(), SLOW.period());
    let late = denied(limiter.acquire("a", 3).timeout(within).await);
    about(late.retry_after().unwrap(), SLOW.period() * 2);
    assert_eq!(limiter.available("a").await.unwrap(), -1);
    assert_eq!(first.cancel().await.unwrap(), 1);
    let none = limiter.reserve("a", 0).await.unwrap();
    assert_eq!((none.waits(), none.tokens(), none.grant().granted()), (Duration::ZERO, 0, 0));
}

#[tokio::test]
async fn a_queue_admits_its_capacity_and_spaces_it() {
    let server = Server::start(&[]);
    let queue = patient(SLOW).leaky_bucket().queue(4);
    let (free, queue) = (queue.clone().delay_free(2), queue.connect(&server.url()).await.unwrap());
    let mut places = Vec::new();
    for days in 0..5 {
        let place = queue.reserve("a", 1).await.unwrap();
        about(place.waits(), SLOW.period() * days);
        places.push(place);
    }
    let full = denied(queue.reserve("a", 1).await);
    about(full.retry_after().unwrap(), SLOW.period());
    assert!(queue.check("a").await.is_err());
    assert_eq!(places.pop().unwrap().cancel().await.unwrap(), 1);
    // A cost of several is a departure of its last.
    about(queue.reserve("b", 5).await.unwrap().waits(), SLOW.period() * 4);
    assert!(denied(queue.reserve("b", 6).await).is_never());
    assert!(queue.check("c").await.is_ok());
    let four = queue.reserve("c", 4).await.unwrap();
    assert!(queue.reserve("c", 1).await.is_err());
    assert_eq!(four.cancel().await.unwrap(), 4);

    let free = free.connect(&server.url()).await.unwrap();
    assert_eq!(free.quota(), SLOW.burst(3));
    let mut places = Vec::new();
    for days in [0, 0, 0, 1, 2] {
        let place = free.reserve("a", 1).await.unwrap();
        about(place.waits(), SLOW.period() * days);
        places.push(place);
    }
    assert!(free.reserve("a", 1).await.is_err());
    for (builder, field) in [
        (patient(SLOW).queue(5), "queue"),
        (patient(SLOW).leaky_bucket().queue(5).delay_free(6), "delay_free"),
        (patient(SLOW).leaky_bucket().delay_free(1), "delay_free"),
    ] {
        let error = builder.connect(&server.url()).await.unwrap_err();
        assert!(matches!(error, RedisError::Quota(error) if error.field() == field), "{error}");
    }
}

/// By the server's clock, which says when each began and ended.
#[tokio::test]
async fn who_acquires_is_not_early_and_costs_a_round_trip() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let mut time = || {
        let (seconds, us): (u64, u64) = redis::cmd("TIME").query(&mut client).unwrap();
        Duration::from_micros(seconds * 1_000_000 + us)
    };
    let machines = [(); 2].map(|()| connect(&server, Quota::per_second(50).burst(1)));
    let [a, b] = machines;
    let machines = [a.await, b.await];
    let began = time();
    let mut waiting = JoinSet::new();
    for waiter in 0..16 {
        let machine = machines[waiter % 2].clone();
        waiting.spawn(async move { machine.acquire("a", 1).await.unwrap().granted() });
    }
    assert_eq!(waiting.join_all().await.into_iter().sum::<u64>(), 16);
    // The first has not waited.
    let took = time().saturating_sub(began);
    assert!(took >= Duration::from_millis(15 * 20), "{took:?}");
    let calls: Vec<_> = machines.iter().map(|machine| machine.metrics().calls).collect();
    assert_eq!(calls, [8, 8], "a round trip for each, however many wait");

    let began = time();
    let place = machines[0].reserve_within("a", 1, PATIENT).await.unwrap();
    let waits = place.waits();
    place.ready().await;
    let took = time().saturating_sub(began);
    assert!(took >= waits, "{took:?} for {waits:?}");
}

/// A window has no line, and is asked again when it has room.
#[tokio::test]
async fn who_acquires_of_a_window_asks_again() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let period = Duration::from_millis(200);
    let window = patient(Quota::new(2, period).unwrap()).fixed_window();
    let window = window.connect(&server.url()).await.unwrap();
    let mut index = || {
        let (seconds, us): (u64, u64) = redis::cmd("TIME").query(&mut client).unwrap();
        (u128::from(seconds) * 1_000_000 + u128::from(us)) / period.as_micros()
    };
    let began = index();
    for _ in 0..5 {
        assert_eq!(window.acquire("a", 1).await.unwrap().granted(), 1);
    }
    let passed = index() - began;
    assert!(passed >= 2, "{passed} windows for 5 of 2 each");
    assert!(denied(window.acquire("a", 3).await).is_never());
    assert!(window.reserve("a", 1).await.unwrap_err().is_configuration());

    // What begins anew in years is not waited for.
    let years = Quota::new(1, SLOW.period() * 3_660).unwrap();
    let years = patient(years).fixed_window().connect(&server.url()).await.unwrap();
    years.charge("a", 1).await.unwrap();
    let calls = years.metrics().calls;
    let late = denied(years.acquire("a", 1).timeout(PATIENT).await);
    assert!(!late.is_never() && years.metrics().calls == calls + 1);
}

#[tokio::test]
async fn what_is_dropped_before_it_is_due_comes_back() {
    let server = Server::start(&[]);
    let limiter = connect(&server, SLOW.burst(2)).await;
    limiter.charge("a", 2).await.unwrap();
    let place = limiter.reserve("a", 2).await.unwrap();
    assert_eq!(limiter.available("a").await.unwrap(), -2);
    drop(place);
    available_is(&limiter, "a", 0).await;

    let waiter = tokio::spawn({
        let limiter = limiter.clone();
        async move { limiter.acquire("a", 1).await.map(|grant| grant.granted()) }
    });
    available_is(&limiter, "a", -1).await;
    waiter.abort();
    assert!(waiter.await.unwrap_err().is_cancelled());
    available_is(&limiter, "a", 0).await;

    // Who is due has spent.
    drop(limiter.reserve("b", 2).await.unwrap());
    let settled = limiter.reserve("b", 1).await.unwrap();
    assert_eq!(settled.settle(1).await.unwrap(), Duration::ZERO);
    assert_eq!(limiter.available("b").await.unwrap(), -1);
}

#[tokio::test]
async fn a_cost_is_set_right_before_and_after_it_is_due() {
    let server = Server::start(&[]);
    let limiter = connect(&server, SLOW.burst(10)).await;
    let reserve = async |n| limiter.reserve("a", n).await.unwrap();
    assert_eq!(reserve(8).await.settle(3).await.unwrap(), Duration::ZERO);
    assert_eq!(limiter.available("a").await.unwrap(), 7);
    about(reserve(5).await.settle(9).await.unwrap(), SLOW.period() * 2);
    assert_eq!(limiter.available("a").await.unwrap(), -2);
    // Somebody is behind.
    let (early, _behind) = (reserve(8).await, reserve(3).await);
    assert_eq!(early.settle(2).await.unwrap(), Duration::ZERO);
    assert_eq!(limiter.available("a").await.unwrap(), -10);
    assert_eq!(reserve(0).await.settle(0).await.unwrap(), Duration::ZERO);
    about(reserve(0).await.settle(1).await.unwrap(), SLOW.period() * 11);
}

/// Were it not void, the first would give back what others have taken since.
#[tokio::test]
async fn a_reset_makes_places_void_also_if_the_line_grows_again() {
    let server = Server::start(&[]);
    let limiter = connect(&server, SLOW.burst(3)).await;
    let reserve = async |n| limiter.reserve("a", n).await.unwrap();
    let (_due, void) = (reserve(3).await, reserve(3).await);
    limiter.reset("a").await.unwrap();
    assert_eq!(limiter.available("a").await.unwrap(), 3);
    let (_due, _waits) = (reserve(3).await, reserve(3).await);
    assert_eq!(void.cancel().await.unwrap(), 0);
    assert_eq!(limiter.available("a").await.unwrap(), -3);
    // A refund takes the end of the line from under a place.
    let (first, last) = (limiter.reserve("b", 3).await.unwrap(), limiter.reserve("b", 1).await);
    limiter.refund("b", 1).await.unwrap();
    assert_eq!((last.unwrap().cancel().await.unwrap(), first.waits()), (0, Duration::ZERO));
    assert_eq!(limiter.available("b").await.unwrap(), 0);
}

#[tokio::test]
async fn while_redis_is_away_places_are_those_of_the_policy() {
    let mut server = Server::start(&[]);
    let policies = [Fallback::Local, Fallback::Open, Fallback::Closed, Fallback::Error];
    let mut limiters = Vec::new();
    for policy in policies {
        let builder = patient(SLOW.burst(4)).fallback(policy).nodes(2).max_waiting(4);
        limiters.push(builder.connect(&server.url()).await.unwrap());
    }
    server.kill();
    let [local, open, closed, error] = &limiters[..] else { panic!("four policies") };
    // The half of one of two machines.
    let due = local.reserve("a", 2).await.unwrap();
    assert_eq!((due.waits(), due.grant().source()), (Duration::ZERO, Source::Fallback));
    let (first, last) =
        (local.reserve("a", 1).await.unwrap(), local.reserve("a", 1).await.unwrap());
    about(first.waits(), SLOW.period() * 2);
    about(last.waits(), SLOW.period() * 4);
    let full = denied(local.reserve("a", 1).await);
    about(full.retry_after().unwrap(), SLOW.period() * 2);
    assert_eq!(full.source(), Source::Fallback);
    assert_eq!((first.cancel().await.unwrap(), last.cancel().await.unwrap()), (1, 1));
    drop(local.reserve("a", 1).await.unwrap());
    assert_eq!(local.available("a").await.unwrap(), 0);
    let over = denied(local.reserve("a", 3).await);
    assert!(!over.is_never(), "it exceeds the share alone");
    assert!(denied(local.reserve("a", 5).await).is_never());

    let granted = open.reserve("a", 4).await.unwrap();
    assert_eq!((granted.waits(), granted.grant().source()), (Duration::ZERO, Source::FailOpen));
    assert!(denied(open.reserve("a", 5).await).is_never());
    let refused = denied(closed.reserve("a", 1).await);
    assert_eq!((refused.source(), refused.is_never()), (Source::FailClosed, false));
    assert!(error.reserve("a", 1).await.unwrap_err().is_degraded());
    // Nothing was taken, so nothing comes back: neither now nor when Redis is there again.
    server.restart();
    let direct = connect(&server, SLOW.burst(4)).await;
    direct.charge("a", 4).await.unwrap();
    let _ = granted.settle(0).await;
    assert_eq!(direct.available("a").await.unwrap(), 0);
}
