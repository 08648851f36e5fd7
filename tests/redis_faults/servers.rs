//! A limiter in Redis while the server is killed, stands still, is full, read-only, busy, or not
//! what it should be.

use crate::support::fakes::{another, behind_a_proxy, cutting};
use crate::support::server::{self, Server};
use sluicegate::{Fallback, Quota, RedisError, RedisLimiter};
use std::time::{Duration, Instant};

/// On a machine that has much else to do a test's calls may take long.
const PATIENT: Duration = Duration::from_secs(20);
/// Of calls that are to miss it.
const DEADLINE: Duration = Duration::from_millis(100);
/// What a call may take longer than its deadline, on such a machine.
const LATE: Duration = Duration::from_millis(400);

/// So slow that no test takes long enough for a token to flow.
const QUOTA: Quota = Quota::per_day(1).burst(100);

async fn connect(url: &str, deadline: Duration) -> RedisLimiter {
    let builder = RedisLimiter::builder(QUOTA).deadline(deadline).connect_timeout(PATIENT);
    // The connection alone: no breaker, nobody who decides in its place.
    builder.failures(u32::MAX).fallback(Fallback::Error).connect(url).await.unwrap()
}

/// A check that ends within the deadline and a little.
async fn in_time(limiter: &RedisLimiter, key: &str) -> Result<(), RedisError> {
    let began = Instant::now();
    let answer = limiter.check(key).await;
    assert!(began.elapsed() < DEADLINE + LATE, "{:?} for {answer:?}", began.elapsed());
    answer.map(|_| ())
}

/// Asks until the server answers again.
async fn recovers(limiter: &RedisLimiter, key: &str) -> u64 {
    let began = Instant::now();
    let mut calls = 1;
    while let Err(error) = in_time(limiter, key).await {
        assert!(error.is_degraded() && began.elapsed() < PATIENT, "{error}");
        tokio::time::sleep(Duration::from_millis(1)).await;
        calls += 1;
    }
    calls
}

#[tokio::test]
async fn a_killed_server_fails_calls_in_time_and_is_found_again() {
    let mut server = Server::start(&[]);
    let limiter = connect(&server.url(), DEADLINE).await;
    let mut admitted = 0;
    for _ in 0..3 {
        for _ in 0..10 {
            admitted += recovers(&limiter, "a").await.min(1);
        }
        server.kill();
        for _ in 0..50 {
            let error = in_time(&limiter, "a").await.unwrap_err();
            assert!(error.is_degraded() && error.may_be_applied(), "{error}");
            assert!(error.denied().is_none() && !error.is_configuration());
        }
        server.restart();
        recovers(&limiter, "a").await;
        // It has lost what it knew.
        limiter.reset("a").await.unwrap();
    }
    assert_eq!(admitted, 30);
}

/// Answers to calls that have given up come late, to nobody: never to those who ask then.
#[tokio::test]
async fn a_server_that_stood_still_answers_nobody_else() {
    let server = Server::start(&[]);
    let limiter = connect(&server.url(), DEADLINE).await;
    for n in 1..=20 {
        limiter.charge(format!("known {n}"), n).await.unwrap();
    }
    server.pause();
    let calls: Vec<_> = (0..30)
        .map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move { in_time(&limiter, "given up").await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), Err(RedisError::Timeout(DEADLINE)));
    }
    server.go_on();
    recovers(&limiter, "other").await;
    let patient = connect(&server.url(), PATIENT).await;
    for n in 1..=20 {
        let key = format!("known {n}");
        assert_eq!(limiter.available(&key).await.unwrap(), 100 - n);
        assert_eq!(patient.available(&key).await.unwrap(), 100 - n);
    }
    // Each of them ran once, or not at all.
    let left = patient.available("given up").await.unwrap();
    assert!((70..=100).contains(&left), "{left}");
}

#[tokio::test]
async fn a_full_server_cannot_answer_and_takes_nothing() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]);
    let mut client = server.client();
    let limiter = connect(&server.url(), PATIENT).await;
    limiter.check("a").await.unwrap();
    let memory = |most: &str, client: &mut redis::Connection| {
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(most).exec(client).unwrap();
    };
    memory("1", &mut client);
    let error = limiter.check("a").await.unwrap_err();
    assert!(matches!(&error, RedisError::Unavailable(text) if text.contains("OOM")), "{error:?}");
    assert!(error.is_degraded() && !error.may_be_applied());
    // What writes nothing is answered.
    assert_eq!(limiter.available("a").await.unwrap(), 99);
    memory("0", &mut client);
    assert_eq!(limiter.check("a").await.unwrap().remaining(), 98);
}

#[tokio::test]
async fn a_replica_cannot_answer_until_it_is_promoted() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let limiter = connect(&server.url(), PATIENT).await;
    limiter.check("a").await.unwrap();
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(server::free_port()).exec(&mut client).unwrap();
    let error = limiter.check("a").await.unwrap_err();
    assert!(
        matches!(&error, RedisError::Unavailable(text) if text.contains("READONLY")),
        "{error:?}"
    );
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec(&mut client).unwrap();
    assert_eq!(limiter.check("a").await.unwrap().remaining(), 98);
}

#[tokio::test]
async fn a_server_short_of_replicas_cannot_answer() {
    let server = Server::start(&["--min-replicas-to-write", "1"]);
    let limiter = connect(&server.url(), PATIENT).await;
    let error = limiter.check("a").await.unwrap_err();
    assert!(
        matches!(&error, RedisError::Unavailable(text) if text.contains("NOREPLICAS")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_busy_server_cannot_answer_until_it_is_free() {
    let server = Server::start(&["--lua-time-limit", "5"]);
    let limiter = connect(&server.url(), DEADLINE).await;
    limiter.check("a").await.unwrap();
    let mut slow = server.client();
    let slow = std::thread::spawn(move || {
        redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut slow).unwrap_err()
    });
    let mut said = String::new();
    while !said.contains("BUSY") {
        if let Err(error) = in_time(&limiter, "a").await {
            assert!(error.is_degraded(), "{error}");
            said = error.to_string();
        }
    }
    // A connection of its own would wait: the server tells who is connected that it is busy.
    redis::cmd("SCRIPT").arg("KILL").exec(&mut server.client()).unwrap();
    slow.join().unwrap();
    recovers(&limiter, "a").await;
}

#[tokio::test]
async fn what_is_no_limiters_is_a_fault_of_the_configuration_and_stays() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let limiter = connect(&server.url(), PATIENT).await;
    redis::cmd("RPUSH").arg(limiter.key("list")).arg("x").exec(&mut client).unwrap();
    redis::cmd("SET").arg(limiter.key("text")).arg("-5").exec(&mut client).unwrap();
    for key in ["list", "text"] {
        for error in [
            limiter.check(key).await.unwrap_err(),
            limiter.charge(key, 1).await.unwrap_err(),
            limiter.refund(key, 1).await.unwrap_err(),
            limiter.available(key).await.unwrap_err(),
            limiter.check_up_to(key, 3).await.unwrap_err(),
        ] {
            assert!(error.is_configuration() && error.to_string().contains("WRONGTYPE"), "{error}");
        }
    }
    let text: String = redis::cmd("GET").arg(limiter.key("text")).query(&mut client).unwrap();
    assert_eq!(text, "-5");
    assert_eq!(limiter.check("other").await.unwrap().remaining(), 99);
}

#[tokio::test]
async fn a_user_without_rights_is_a_fault_of_the_configuration() {
    let server = Server::start(&[]);
    let user = ["SETUSER", "weak", "on", ">secret", "~other:*", "+@all"];
    redis::cmd("ACL").arg(&user).exec(&mut server.client()).unwrap();
    let url = format!("redis://weak:secret@127.0.0.1:{}", server.port());
    let limiter = connect(&url, PATIENT).await;
    let error = limiter.check("a").await.unwrap_err();
    assert!(error.is_configuration() && error.to_string().contains("NOPERM"), "{error}");
    assert!(!format!("{limiter:?}").contains("secret"), "{limiter:?}");

    // The rights that it needs, and no others.
    let rights = ["+evalsha", "+eval", "+del", "+time", "+get", "+set"];
    let user = ["SETUSER", "able", "on", ">secret", "~sluicegate:*"];
    redis::cmd("ACL").arg(&user).arg(&rights).exec(&mut server.client()).unwrap();
    let url = format!("redis://able:secret@127.0.0.1:{}", server.port());
    let limiter = connect(&url, PATIENT).await;
    limiter.check("a").await.unwrap();
    limiter.refund("a", 1).await.unwrap();
    limiter.reset("a").await.unwrap();
}

/// A server that has no room for another connection says so once and hangs up. That is not the end
/// of the limiter.
#[tokio::test]
async fn a_server_without_room_for_a_connection_is_found_again() {
    let mut server = Server::start(&["--maxclients", "3"]);
    let limiter = connect(&server.url(), DEADLINE).await;
    limiter.check("a").await.unwrap();
    server.kill();
    in_time(&limiter, "a").await.unwrap_err();
    server.restart();
    let others: Vec<_> = (0..3).map(|_| server.client()).collect();
    for _ in 0..20 {
        let error = in_time(&limiter, "a").await.unwrap_err();
        assert!(error.is_degraded(), "{error}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(others);
    recovers(&limiter, "a").await;
}

/// A changed password stops a limiter that reconnects, until it is what it was.
#[tokio::test]
async fn a_login_that_is_refused_later_is_told_and_tried_again() {
    let mut server = Server::start(&["--requirepass", "right"]);
    let limiter = connect(&format!("redis://:right@127.0.0.1:{}", server.port()), DEADLINE).await;
    server.kill();
    server.set_option("--requirepass", "other");
    server.restart();
    let mut error = in_time(&limiter, "a").await.unwrap_err();
    while !error.to_string().contains("refuses the login") {
        error = in_time(&limiter, "a").await.unwrap_err();
    }
    assert!(error.is_degraded() && !format!("{error:?}").contains("right"), "{error}");
    server.kill();
    server.set_option("--requirepass", "right");
    server.restart();
    let began = Instant::now();
    while in_time(&limiter, "a").await.is_err() {
        assert!(began.elapsed() < PATIENT);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Whether an answer is lost as a whole or breaks off: it is charged once, and nothing is sent
/// again.
#[tokio::test]
async fn what_may_have_been_applied_is_not_sent_again() {
    for bytes in [0, 3] {
        let server = Server::start(&[]);
        let direct = connect(&server.url(), PATIENT).await;
        // So that the server has the scripts.
        direct.check("warm").await.unwrap();
        let proxy = cutting(server.port(), &[5, 9, 10, 11, 17], bytes);
        let limiter = connect(&format!("redis://127.0.0.1:{proxy}"), PATIENT).await;
        let (mut granted, mut lost) = (0, 0);
        while granted < 20 {
            match limiter.check("a").await {
                Ok(_) => granted += 1,
                Err(error) => {
                    assert!(error.is_degraded() && error.may_be_applied(), "{error:?}");
                    lost += 1;
                    assert!(lost < 50, "{error:?}");
                }
            }
        }
        assert!((3..=10).contains(&lost), "{lost}");
        let left = direct.available("a").await.unwrap();
        assert!((100 - granted - lost..=100 - granted).contains(&left), "{left}, {lost} lost");
        // Cut in the midst of an answer, the server has certainly done it.
        assert!(left < 100 - granted, "{left}");
    }
}

/// What connecting fails with, which never says what the URL does.
async fn refused(url: &str) -> RedisError {
    let builder = RedisLimiter::builder(QUOTA).connect_timeout(Duration::from_secs(2));
    let error = builder.connect(url).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    error
}

#[tokio::test]
async fn connecting_says_in_a_sentence_what_is_wrong() {
    let server = Server::start(&["--requirepass", "right"]);
    let port = server.port();
    for url in [format!("redis://:hunter2@127.0.0.1:{port}"), format!("redis://127.0.0.1:{port}")] {
        let error = refused(&url).await;
        assert!(error.is_configuration(), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("refuses the login") && text.contains(&port.to_string()), "{text}");
    }
    let right = format!("redis://:right@127.0.0.1:{port}");
    connect(&right, PATIENT).await.check("a").await.unwrap();

    let nobody = refused(&format!("redis://:hunter2@127.0.0.1:{}", server::free_port())).await;
    assert!(matches!(&nobody, RedisError::Connection(text) if text.contains("cannot connect to")));
    for url in ["", "hunter2", "http://hunter2@localhost", "redis://:hunter2@localhost/x"] {
        let error = refused(url).await;
        assert!(error.is_configuration() && error.to_string().contains("the URL"), "{error}");
    }
    #[cfg(not(feature = "redis-tls"))]
    {
        let tls = refused("rediss://:hunter2@localhost").await;
        assert!(tls.is_configuration() && tls.to_string().contains("`redis-tls`"), "{tls}");
    }
    let braces = RedisLimiter::builder(QUOTA).prefix("a{b").connect(&right).await.unwrap_err();
    assert!(braces.is_configuration() && braces.to_string().contains("braces"), "{braces}");
    let centuries = RedisLimiter::builder(Quota::per_day(1).burst(1 << 48)).connect(&right).await;
    assert!(matches!(centuries, Err(RedisError::Quota(error)) if error.field() == "burst"));
}

#[tokio::test]
async fn another_service_is_told_apart() {
    // A TLS alert; a web server; one that hangs up.
    let others: [&[u8]; 3] =
        [b"\x15\x03\x01\x00\x02\x02\x46", b"HTTP/1.1 400 Bad Request\r\n\r\n", b""];
    for answer in others {
        let error = refused(&format!("redis://:hunter2@127.0.0.1:{}", another(answer))).await;
        let text = error.to_string();
        assert!(text.contains("TLS (rediss://)") && text.contains("another service"), "{text}");
    }
}

/// A server that does not know the handshake's command says what came after it: the login. Guards
/// that no text has that.
#[tokio::test]
async fn a_server_that_repeats_the_login_has_it_left_out() {
    let options = ["--rename-command", "HELLO", "", "--requirepass", "hunter2"];
    let server = Server::start(&options);
    let error = refused(&format!("redis://:hunter2@127.0.0.1:{}", server.port())).await;
    let text = error.to_string();
    assert!(error.is_configuration() && text.contains("unknown command 'HELLO'"), "{text}");
}

#[tokio::test]
async fn a_proxys_words_do_not_hide_that_a_script_is_missing() {
    let (port, told) = behind_a_proxy();
    let limiter = connect(&format!("redis://127.0.0.1:{port}"), PATIENT).await;
    assert_eq!(limiter.check("a").await.unwrap().remaining(), 99);
    let told: Vec<_> = told.try_iter().filter(|command| command.starts_with("EVAL")).collect();
    assert_eq!(told, ["EVALSHA", "EVAL"]);
}
