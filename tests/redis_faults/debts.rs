//! What this process granted in place of Redis: told rightly, and charged there once.

use crate::support::proxy::{Proxy, Way};
use crate::support::server::Server;
use sluicegate::{Algorithm, Quota, RedisBuilder, RedisLimiter, Source};
use std::time::{Duration, Instant};

/// On a machine that has much else to do a test's calls may take long.
const PATIENT: Duration = Duration::from_secs(20);

/// So slow that no test takes long enough for a token to flow.
const SLOW: Quota = Quota::per_day(1);

fn builder() -> RedisBuilder {
    RedisLimiter::builder(SLOW.burst(100)).failures(u32::MAX).connect_timeout(PATIENT)
}

/// Two round trips, one after the other, may not fit into a deadline that one fits into: then the
/// call that missed it is granted here, and owed, and so the next one misses it too, for ever.
#[tokio::test]
async fn a_debt_is_paid_in_the_round_trip_of_the_call_that_finds_it() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port());
    let several = builder().prefix("several").and(SLOW.burst(200)).and(SLOW.burst(300));
    for builder in [builder(), several] {
        let builder = builder.deadline(Duration::from_millis(1_400)).max_pending(1);
        let limiter = builder.connect(&proxy.url()).await.unwrap();
        // Whatever scripts there are to know are known.
        limiter.charge("b", 1).await.unwrap();
        limiter.check("b").await.unwrap();
        proxy.delay(Duration::from_millis(400));
        let (asked, one_more) = tokio::join!(limiter.check("a"), limiter.check("a"));
        assert_eq!(asked.unwrap().source(), Source::Redis);
        assert_eq!(one_more.unwrap().source(), Source::Fallback);
        let next = limiter.check("a").await.unwrap();
        assert_eq!((next.source(), next.remaining()), (Source::Redis, 97), "the debt is first");
        proxy.delay(Duration::ZERO);
        assert_eq!(limiter.available("a").await.unwrap(), 97, "once");
    }
}

/// A refund without an answer may have come back in Redis: what is owed there is owed still.
#[tokio::test]
async fn what_may_have_come_back_does_not_come_back_twice() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port());
    let both: [fn(RedisBuilder) -> RedisBuilder; 2] =
        [|one| one, |one| one.prefix("several").and(SLOW.burst(200))];
    for more in both {
        let witness = more(builder()).deadline(PATIENT).connect(&server.url()).await.unwrap();
        let builder = more(builder()).deadline(Duration::from_secs(1)).max_pending(1);
        let limiter = builder.connect(&proxy.url()).await.unwrap();
        assert_eq!(limiter.check_n("a", 50).await.unwrap().source(), Source::Redis);
        limiter.refund("b", 1).await.unwrap();
        proxy.swallow(Way::Replies);
        let (refunded, granted) = tokio::join!(limiter.refund("a", 10), limiter.check_n("a", 20));
        refunded.unwrap();
        assert_eq!(granted.unwrap().source(), Source::Fallback);
        assert_eq!(witness.available("a").await.unwrap(), 60);
        proxy.mend();
        let began = Instant::now();
        while limiter.peek("a", 1).await.unwrap().source() != Source::Redis {
            assert!(began.elapsed() < PATIENT);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // It is paid when answers have outweighed the failure, each of which weighs ten.
        for _ in 0..10 * (limiter.metrics().timeouts + limiter.metrics().failures) + 1 {
            assert_eq!(limiter.peek("a", 1).await.unwrap().source(), Source::Redis);
        }
        assert_eq!(witness.available("a").await.unwrap(), 40);
    }
}

/// A share is as full as what was taken of it, not as what others' shares are.
#[tokio::test]
async fn the_level_of_a_share_is_what_was_taken_of_it() {
    let server = Server::start(&[]);
    for builder in [builder(), builder().and(SLOW.burst(200))] {
        let builder = builder.leaky_bucket().nodes(4).max_pending(0);
        let limiter = builder.connect(&server.url()).await.unwrap();
        assert_eq!(limiter.level("a").await.unwrap(), 0);
        assert_eq!(limiter.check_n("a", 5).await.unwrap().source(), Source::Fallback);
        assert_eq!(limiter.level("a").await.unwrap(), 5);
    }
}

/// A charge takes a balance no lower than `-max_debt`, and what is over is forgotten: of every
/// algorithm, and of several limits.
#[tokio::test]
async fn charges_are_owed_no_further_than_max_debt() {
    let server = Server::start(&[]);
    for algorithm in [
        Algorithm::TokenBucket,
        Algorithm::LeakyBucket,
        Algorithm::FixedWindow,
        Algorithm::SlidingWindow,
    ] {
        for several in [false, true] {
            for most in [0, 5] {
                let quota = Quota::per_day(10);
                let prefix = format!("{algorithm}{several}{most}");
                let mut builder = RedisLimiter::builder(quota).algorithm(algorithm).prefix(&prefix);
                if several {
                    builder = builder.and(Quota::per_day(30));
                }
                let builder = builder.max_debt(most as u64).deadline(PATIENT);
                let limiter = builder.connect(&server.url()).await.unwrap();
                limiter.charge("a", 3).await.unwrap();
                assert_eq!(limiter.available("a").await.unwrap(), 7, "{prefix}");
                for n in [1_000, 1, u64::MAX] {
                    let paid = limiter.charge("a", n).await.unwrap();
                    assert!(most == 0 || paid > Duration::ZERO, "{prefix}");
                    assert!(paid <= Duration::from_secs(2 * 86_400), "{prefix}: {paid:?}");
                    assert_eq!(limiter.available("a").await.unwrap(), -most, "{prefix}");
                }
                limiter.refund("a", 2).await.unwrap();
                assert_eq!(limiter.available("a").await.unwrap(), 2 - most, "{prefix}");
            }
        }
    }
}

/// A line of reservations goes lower than a charge may: that one adds nothing, and takes nothing
/// off. What a cost turns out to be beyond its reservation is a charge.
#[tokio::test]
async fn charges_behind_a_longer_line_change_nothing() {
    let server = Server::start(&[]);
    let builder = builder().deadline(PATIENT).max_debt(5);
    let limiter = builder.connect(&server.url()).await.unwrap();
    limiter.reserve("b", 100).await.unwrap().settle(1_000).await.unwrap();
    assert_eq!(limiter.available("b").await.unwrap(), -5);
    let places =
        [limiter.reserve("a", 100).await.unwrap(), limiter.reserve("a", 50).await.unwrap()];
    for _ in 0..2 {
        assert_eq!(limiter.available("a").await.unwrap(), -50);
        limiter.charge("a", 100).await.unwrap();
    }
    drop(places);
}

/// What a share took by charges is charged in Redis as far as a charge goes; what it granted,
/// whole.
#[tokio::test]
async fn debts_of_charges_are_paid_no_further_than_max_debt() {
    let server = Server::start(&[]);
    let both: [fn(RedisBuilder) -> RedisBuilder; 2] =
        [|one| one, |one| one.prefix("several").and(SLOW.burst(200))];
    for more in both {
        let builder = more(builder()).deadline(PATIENT).max_debt(5);
        let witness = builder.clone().connect(&server.url()).await.unwrap();
        let limiter = builder.max_pending(1).connect(&server.url()).await.unwrap();
        // One is on its way, so that the other is decided here.
        let (_, charged) = tokio::join!(limiter.available("x"), limiter.charge("a", 1_000));
        charged.unwrap();
        let (_, here) = tokio::join!(limiter.available("x"), limiter.available("a"));
        assert_eq!(here.unwrap(), -5);
        assert_eq!(witness.available("a").await.unwrap(), 100, "it is not told yet");
        assert_eq!(limiter.available("a").await.unwrap(), -5);
        assert_eq!(limiter.available("a").await.unwrap(), -5, "once");

        // Others have taken all meanwhile.
        let (_, charged) = tokio::join!(limiter.available("x"), limiter.charge("b", 30));
        charged.unwrap();
        witness.check_n("b", 100).await.unwrap();
        assert_eq!(limiter.available("b").await.unwrap(), -5);

        let (_, granted) = tokio::join!(limiter.available("x"), limiter.check_n("c", 30));
        assert_eq!(granted.unwrap().source(), Source::Fallback);
        witness.check_n("c", 100).await.unwrap();
        assert_eq!(limiter.available("c").await.unwrap(), -30, "of the law nothing is forgiven");

        // A refund here takes off what is owed there.
        let (_, charged) = tokio::join!(limiter.available("x"), limiter.charge("d", 30));
        charged.unwrap();
        let (_, granted) = tokio::join!(limiter.available("x"), limiter.check_n("d", 20));
        granted.unwrap();
        let (_, refunded) = tokio::join!(limiter.available("x"), limiter.refund("d", 40));
        refunded.unwrap();
        assert_eq!(limiter.available("d").await.unwrap(), 90);
    }
}

/// A node has its part of the debt, as it has of the burst.
#[tokio::test]
async fn a_share_is_in_debt_by_its_part() {
    let server = Server::start(&[]);
    let builder = builder().nodes(4).max_debt(10).max_pending(0);
    let limiter = builder.connect(&server.url()).await.unwrap();
    limiter.charge("a", 1_000).await.unwrap();
    assert_eq!(limiter.available("a").await.unwrap(), -2);
}

/// A reset that fails changes nothing: what the share has granted stays taken, and owed.
#[tokio::test]
async fn a_reset_that_fails_changes_nothing() {
    let both: [fn(RedisBuilder) -> RedisBuilder; 2] = [|one| one, |one| one.and(SLOW.burst(200))];
    for more in both {
        // Given up at once, or asked in vain each time.
        for failures in [1, u32::MAX] {
            let mut server = Server::start(&[]);
            let builder = RedisLimiter::builder(SLOW.burst(10)).connect_timeout(PATIENT);
            let builder = more(builder).failures(failures).deadline(Duration::from_millis(100));
            let limiter = builder.connect(&server.url()).await.unwrap();
            server.kill();
            let mut granted = 0;
            for _ in 0..4 {
                let grant = limiter.check_up_to("a", 100).await;
                granted += grant.map_or(0, |grant| grant.granted());
                assert!(limiter.reset("a").await.is_err());
            }
            assert_eq!(granted, 10);
            server.restart();
            let began = Instant::now();
            while limiter.peek("b", 1).await.unwrap().source() != Source::Redis {
                assert!(began.elapsed() < PATIENT);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // It is paid when answers have outweighed the failures, each of which weighs ten.
            for _ in 0..10 * (limiter.metrics().timeouts + limiter.metrics().failures) + 1 {
                assert_eq!(limiter.peek("b", 1).await.unwrap().source(), Source::Redis);
            }
            assert_eq!(limiter.available("a").await.unwrap(), 0, "it is owed");
            limiter.reset("a").await.unwrap();
            assert_eq!(limiter.available("a").await.unwrap(), 10);
        }
    }
}

/// A reset that succeeds forgets what is owed.
#[tokio::test]
async fn a_reset_forgets_what_is_owed() {
    let server = Server::start(&[]);
    for builder in [builder(), builder().prefix("several").and(SLOW.burst(200))] {
        let builder = builder.deadline(PATIENT).max_pending(1);
        let limiter = builder.connect(&server.url()).await.unwrap();
        let (_, granted) = tokio::join!(limiter.available("x"), limiter.check_n("a", 30));
        assert_eq!(granted.unwrap().source(), Source::Fallback);
        limiter.reset("a").await.unwrap();
        assert_eq!(limiter.available("a").await.unwrap(), 100);
        let (_, here) = tokio::join!(limiter.available("x"), limiter.available("a"));
        assert_eq!(here.unwrap(), 100);
    }
}

/// Counts over the largest burst, and shares whose period is longer than a quota's.
#[tokio::test]
async fn what_redis_has_numbers_for_the_fallback_has_too() {
    let server = Server::start(&[]);
    for (text, nodes) in [
        ("1000000000000000/day burst 1000", 1),
        ("18446744073709551615/3660 days burst 1000", 7),
        ("3/day burst 5", 5_000),
        ("1/3660 days burst 2", u64::MAX),
    ] {
        let builder = RedisLimiter::builder(text.parse().unwrap()).nodes(nodes).deadline(PATIENT);
        let limiter = builder.clone().prefix("a").connect(&server.url()).await.unwrap();
        assert_eq!(limiter.check("a").await.unwrap().source(), Source::Redis, "{text}");
        let here = builder.max_pending(0).connect(&server.url()).await.unwrap();
        assert_eq!(here.check("a").await.unwrap().source(), Source::Fallback, "{text}");
    }
}
