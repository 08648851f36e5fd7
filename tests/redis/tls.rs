//! A limiter in Redis over TLS: that it works, whom it trusts, and what a newcomer's mistakes are
//! told.

use crate::support::fakes;
use crate::support::server;
use crate::support::stalls::Watch;
use crate::support::tls::{Authority, TlsServer};
use sluicegate::{Fallback, Quota, RedisBuilder, RedisError, RedisLimiter};
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// On a machine that has much else to do a test's calls may take long.
const PATIENT: Duration = Duration::from_secs(20);
/// Of what nobody answers.
const SOON: Duration = Duration::from_millis(300);
/// What it may take longer, on such a machine.
const LATE: Duration = Duration::from_millis(700);

/// So slow that no test takes long enough for a token to flow.
const QUOTA: Quota = Quota::per_day(1).burst(100);

/// Of a server that asks for nobody's certificate.
const ANYBODY: [&str; 2] = ["--tls-auth-clients", "no"];

fn builder() -> RedisBuilder {
    let builder = RedisLimiter::builder(QUOTA).deadline(PATIENT).connect_timeout(PATIENT);
    // The connection alone: no breaker, nobody who decides in its place.
    builder.failures(u32::MAX).fallback(Fallback::Error)
}

fn trusting(authority: &Authority) -> RedisBuilder {
    builder().root_certificates(authority.pem())
}

/// What connecting fails with, which never says what the URL does, as a person reads it.
async fn refused(builder: RedisBuilder, url: &str) -> (RedisError, String) {
    let shown = format!("{builder:?}");
    let error = builder.connect(url).await.unwrap_err();
    let text = error.to_string();
    assert!(!format!("{shown} {text} {error:?}").contains("hunter2"), "{error:?}");
    // One sentence.
    assert!(!text.contains('\n') && text.len() < 300, "{text}");
    (error, text)
}

#[tokio::test]
async fn a_trusted_server_is_asked_over_tls_and_found_again() {
    let authority = Authority::new();
    let options = ["--tls-auth-clients", "no", "--requirepass", "hunter2"];
    let mut there = TlsServer::start(&authority, &["localhost", "127.0.0.1"], &options);
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("rediss://:hunter2@{host}:{}/1", there.port);
        let limiter = trusting(&authority).connect(&url).await.unwrap();
        assert_eq!(limiter.check("a").await.unwrap().remaining(), 99);
        assert!(!format!("{limiter:?}").contains("hunter2"), "{limiter:?}");
        there.server.kill();
        let error = limiter.check("a").await.unwrap_err();
        assert!(error.is_degraded() && !format!("{error:?}").contains("hunter2"), "{error:?}");
        there.server.restart();
        let began = Instant::now();
        while let Err(error) = limiter.check("a").await {
            assert!(error.is_degraded() && began.elapsed() < PATIENT, "{error:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        limiter.reset("a").await.unwrap();
    }
}

#[cfg(feature = "redis-cluster")]
#[tokio::test]
async fn the_nodes_of_a_cluster_are_asked_over_tls() {
    let authority = Authority::new();
    let bus = server::free_port().to_string();
    let options = [
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        &bus,
        "--tls-cluster",
        "yes",
        "--tls-auth-clients",
        "no",
    ];
    let there = TlsServer::start(&authority, &["127.0.0.1"], &options);
    let mut client = there.server.client();
    redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(0).arg(16_383).exec(&mut client).unwrap();
    let url = format!("rediss-cluster://127.0.0.1:{}", there.port);
    let limiter = trusting(&authority).connect(&url).await.unwrap();
    let began = Instant::now();
    while let Err(error) = limiter.check("a").await {
        // It takes a moment to know that it has them.
        assert!(error.to_string().contains("CLUSTERDOWN") && began.elapsed() < PATIENT, "{error}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (_, text) = refused(builder(), &url).await;
    assert!(text.contains("`root_certificates`"), "{text}");
}

#[tokio::test]
async fn who_asks_may_have_to_show_a_certificate() {
    let authority = Authority::new();
    let there = TlsServer::start(&authority, &["127.0.0.1"], &[]);
    let (error, text) = refused(trusting(&authority), &there.url()).await;
    assert!(error.is_configuration() && text.contains("`client_certificate`"), "{text}");

    let (certificate, key) = authority.sign(&[], 4_000);
    let known = trusting(&authority).client_certificate(certificate.clone(), key.clone());
    let shown = format!("{known:?}");
    assert!(!key.lines().any(|line| shown.contains(line)), "{shown}");
    known.connect(&there.url()).await.unwrap().check("a").await.unwrap();

    let stranger = Authority::new().sign(&[], 4_000);
    let unknown = trusting(&authority).client_certificate(stranger.0, stranger.1);
    let (error, text) = refused(unknown, &there.url()).await;
    assert!(error.is_configuration() && text.contains("`client_certificate`"), "{text}");
    // Of another certificate; no key at all.
    for key in [stranger_key(), "hunter2".to_owned()] {
        let odd = trusting(&authority).client_certificate(certificate.clone(), key.clone());
        let (error, text) = refused(odd, &there.url()).await;
        assert!(error.is_configuration(), "{error:?}");
        assert!(!key.lines().any(|line| text.contains(line)), "{text}");
    }
}

fn stranger_key() -> String {
    Authority::new().sign(&[], 4_000).1
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_told_and_why() {
    let authority = Authority::new();
    let here = ["127.0.0.1"];
    let there = TlsServer::start(&authority, &here, &ANYBODY);
    let url = format!("rediss://:hunter2@127.0.0.1:{}", there.port);
    for stranger in [builder(), trusting(&Authority::new())] {
        let (error, text) = refused(stranger, &url).await;
        assert!(error.is_configuration() && text.contains("`root_certificates`"), "{text}");
    }
    let insecure = builder().connect(&format!("{}/#insecure", there.url())).await.unwrap();
    assert_eq!(insecure.check("a").await.unwrap().remaining(), 99);

    let other = TlsServer::start(&authority, &["other.example"], &ANYBODY);
    let (error, text) = refused(trusting(&authority), &other.url()).await;
    assert!(error.is_configuration() && text.contains("not valid for name"), "{text}");
    let old = TlsServer::start_with(&authority, authority.sign(&here, 2_001), &ANYBODY);
    let (error, text) = refused(trusting(&authority), &old.url()).await;
    assert!(error.is_configuration() && text.contains("expired"), "{text}");
}

#[tokio::test]
async fn a_newcomers_mistakes_are_each_told_in_a_sentence() {
    let authority = Authority::new();
    let options = ["--tls-auth-clients", "no", "--requirepass", "right"];
    let there = TlsServer::start(&authority, &["127.0.0.1"], &options);
    let (over_tls, clear) = (there.port, there.server.port());
    let soon = || trusting(&authority).connect_timeout(PATIENT);

    for login in [":hunter2@", "nobody:hunter2@", ""] {
        let (error, text) = refused(soon(), &format!("rediss://{login}127.0.0.1:{over_tls}")).await;
        assert!(error.is_configuration() && text.contains("refuses the login"), "{text}");
    }
    // The clear to a port of TLS.
    let (_, text) = refused(builder(), &format!("redis://:hunter2@127.0.0.1:{over_tls}")).await;
    assert!(text.contains("TLS (rediss://)"), "{text}");
    // TLS to a port in the clear, which answers if the handshake has the end of a line in it.
    for _ in 0..10 {
        let (_, text) = refused(
            trusting(&authority).connect_timeout(SOON),
            &format!("rediss://:hunter2@127.0.0.1:{clear}"),
        )
        .await;
        assert!(text.contains("(redis://)"), "{text}");
    }
    let nobody = server::free_port();
    let (error, text) = refused(soon(), &format!("rediss://:hunter2@127.0.0.1:{nobody}")).await;
    assert!(error.is_degraded() && text.contains("cannot connect to 127.0.0.1"), "{text}");
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"-ERR what?\r\n"] {
        let url = format!("rediss://:hunter2@127.0.0.1:{}", fakes::another(answer));
        let (error, text) = refused(soon(), &url).await;
        assert!(error.is_configuration() && text.contains("does not speak TLS"), "{text}");
    }
    let url = format!("rediss://:hunter2@127.0.0.1:{}", fakes::another(b""));
    let (_, text) = refused(soon(), &url).await;
    assert!(text.contains("another service") && text.contains("(redis://)"), "{text}");

    let certificates = "certificates are for TLS";
    let (error, text) = refused(soon(), &format!("redis://:hunter2@127.0.0.1:{clear}")).await;
    assert!(error.is_configuration() && text.contains(certificates), "{text}");
    for none in ["", "hunter2", "-----BEGIN CERTIFICATE-----\nhunter2"] {
        let (error, text) = refused(builder().root_certificates(none), &there.url()).await;
        assert!(error.is_configuration() && text.contains("in PEM"), "{text}");
    }
    let (error, text) = refused(soon(), "rediss://:hunter2@localhost/#secure").await;
    assert!(error.is_configuration() && text.contains("the URL cannot be read"), "{text}");
}

/// As behind a firewall: the connection is made, and then there is silence.
#[tokio::test]
async fn a_host_that_never_answers_is_given_up_in_time() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    for scheme in ["redis", "rediss"] {
        let watch = Watch::start();
        let url = format!("{scheme}://:hunter2@127.0.0.1:{port}");
        let (error, text) = refused(builder().connect_timeout(SOON), &url).await;
        assert!(watch.is_within(SOON + LATE), "{scheme}");
        assert!(matches!(error, RedisError::Connection(_)), "{error:?}");
        assert!(text.contains("within 300ms") && text.contains("nobody answers"), "{text}");
    }
}
