//! A limiter in a cluster of Redis: all keys on all nodes, while slots move, nodes forget, and
//! masters die.

use crate::support::cluster::{self, Cluster, SLOTS, first_master, tell};
use crate::support::fakes::cutting;
use crate::support::server::{self, Server};
use crate::support::stalls::Watch;
use sluicegate::{Fallback, Quota, RedisError, RedisLimiter};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// On a machine that has much else to do a test's calls may take long.
const PATIENT: Duration = Duration::from_secs(60);
/// Of calls that are to miss it.
const DEADLINE: Duration = Duration::from_millis(100);
/// Of whom nobody answers; some others do, before.
const SOON: Duration = Duration::from_secs(2);
/// What a call may take longer than its deadline, on such a machine.
const LATE: Duration = Duration::from_millis(700);

/// So slow that no test takes long enough for a token to flow.
const SLOW: Quota = Quota::per_day(1);

async fn connect(url: &str, burst: u64, deadline: Duration) -> RedisLimiter {
    connect_by(url, SLOW.burst(burst), deadline).await
}

async fn connect_by(url: &str, quota: Quota, deadline: Duration) -> RedisLimiter {
    let builder = RedisLimiter::builder(quota).deadline(deadline);
    // The connection alone: no breaker, nobody who decides in its place.
    let builder = builder.failures(u32::MAX).fallback(Fallback::Error);
    builder.connect_timeout(PATIENT).connect(url).await.unwrap()
}

/// More than once by `ci/faults.sh`.
fn rounds() -> usize {
    std::env::var("SLUICEGATE_FAULT_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap())
}

#[tokio::test]
async fn every_verb_works_on_keys_of_all_nodes() {
    let cluster = Cluster::start(&[]);
    let limiter = connect(&cluster.url(), 10, PATIENT).await;
    let mut keys: Vec<_> = (0..300).map(|n| format!("user {n}").into_bytes()).collect();
    keys.extend([&b""[..], b"a}b{", b"}", b"{", b"\0\xff", b" \r\n"].map(<[u8]>::to_vec));
    // Those are there as digests, of one slot for all their limits.
    keys.extend((0..30).map(|n| format!("a long user {n} ").repeat(30).into_bytes()));
    let mut at = [0; 3];
    for key in &keys {
        assert_eq!(limiter.check(key).await.unwrap().remaining(), 9);
        assert_eq!(limiter.check_n(key, 3).await.unwrap().remaining(), 6);
        assert_eq!(limiter.check_up_to(key, 9).await.unwrap().granted(), 6);
        assert!(limiter.peek(key, 1).await.unwrap_err().denied().is_some());
        limiter.refund(key, 3).await.unwrap();
        assert_eq!(limiter.charge(key, 1).await.unwrap(), Duration::ZERO);
        assert_eq!(limiter.available(key).await.unwrap(), 2);
        at[first_master(cluster.slot(&limiter.key(key)))] += 1;
    }
    assert!(at.iter().all(|&keys| keys > 50), "{at:?}");
    let kept: Vec<_> =
        (0..3).map(|node| tell::<usize>(&mut cluster.client(node), "DBSIZE")).collect();
    assert_eq!(kept, at);
    let several = RedisLimiter::builder(SLOW.burst(20)).and(SLOW.burst(30)).deadline(PATIENT);
    let several = several.connect(&cluster.url()).await.unwrap();
    for key in &keys[300..] {
        assert_eq!(several.check_n(key, 20).await.unwrap().remaining(), 0);
        several.reset(key).await.unwrap();
    }
    // One node, taken for all there is.
    let alone = connect(&cluster.nodes[0].url(), 10, PATIENT).await;
    let elsewhere = keys.iter().find(|key| first_master(cluster.slot(&alone.key(key))) > 0);
    let error = alone.check(elsewhere.unwrap()).await.unwrap_err();
    assert!(error.is_configuration() && error.to_string().contains("redis-cluster://"), "{error}");
    // What forgets its scripts is told them again, node by node, and debits once.
    for node in 0..3 {
        tell::<()>(&mut cluster.client(node), "SCRIPT FLUSH");
    }
    for key in &keys {
        assert_eq!(limiter.check(key).await.unwrap().remaining(), 1);
        limiter.reset(key).await.unwrap();
        assert_eq!(limiter.available(key).await.unwrap(), 10);
    }
}

/// Keys are asked for without a pause while their slots go to another master, to one that had none,
/// and back. No call fails, and what is debited is what was granted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_stay_exact_while_slots_move() {
    const BURST: u64 = 500_000;
    let mut cluster = Cluster::start(&[]);
    let more = cluster.meet_more();
    let quota = Quota::per_hour(1).burst(BURST);
    let limiter = connect_by(&cluster.url(), quota, PATIENT).await;
    let keys: Vec<_> = (0..8).map(|n| format!("user {n}")).collect();
    let (stop, granted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let (limiter, key, stop) = (limiter.clone(), keys[task % 8].clone(), Arc::clone(&stop));
        let granted = Arc::clone(&granted);
        tasks.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                limiter.check(&key).await.unwrap();
                granted.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let slots: Vec<_> = keys.iter().map(|key| cluster.slot(&limiter.key(key))).collect();
    let answered = Arc::clone(&granted);
    let moving = tokio::task::spawn_blocking(move || {
        // So many that a task whose call would not end would be missed.
        let until_more_are_answered = || {
            let more = answered.load(Ordering::Relaxed) + 200;
            cluster::until("nobody is answered", || answered.load(Ordering::Relaxed) >= more);
        };
        for _ in 0..rounds() {
            for &slot in &slots {
                let home = first_master(slot);
                for path in [[home, (home + 1) % 3], [(home + 1) % 3, more], [more, home]] {
                    cluster.migrate(slot, path[0], path[1], until_more_are_answered);
                    until_more_are_answered();
                }
            }
        }
        cluster
    });
    let _cluster = moving.await.unwrap();
    stop.store(true, Ordering::Relaxed);
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    let mut debited = 0;
    for key in &keys {
        debited += BURST - u64::try_from(limiter.available(key).await.unwrap()).unwrap();
    }
    assert_eq!(debited, granted.load(Ordering::Relaxed));
}

/// A master dies, or stands still, under load. Its keys' calls end in time, and are answered again
/// when a replica has taken its place; the other masters' calls do not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_lost_is_a_burst_more_at_most_and_only_its_keys_notice() {
    for round in 0..rounds().max(2) {
        let mut cluster = Cluster::start(&["--cluster-node-timeout", "1000"]);
        let elections = cluster.epoch();
        let impatient = connect(&cluster.url(), 50, DEADLINE).await;
        let patient = connect(&cluster.url(), 50, PATIENT).await;
        let keys: Vec<_> = (0..12).map(|n| format!("round {round}, user {n}")).collect();
        let lost = first_master(cluster.slot(&impatient.key(&keys[0])));
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for key in keys.clone() {
            let of_lost = first_master(cluster.slot(&impatient.key(&key))) == lost;
            let limiter = if of_lost { impatient.clone() } else { patient.clone() };
            let stop = Arc::clone(&stop);
            tasks.spawn(async move {
                let (mut admitted, mut failed) = (0, 0);
                while !stop.load(Ordering::Relaxed) {
                    let watch = Watch::start();
                    let answer = limiter.check(&key).await;
                    assert!(!of_lost || watch.is_within(DEADLINE + LATE), "{answer:?}");
                    match answer {
                        Ok(_) => admitted += 1,
                        Err(RedisError::Denied(_)) => {}
                        Err(error) if of_lost && error.is_degraded() => failed += 1,
                        Err(error) => panic!("{key}: {error:?}"),
                    }
                    // So that the buckets are not empty when it happens.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                (of_lost, admitted, failed)
            });
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        if round % 2 == 0 {
            cluster.nodes[lost].kill();
        } else {
            cluster.nodes[lost].pause();
        }
        let began = Instant::now();
        while impatient.available(&keys[0]).await.is_err() || {
            // Until it is noticed that the master is gone.
            let replica = &mut cluster.client(3 + lost);
            !tell::<String>(replica, "INFO replication").contains("role:master")
        } {
            assert!(began.elapsed() < PATIENT, "not found again");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // It comes back, as a replica.
        if round % 2 == 0 {
            cluster.nodes[lost].restart();
        } else {
            cluster.nodes[lost].go_on();
        }
        let cluster = tokio::task::spawn_blocking(move || {
            cluster.until_whole();
            cluster
        });
        let cluster = cluster.await.unwrap();
        // Who has not asked meanwhile finds out with his first calls.
        while patient.available(&keys[0]).await.is_err() {
            assert!(began.elapsed() < PATIENT, "not found again");
        }
        stop.store(true, Ordering::Relaxed);
        let elections = cluster.epoch() - elections;
        let mut any_failed = false;
        while let Some(task) = tasks.join_next().await {
            let (of_lost, admitted, failed) = task.unwrap();
            // A machine that stands still for a second looks like a dead master to the others.
            let lost_sets = if elections > 1 { elections } else { u64::from(of_lost) };
            assert!(admitted <= 50 * (1 + lost_sets), "{admitted} of a burst of 50");
            any_failed |= failed > 0;
        }
        assert!(any_failed, "nobody noticed");
        drop(cluster);
    }
}

/// A cluster of one node, which tells everybody to ask through a proxy.
fn proxied(cuts: &'static [usize], bytes: usize) -> Server {
    let server = Server::start_for_cluster(&["--requirepass", "hunter2"]);
    let mut client = login(&server);
    let proxy = cutting(server.port(), cuts, bytes);
    tell::<()>(&mut client, &format!("CONFIG SET cluster-announce-port {proxy}"));
    tell::<()>(&mut client, &format!("CLUSTER ADDSLOTSRANGE 0 {}", SLOTS - 1));
    cluster::until("the slots are not there", || {
        tell::<String>(&mut client, "CLUSTER INFO").contains("cluster_state:ok")
    });
    server
}

fn login(server: &Server) -> redis::Connection {
    let url = format!("redis://:hunter2@127.0.0.1:{}", server.port());
    redis::Client::open(url).unwrap().get_connection().unwrap()
}

/// Whether an answer is lost as a whole or breaks off: it is charged once, and nothing is sent
/// again.
#[tokio::test]
async fn what_may_have_been_applied_is_not_sent_again() {
    for bytes in [0, 3] {
        let server = proxied(&[5, 9, 10, 11, 17], bytes);
        let url = format!("redis-cluster://:hunter2@127.0.0.1:{}", server.port());
        let limiter = connect(&url, 100, PATIENT).await;
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
        let left = limiter.available("a").await.unwrap();
        assert!((100 - granted - lost..=100 - granted).contains(&left), "{left}, {lost} lost");
        assert!(left < 100 - granted, "{left}");
    }
}

/// A changed password stops a limiter that reconnects, until it is what it was.
#[tokio::test]
async fn a_login_that_a_node_refuses_later_is_told_and_tried_again() {
    let mut server = Server::start_for_cluster(&["--requirepass", "hunter2"]);
    let slots = format!("CLUSTER ADDSLOTSRANGE 0 {}", SLOTS - 1);
    tell::<()>(&mut login(&server), &slots);
    let url = format!("redis-cluster://:hunter2@127.0.0.1:{}", server.port());
    let limiter = connect(&url, 10, PATIENT).await;
    let began = Instant::now();
    for password in ["other", "hunter2"] {
        server.kill();
        server.set_option("--requirepass", password);
        server.restart();
        while !match limiter.available("a").await {
            Ok(_) => password == "hunter2",
            Err(error) if error.to_string().contains("refuses the login") => {
                assert!(error.is_degraded(), "{error:?}");
                assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
                password == "other"
            }
            Err(_) => false,
        } {
            assert!(began.elapsed() < PATIENT, "{password}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What connecting fails with, which never says what the URL does.
async fn refused(url: &str) -> RedisError {
    refused_within(url, PATIENT).await
}

async fn refused_within(url: &str, within: Duration) -> RedisError {
    let builder = RedisLimiter::builder(SLOW).connect_timeout(within);
    let error = builder.connect(url).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    error
}

#[tokio::test]
async fn mistakes_are_each_told_in_a_sentence() {
    let node = proxied(&[], 0);
    let nobody = server::free_port();
    let says = |error: &RedisError, words: &str| {
        assert!(error.to_string().contains(words), "{error}");
    };
    let limiter = connect(
        &format!("redis-cluster://:hunter2@127.0.0.1:{nobody},127.0.0.1:{}", node.port()),
        5,
        PATIENT,
    )
    .await;
    assert_eq!(limiter.check("a").await.unwrap().remaining(), 4);
    let shown = format!("{limiter:?}");
    assert!(shown.contains("the cluster of") && !shown.contains("hunter2"), "{shown}");

    let error = refused(&format!("redis-cluster://:other@127.0.0.1:{}", node.port())).await;
    assert!(error.is_configuration(), "{error:?}");
    says(&error, "refuses the login");
    let error = refused(&format!("redis-cluster://:hunter2@127.0.0.1:{nobody}")).await;
    assert!(matches!(error, RedisError::Connection(_)), "{error:?}");
    says(&error, "cannot connect to");
    let plain = Server::start(&[]);
    let error = refused(&format!("redis-cluster://127.0.0.1:{}", plain.port())).await;
    assert!(error.is_configuration(), "{error:?}");
    says(&error, "redis://");
    let empty = Server::start_for_cluster(&[]);
    let error = refused(&format!("redis-cluster://127.0.0.1:{}", empty.port())).await;
    assert!(matches!(error, RedisError::Unavailable(_)), "{error:?}");
    says(&error, "no slots");
    // It tells everybody to ask where nobody is.
    tell::<()>(&mut login(&node), &format!("CONFIG SET cluster-announce-port {nobody}"));
    let error = refused(&format!("redis-cluster://:hunter2@127.0.0.1:{}", node.port())).await;
    assert!(matches!(error, RedisError::Connection(_)), "{error:?}");
    says(&error, "a node that the cluster names");
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    tell::<()>(&mut login(&node), &format!("CONFIG SET cluster-announce-port {port}"));
    let url = format!("redis-cluster://:hunter2@127.0.0.1:{}", node.port());
    let error = refused_within(&url, SOON).await;
    says(&error, &format!("a node that the cluster names, 127.0.0.1:{port}"));
    let url = format!("redis-cluster://:hunter2@127.0.0.1:{port}");
    let error = refused_within(&url, SOON).await;
    says(&error, &format!("cannot connect to 127.0.0.1:{port} within 2s"));

    for bad in ["", "a,,b", ":x", "hunter2@", "a/1", "a,redis-cluster://hunter2"] {
        let error = refused(&format!("redis-cluster://{bad}")).await;
        assert!(error.is_configuration(), "{bad}: {error:?}");
        says(&error, "redis-cluster://[[user]:password@]");
    }
}
