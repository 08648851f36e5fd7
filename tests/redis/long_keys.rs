//! Keys that are too long for a name: nobody else waits for them, and nobody chooses another's.

use crate::support::server::Server;
use sluicegate::{Algorithm, AnyLimiter, Fallback, Grant, Quota, RedisError, RedisLimiter, Source};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::task::JoinSet;

/// On a machine that has much else to do a test's calls may take long.
const PATIENT: Duration = Duration::from_secs(20);

/// So slow that no test takes long enough for a token to flow.
const SLOW: Quota = Quota::per_day(1);

const MEGABYTE: usize = 1 << 20;

fn source(answer: Result<Grant, RedisError>) -> Source {
    match answer {
        Ok(grant) => grant.source(),
        Err(error) => error.denied().expect("an answer").source(),
    }
}

/// Asks until told to end: how many calls were answered by Redis, and how many there were.
async fn ask(limiter: RedisLimiter, key: String, ends: Arc<AtomicBool>) -> (u64, u64) {
    let (mut redis, mut all) = (0, 0);
    while !ends.load(Relaxed) {
        let by = source(limiter.check(&key).await);
        redis += u64::from(by == Source::Redis);
        all += 1;
        tokio::task::yield_now().await;
    }
    (redis, all)
}

/// Callers with short keys beside others with long ones.
async fn share_of_redis(long: usize, length: usize) -> f64 {
    let server = Server::start(&[]);
    let quota = Quota::per_second(1_000_000);
    // Longer than a busy machine takes for short keys alone.
    let builder = RedisLimiter::builder(quota).deadline(Duration::from_millis(100));
    let limiter = builder.connect(&server.url()).await.unwrap();
    let ends = Arc::new(AtomicBool::new(false));
    let (mut short, mut others) = (JoinSet::new(), JoinSet::new());
    for i in 0..8 {
        short.spawn(ask(limiter.clone(), format!("{i}"), ends.clone()));
    }
    for i in 0..long {
        others.spawn(ask(limiter.clone(), format!("{i}").repeat(length), ends.clone()));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    ends.store(true, Relaxed);
    let counts = short.join_all().await;
    let asked = others.join_all().await.iter().map(|(_, all)| all).sum::<u64>();
    assert!(asked >= 10, "{asked} calls with long keys");
    let sum = |counts: &[(u64, u64)], which: fn(&(u64, u64)) -> u64| counts.iter().map(which).sum();
    let (redis, all): (u64, u64) = (sum(&counts, |c| c.0), sum(&counts, |c| c.1));
    println!("{redis} of {all} by Redis, beside {asked} of {length} bytes");
    redis as f64 / all as f64
}

/// As they are, keys of a megabyte leave the others half of the answers at best. A machine that
/// stands still takes a run's answers, whatever is sent, so there may be a few runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_with_short_keys_are_answered_beside_long_ones() {
    for (long, length) in [(4, MEGABYTE), (16, 8_192)] {
        let mut shares = Vec::new();
        while shares.last().is_none_or(|&share| share < 0.99) {
            assert!(shares.len() < 5, "{shares:?} beside {length} bytes");
            shares.push(share_of_redis(long, length).await);
        }
    }
}

fn received(server: &Server) -> u64 {
    let info: String = redis::cmd("INFO").arg("stats").query(&mut server.client()).unwrap();
    let (_, after) = info.split_once("total_net_input_bytes:").unwrap();
    after.lines().next().unwrap().trim().parse().unwrap()
}

/// All verbs of all limiters send little, and keep little.
#[tokio::test]
async fn a_long_key_weighs_as_much_as_a_short_one() {
    let server = Server::start(&[]);
    let key = "k".repeat(MEGABYTE);
    let before = received(&server);
    for algorithm in [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        for several in [false, true] {
            let builder = RedisLimiter::builder(Quota::per_day(10)).algorithm(algorithm);
            let builder = builder.deadline(PATIENT).prefix(format!("{several}"));
            let builder = if several { builder.and(Quota::per_day(20)) } else { builder };
            let limiter = builder.connect(&server.url()).await.unwrap();
            limiter.check(&key).await.unwrap();
            limiter.check_up_to(&key, 2).await.unwrap();
            limiter.peek(&key, 1).await.unwrap();
            limiter.charge(&key, 3).await.unwrap();
            limiter.refund(&key, 1).await.unwrap();
            assert_eq!(limiter.available(&key).await.unwrap(), 5);
            assert_eq!(limiter.level(&key).await.unwrap(), 5);
            assert_eq!(limiter.acquire(&key, 1).await.unwrap().remaining(), 4);
            if algorithm == Algorithm::TokenBucket && !several {
                limiter.reserve(&key, 3).await.unwrap().settle(1).await.unwrap();
                limiter.reserve(&key, 9).await.unwrap().cancel().await.unwrap();
                assert_eq!(limiter.available(&key).await.unwrap(), 3);
            }
            limiter.reset(&key).await.unwrap();
            assert_eq!(limiter.available(&key).await.unwrap(), 10);
            limiter.check(&key).await.unwrap();
        }
    }
    let sent = received(&server) - before;
    assert!(sent < 400_000, "{sent}");
    let names: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut server.client()).unwrap();
    assert!(names.iter().all(|name| name.len() < 100), "{names:?}");
}

/// Nodes agree on the name without having talked, whichever their mode.
#[tokio::test]
async fn all_limiters_of_a_limit_count_a_long_key_together() {
    let server = Server::start(&[]);
    let key = "k".repeat(257);
    let builder = RedisLimiter::builder(SLOW.burst(100)).deadline(PATIENT);
    let one = builder.clone().connect(&server.url()).await.unwrap();
    let other = builder.clone().connect(&server.url()).await.unwrap();
    assert_eq!(one.key(&key), other.key(&key));
    one.check_n(&key, 10).await.unwrap();
    assert_eq!(other.available(&key).await.unwrap(), 90);
    let url = format!("{}?deadline=20s", server.url());
    let any = AnyLimiter::open(&url, SLOW.burst(100)).await.unwrap();
    assert_eq!(any.check_n(&key, 10).await.unwrap().remaining(), 80);
    let leased = RedisLimiter::builder(SLOW.burst(100)).deadline(PATIENT).leased();
    let leased = leased.connect(&server.url()).await.unwrap();
    leased.check_n(&key, 10).await.unwrap();
    // How many tokens are leased beside those spent depends on the pace; the rest comes back.
    let left = one.available(&key).await.unwrap();
    assert!(left <= 70, "{left}");
    leased.shutdown().await;
    assert_eq!(one.available(&key).await.unwrap(), 70);
    let names: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut server.client()).unwrap();
    assert_eq!(names, [one.key(&key)]);
}

/// Nobody has another's bucket by choosing what stands for it as the text of a key: neither in
/// Redis, nor while that is away, nor by a lease.
#[tokio::test]
async fn no_text_is_another_users_long_key() {
    let server = Server::start(&[]);
    let key = "k".repeat(MEGABYTE);
    let builder = RedisLimiter::builder(SLOW.burst(10)).deadline(PATIENT);
    let limiter = builder.clone().connect(&server.url()).await.unwrap();
    let here = builder.clone().max_pending(0).connect(&server.url()).await.unwrap();
    let leased = builder.leased().connect(&server.url()).await.unwrap();
    let name = String::from_utf8(limiter.key(&key)).unwrap();
    let tag = name.split_once('{').unwrap().1.strip_suffix('}').unwrap();
    let digits = tag.strip_prefix('#').unwrap();
    let padded = |n: usize, with: char| {
        digits.chars().chain(std::iter::repeat_n(with, n - digits.len())).collect::<String>()
    };
    let chosen = [digits.into(), tag.into(), format!("}}{tag}"), name.clone()];
    let chosen = chosen.into_iter().chain([padded(256, '\0'), padded(257, '\0')]);
    limiter.check_n(&key, 10).await.unwrap();
    here.check_n(&key, 10).await.unwrap();
    for text in chosen {
        assert_ne!(limiter.key(&text), limiter.key(&key), "{text}");
        assert_eq!(limiter.available(&text).await.unwrap(), 10, "{text}");
        assert_eq!(here.available(&text).await.unwrap(), 10, "{text}");
        assert!(leased.check_n(&text, 1).await.is_ok(), "{text}");
    }
    assert!(leased.check_n(&key, 1).await.is_err());
    assert_eq!(here.available(&key).await.unwrap(), 0);
}

/// Requests on their way are bounded by what they weigh as well.
#[tokio::test]
async fn names_on_their_way_are_bounded_in_bytes() {
    let server = Server::start(&[]);
    let mut builder = RedisLimiter::builder(SLOW.burst(100)).deadline(PATIENT).max_pending(4);
    for burst in 101..=107 {
        builder = builder.and(SLOW.burst(burst));
    }
    let limiter = builder.fallback(Fallback::Error).connect(&server.url()).await.unwrap();
    // Eight names of 256 bytes and more are half of what four requests may have.
    for (length, may_be) in [(10, 4), (256, 1)] {
        server.pause();
        let mut tasks = JoinSet::new();
        for i in 0..6 {
            let (limiter, key) = (limiter.clone(), format!("{i}").repeat(length));
            tasks.spawn(async move { limiter.check(key).await });
        }
        while tasks.len() > may_be {
            let answer = tasks.join_next().await.unwrap().unwrap();
            assert_eq!(answer, Err(RedisError::Overloaded(4)), "{length}");
        }
        server.go_on();
        for answer in tasks.join_all().await {
            assert_eq!(source(answer), Source::Redis, "{length}");
        }
    }
    assert_eq!(limiter.metrics().overloaded, 2 + 5);
}
