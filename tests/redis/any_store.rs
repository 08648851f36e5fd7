//! One set of verbs on every store, chosen by a URL.

use crate::support::server::{self, Server};
use sluicegate::{
    Algorithm, AnyError, AnyLimiter, Grant, KeyedLimiter, Quota, RedisError, RedisLimiter, Source,
};
use std::time::{Duration, Instant};

/// So slow that no test takes long enough for a token to flow.
const SLOW: Quota = Quota::per_day(1);

fn denied(answer: Result<Grant, AnyError>) -> sluicegate::Denied {
    *answer.unwrap_err().denied().unwrap()
}

async fn has_the_verbs(limiter: &AnyLimiter, source: Source) {
    let grant = limiter.check("a").await.unwrap();
    assert_eq!((grant.granted(), grant.remaining(), grant.source()), (1, 9, source));
    assert_eq!(limiter.check_n("a", 4).await.unwrap().remaining(), 5);
    let no = denied(limiter.check_n("a", 6).await);
    assert_eq!((no.asked(), no.is_never(), no.source()), (6, false, source));
    assert!(denied(limiter.check_n("a", 11).await).is_never());
    assert!(limiter.peek("a", 5).await.is_ok());
    assert_eq!(limiter.check_up_to("a", 100).await.unwrap().granted(), 5);
    assert_eq!(limiter.charge("a", 2).await.unwrap().as_secs().div_ceil(86_400), 2);
    assert_eq!(
        (limiter.available("a").await.unwrap(), limiter.level("a").await.unwrap()),
        (-2, 12)
    );
    limiter.refund("a", 3).await.unwrap();
    assert_eq!(limiter.available("a").await.unwrap(), 1);
    limiter.reset("a").await.unwrap();
    assert_eq!(limiter.available("a").await.unwrap(), 10);
    assert_eq!(limiter.available("b").await.unwrap(), 10);
    assert_eq!(limiter.acquire("c", 10).await.unwrap().remaining(), 0);
    let no = denied(limiter.acquire("c", 1).timeout(Duration::from_secs(60)).await);
    assert!(no.retry_after().unwrap() > Duration::from_secs(86_400 - 120));
    assert!(denied(limiter.acquire("c", 11).await).is_never());
    let place = limiter.reserve("d", 10).await.unwrap();
    assert_eq!(
        (place.tokens(), place.grant().remaining(), place.ready_in()),
        (10, 0, Duration::ZERO)
    );
    let place = limiter.reserve("d", 3).await.unwrap();
    assert_eq!(place.ready_in().as_secs().div_ceil(86_400), 3);
    let soon = Duration::from_secs(60);
    assert!(
        !denied(limiter.reserve_within("d", 1, soon).await.map(|place| place.grant())).is_never()
    );
    assert_eq!(place.cancel().await.unwrap(), 3);
    let place = limiter.reserve_within("e", 6, soon).await.unwrap();
    assert_eq!(place.settle(2).await.unwrap(), Duration::ZERO);
    assert_eq!(
        (limiter.available("d").await.unwrap(), limiter.available("e").await.unwrap()),
        (0, 8)
    );
    assert_eq!(limiter.quota(), SLOW.burst(10));
}

/// Whoever waits waits as long as it takes.
#[tokio::test]
async fn every_store_can_be_waited_for() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = format!("shm://{}/limits", folder.path().display());
    let (redis, leased) = (server.url(), format!("{}?mode=lease", server.url()));
    let quota = Quota::per_second(20).burst(4);
    for url in [
        "memory://",
        &file,
        &format!("{redis}?deadline=20s"),
        &format!("{leased}&deadline=20s&prefix=l"),
    ] {
        let limiter = AnyLimiter::open(url, quota).await.unwrap();
        let began = Instant::now();
        for _ in 0..8 {
            assert_eq!(limiter.acquire("a", 1).await.unwrap().granted(), 1);
        }
        // Four were there, and four flow in 200 ms; a little of that before this clock began.
        assert!(began.elapsed() > Duration::from_millis(190), "{url}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn every_store_has_the_same_verbs() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all the limits");
    let file = file.to_str().unwrap().replace(' ', "%20");
    for (url, source, algorithm) in [
        ("memory://".to_string(), Source::Memory, Algorithm::TokenBucket),
        (format!("shm://{file}?capacity=100"), Source::Memory, Algorithm::TokenBucket),
        (format!("{}?deadline=20s", server.url()), Source::Redis, Algorithm::TokenBucket),
        (
            format!(
                "{}/3?prefix=x&deadline=20s&algorithm=leaky-bucket&nodes=2\
                 &fallback=closed&mode=exact",
                server.url()
            ),
            Source::Redis,
            Algorithm::LeakyBucket,
        ),
    ] {
        let limiter = AnyLimiter::open(&url, SLOW.burst(10)).await.unwrap();
        assert_eq!(limiter.algorithm(), algorithm, "{url}");
        has_the_verbs(&limiter, source).await;
    }
    assert!(folder.path().join("all the limits").exists(), "a path is decoded");
}

/// Debts are bounded by the URL, wherever they are.
#[tokio::test]
async fn every_store_bounds_debts() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = format!("shm://{}/limits?max_debt=5", folder.path().display());
    let redis = format!("{}?deadline=20s&max_debt=5", server.url());
    let leased = format!("{redis}&mode=lease&prefix=l");
    for url in ["memory://?max_debt=5", &file, &redis, &leased] {
        let limiter = AnyLimiter::open(url, SLOW.burst(10)).await.unwrap();
        for _ in 0..3 {
            limiter.charge("a", 1_000).await.unwrap();
            assert_eq!(limiter.available("a").await.unwrap(), -5, "{url}");
        }
    }
}

/// One type for limiters that were built with more choices than a URL has.
#[tokio::test]
async fn limiters_that_are_built_become_any_limiter() {
    let server = Server::start(&[]);
    let patient = Duration::from_secs(20);
    let redis = RedisLimiter::builder(SLOW.burst(10)).deadline(patient);
    let redis = AnyLimiter::from(redis.connect(&server.url()).await.unwrap());
    has_the_verbs(&redis, Source::Redis).await;
    let leased = RedisLimiter::builder(SLOW.burst(40)).deadline(patient).prefix("leased").leased();
    let leased = AnyLimiter::from(leased.connect(&server.url()).await.unwrap());
    assert_eq!(leased.check("a").await.unwrap().source(), Source::Lease);
    let memory = KeyedLimiter::<[u8]>::builder(SLOW.burst(10), 100).build().unwrap();
    has_the_verbs(&memory.into(), Source::Memory).await;
}

/// Of a lease, what is here is taken here, and the rest asked of Redis, which knows what is leased
/// as taken.
#[tokio::test]
async fn a_leased_store_answers_from_its_lease_and_gives_it_back() {
    let server = Server::start(&[]);
    let url = format!("{}?mode=lease&nodes=2&deadline=20s&capacity=1000", server.url());
    let limiter = AnyLimiter::open(&url, SLOW.burst(400)).await.unwrap();
    let grant = limiter.check("a").await.unwrap();
    assert_eq!((grant.granted(), grant.source()), (1, Source::Lease));
    let grant = limiter.check_n("a", 150).await.unwrap();
    assert_eq!((grant.granted(), grant.source()), (150, Source::Redis), "more than a lease");
    assert!(denied(limiter.check_n("a", 401).await).is_never());
    assert_eq!(limiter.check_up_to("a", 49).await.unwrap().granted(), 49);
    limiter.shutdown().await;
    assert_eq!(limiter.available("a").await.unwrap(), 200);
    let few = AnyLimiter::open(&url, SLOW.burst(7)).await.unwrap_err();
    assert!(few.to_string().contains("burst must be at least 4 times the number of nodes"));
}

/// What one takes is missing for all who have the same store.
#[tokio::test]
async fn a_store_is_shared_by_all_who_open_it() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = format!("shm://{}/limits", folder.path().display());
    let redis = format!("{}?deadline=20s", server.url());
    for (url, shared) in [("memory://", false), (&file, true), (&redis, true)] {
        let one = AnyLimiter::open(url, SLOW.burst(5)).await.unwrap();
        let other = AnyLimiter::open(url, SLOW.burst(5)).await.unwrap();
        for _ in 0..5 {
            one.check("a").await.unwrap();
        }
        assert_eq!(other.check("a").await.is_err(), shared, "{url}");
        assert!(one.clone().check("a").await.is_err());
    }
}

/// A process that checks by bytes, or through a URL, shares its users with one that checks by text.
#[tokio::test]
async fn a_shared_file_counts_a_user_once_whoever_opens_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("limits");
    let url = format!("shm://{}?capacity=100", path.display());
    let any = AnyLimiter::open(&url, SLOW.burst(5)).await.unwrap();
    let text = KeyedLimiter::<str>::open_shared(&path, SLOW.burst(5), 100).unwrap();
    assert!(text.check_n("alice", 3).is_ok());
    assert_eq!(any.check_n("alice", 2).await.unwrap().remaining(), 0);
    let other = KeyedLimiter::<u64>::open_shared(&path, SLOW.burst(5), 100).map(|_| ());
    let says = other.unwrap_err().to_string();
    assert_eq!(says, "the table's keys are text or bytes, the limiter's are u64");
    let numbers = folder.path().join("numbers");
    drop(KeyedLimiter::<u64>::open_shared(&numbers, SLOW.burst(5), 100).unwrap());
    let url = format!("shm://{}?capacity=100", numbers.display());
    let says = AnyLimiter::open(&url, SLOW.burst(5)).await.unwrap_err().to_string();
    assert_eq!(says, "the table's keys are u64, the limiter's are text or bytes");
}

#[tokio::test]
async fn what_is_wrong_with_a_url_is_said_in_a_sentence_without_the_url() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("other"), "something else entirely").unwrap();
    let other = format!("shm://{}/other", folder.path().display());
    for (url, says) in [
        ("", "no scheme"),
        ("localhost:6379", "no scheme"),
        ("http://secret-word@localhost", "scheme \"http\" is none of"),
        ("memory://there", "no place"),
        ("memory://?capacity=many", "capacity must be a number of keys, not \"many\""),
        ("memory://?capacity=0", "capacity must be from 1"),
        ("memory://?nodes=3", "an option \"nodes\"; memory:// has algorithm, capacity, max_debt"),
        ("memory://?max_debt=-1", "max_debt must be a number of tokens, not \"-1\""),
        ("memory://?algorithm=best", "algorithm must be a name"),
        ("shm://relative/path", "shm:///dev/shm/limits"),
        (&other, "not"),
        ("redis://:secret-word@localhost?mode=fast", "mode must be exact or lease, not \"fast\""),
        ("redis://:secret-word@localhost?deadline=5", "deadline must be a time such as 5ms"),
        (
            "redis://:secret-word@localhost?fallback=none",
            "fallback must be local, open, closed or error",
        ),
        ("redis://:secret-word@localhost?nodes=-1", "nodes must be a number"),
        ("redis://:secret-word@localhost?pool=5", "an option \"pool\""),
        ("redis://:secret-word@local host:port", "URL cannot be read"),
        // A password that ends the address before its time.
        ("redis://:a?secret-word@localhost", "is written %3F"),
        ("redis://:a?nodes=secret-word@localhost", "is written %3F"),
        ("redis://:a?secret-word#b@localhost", "is written %3F"),
        // What nobody would read.
        ("shm:///dev/shm/secret-word#1", "is written %23"),
        ("memory://#capacity=5", "is written %23"),
    ] {
        let error = AnyLimiter::open(url, SLOW).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(says), "{url}: {text}");
        assert!(!format!("{text} {error:?}").contains("secret-word"), "{error:?}");
        assert!(error.denied().is_none());
    }
    // Nobody there.
    let port = server::free_port();
    for scheme in ["redis-cluster", "rediss-cluster", "redis-sentinel", "rediss-sentinel"] {
        let url = format!("{scheme}://:secret-word@127.0.0.1:{port}/0");
        let error = AnyLimiter::open(&url, SLOW).await.unwrap_err();
        assert!(matches!(error, AnyError::Redis(_)), "{scheme}: {error:?}");
    }
    let url = format!("redis://:secret-word@127.0.0.1:{port}");
    let error = AnyLimiter::open(&url, SLOW).await.unwrap_err();
    assert!(matches!(error, AnyError::Redis(RedisError::Connection(_))), "{error:?}");
    assert!(error.to_string().contains("cannot connect to 127.0.0.1"), "{error}");
}

/// Redis being away, the store says who decided.
#[tokio::test]
async fn a_store_outlives_its_server() {
    let mut server = Server::start(&[]);
    let url = format!("{}?nodes=5&deadline=100ms", server.url());
    let limiter = AnyLimiter::open(&url, SLOW.burst(50)).await.unwrap();
    limiter.check("a").await.unwrap();
    server.kill();
    for n in 0..10 {
        let grant = limiter.check("b").await.unwrap();
        assert_eq!((grant.source(), grant.remaining()), (Source::Fallback, 9 - n));
    }
    let no = denied(limiter.check("b").await);
    assert_eq!(no.source(), Source::Fallback);
    assert!(no.retry_after().unwrap() > Duration::from_secs(86_400 * 4));
    assert!(!format!("{limiter:?}").contains("redis://"));
}
