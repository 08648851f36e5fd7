//! Errors that a server, or a proxy in front of it, answers with: which are mistakes of the set-up,
//! and which are outages.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use crate::support::fakes::{Mood, moody};
use crate::support::server::Server;
use sluicegate::{Fallback, Grant, Quota, RedisBuilder, RedisError, RedisLimiter, Source};
use std::time::{Duration, Instant};

/// On a machine that has much else to do a test's calls may take long.
const PATIENT: Duration = Duration::from_secs(20);

/// So slow that no test takes long enough for a token to flow.
const SLOW: Quota = Quota::per_day(1);

fn builder() -> RedisBuilder {
    RedisLimiter::builder(SLOW.burst(100)).deadline(PATIENT).connect_timeout(PATIENT)
}

fn source(answer: Result<Grant, RedisError>) -> Source {
    match answer {
        Ok(grant) => grant.source(),
        Err(RedisError::Denied(denied)) => denied.source(),
        Err(error) => panic!("{error:?}"),
    }
}

/// Checks until Redis answers again.
async fn recovers(limiter: &RedisLimiter) {
    let began = Instant::now();
    while limiter.is_away() || source(limiter.check("later").await) != Source::Redis {
        assert!(began.elapsed() < PATIENT);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// None is in vain, whoever reads the URL.
#[tokio::test]
async fn an_option_that_a_builders_url_has_not_is_named() {
    let (server, known) = (Server::start(&[]), "an option ");
    let here = format!("127.0.0.1:{}", server.port());
    for (url, says) in [
        (format!("redis://{here}?mode=lease"), "\"mode\""),
        (format!("redis://:secret-word@{here}/0?nodes=3"), "\"nodes\""),
        (format!("redis://{here}/?protocol=resp2"), "\"protocol\""),
        (format!("redis://{here}?prefix=a#insecure"), "\"prefix\""),
        (format!("redis://{here}?db=1"), "\"db\""),
        (format!("rediss://{here}?deadline=5ms"), "\"deadline\""),
        (format!("redis-cluster://{here},{here}?max_debt=5"), "\"max_debt\""),
        (format!("redis-sentinel://{here}/service?mode=exact"), "\"mode\""),
        ("unix:///run/redis.sock?db=1&capacity=5".into(), "\"capacity\""),
        (format!("redis://:a?secret-word@{here}"), "is written %3F"),
        (format!("redis://{here}#mode=lease"), "a `#`"),
        (format!("redis://{here}#insecure"), "over TLS"),
    ] {
        let exact = builder().connect(&url).await.map(|_| ()).unwrap_err();
        let leased = builder().leased().connect(&url).await.map(|_| ()).unwrap_err();
        for error in [exact, leased] {
            let text = error.to_string();
            assert!(error.is_configuration() && text.contains(says), "{url}: {text}");
            assert!(!says.starts_with('"') || text.contains(known), "{url}: {text}");
            assert!(!text.contains("secret-word"), "{text}");
        }
    }
    // A socket's are the client's, and a mark alone is no option.
    let error = builder().connect("unix:///nobody/there?db=1&user=a&pass=b").await.unwrap_err();
    assert!(matches!(error, RedisError::Connection(_)), "{error}");
    builder().connect(&format!("redis://{here}?")).await.unwrap();
}

/// As services, proxies and servers word them that were reported. None says that it is for good.
const UNKNOWN: [&str; 9] = [
    "-ERR upstream failure",
    "-upstream failure",
    "-ERR internal error",
    "-ERR max daily request limit exceeded. Limit: 10000, Usage: 10000.",
    "-ERR max requests limit exceeded",
    "-UNAVAILABLE the service is not available",
    "-ERR no upstream host",
    "-ERR DB capacity quota exceeded",
    "-SOMETHING new",
];

/// They were taken for mistakes of the set-up, which nobody mends, and the breaker counted them as
/// answers.
#[tokio::test]
async fn an_unknown_error_is_an_outage_that_the_fallback_decides() {
    for said in UNKNOWN {
        let mood = Mood::default();
        let url = format!("redis://127.0.0.1:{}", moody(&mood));
        let limiter = builder().connect(&url).await.unwrap();
        let told = builder().fallback(Fallback::Error).connect(&url).await.unwrap();
        assert_eq!(source(limiter.check("a").await), Source::Redis);
        *mood.lock().unwrap() = vec![("EVALSHA", said.to_owned()), ("EVAL", said.to_owned())];
        let error = told.check("a").await.unwrap_err();
        assert!(error.is_degraded() && !error.is_configuration(), "{error:?}");
        assert!(error.may_be_applied(), "nobody knows: {error:?}");
        assert!(error.to_string().contains(&said[1..]), "{error}");
        for _ in 0..5 {
            assert_eq!(source(limiter.check("a").await), Source::Fallback, "{said}");
        }
        let metrics = limiter.metrics();
        assert!(metrics.away && metrics.opened == 1 && metrics.failures == 5, "{metrics:?}");
        assert_eq!(limiter.available("a").await.unwrap(), 94);
        mood.lock().unwrap().clear();
        recovers(&limiter).await;
    }
}

#[tokio::test]
async fn what_is_known_to_be_a_mistake_is_told_whatever_the_fallback() {
    for said in [
        "-WRONGTYPE Operation against a key holding the wrong kind of value",
        "-ERR proxy: WRONGTYPE Operation against a key holding the wrong kind of value",
        "-NOPERM this user has no permissions to run the 'evalsha' command",
        "-ERR unknown command 'EVALSHA', with args beginning with: 'x'",
        "-ERR unsupported command 'EVALSHA'",
        "-ERR Error compiling script (new function): user_script:1: '=' expected near 'x'",
        "-ERR syntax error script: f_1, on @user_script:20.",
        "-ERR wrong number of arguments for 'evalsha' command",
        "-CROSSSLOT Keys in request don't hash to the same slot",
        "-MOVED 1 127.0.0.1:1",
    ] {
        let mood = Mood::default();
        let url = format!("redis://127.0.0.1:{}", moody(&mood));
        let limiter = builder().connect(&url).await.unwrap();
        *mood.lock().unwrap() = vec![("EVALSHA", said.to_owned()), ("EVAL", said.to_owned())];
        for _ in 0..20 {
            let error = limiter.check("a").await.unwrap_err();
            assert!(error.is_configuration() && !error.may_be_applied(), "{error:?}");
        }
        assert!(!limiter.is_away(), "{said}");
    }
}

#[tokio::test]
async fn an_unknown_error_at_connect_may_pass() {
    for said in UNKNOWN {
        let mood = Mood::default();
        *mood.lock().unwrap() = vec![("HELLO", said.to_owned())];
        let url = format!("redis://:hunter2@127.0.0.1:{}", moody(&mood));
        let error = builder().connect(&url).await.unwrap_err();
        assert!(error.is_degraded() && !error.is_configuration(), "{error:?}");
        assert!(error.to_string().contains(&said[1..]), "{error}");
        mood.lock().unwrap().clear();
        builder().connect(&url).await.unwrap().check("a").await.unwrap();
    }
}

/// The password is changed while the limiter runs: whether its connection lives on or is cut.
#[tokio::test]
async fn a_login_that_is_refused_in_mid_service_is_an_outage_and_passes() {
    for fate in ["cut", "kept"] {
        let server = Server::start(&["--requirepass", "right"]);
        let mut client = login(&server, "right");
        let url = format!("redis://:right@127.0.0.1:{}", server.port());
        let limiter = builder().connect(&url).await.unwrap();
        let told = builder().fallback(Fallback::Error).failures(u32::MAX).connect(&url).await;
        let told = told.unwrap();
        for limiter in [&limiter, &told] {
            assert_eq!(source(limiter.check("a").await), Source::Redis);
        }
        let set = |client: &mut redis::Connection, password: &str| {
            let mut command = redis::cmd("CONFIG");
            command.arg("SET").arg("requirepass").arg(password).exec(client).unwrap();
        };
        set(&mut client, "other");
        if fate == "cut" {
            let mut command = redis::cmd("CLIENT");
            command.arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes");
            command.exec(&mut client).unwrap();
            let began = Instant::now();
            loop {
                let error = told.check("a").await.unwrap_err();
                assert!(error.is_degraded() && !error.is_configuration(), "{error:?}");
                assert!(!format!("{error} {error:?}").contains("right"), "{error:?}");
                if error.to_string().contains("refuses the login") {
                    break;
                }
                assert!(began.elapsed() < PATIENT, "{error:?}");
            }
            while !limiter.is_away() {
                assert_eq!(source(limiter.check("a").await), Source::Fallback);
            }
            // Probes are refused too.
            while limiter.metrics().probes < 2 {
                assert_eq!(source(limiter.check("a").await), Source::Fallback);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        set(&mut client, "right");
        recovers(&limiter).await;
        let began = Instant::now();
        while told.check("a").await.is_err() {
            assert!(began.elapsed() < PATIENT);
        }
    }
}

fn login(server: &Server, password: &str) -> redis::Connection {
    let url = format!("redis://:{password}@127.0.0.1:{}", server.port());
    redis::Client::open(url).unwrap().get_connection().unwrap()
}
