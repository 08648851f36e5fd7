//! Servers that share a limit through a store.

use crate::support::example::{EXCEEDED, PATIENCE, Run, Server, until};
use crate::support::server;
use sluicegate::{Quota, RedisLimiter};

/// So slow that no token flows while a test runs.
const LIMIT: [&str; 2] = ["--limit", "1/hour burst 6"];

fn pair(store: &str) -> [Server; 2] {
    [0, 1].map(|_| Server::start(&[&LIMIT[..], &["--store", store]].concat()))
}

#[test]
fn servers_with_one_store_have_one_limit() {
    let redis = server::Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let mut stores = vec![format!("{}?deadline=20s", redis.url())];
    if cfg!(all(unix, feature = "shared")) {
        stores.push(format!("shm://{}/limits", folder.path().display()));
    }
    for store in stores {
        let servers = pair(&store);
        for n in 0..6 {
            let reply = servers[n % 2].get("/api?user=alice");
            assert_eq!(reply.status, 200, "{store}: {reply:?}");
        }
        for server in &servers {
            let reply = server.get("/api?user=alice");
            assert_eq!((reply.status, reply.body.as_str()), (429, EXCEEDED));
            assert!(reply.header("retry-after").is_some());
            assert_eq!(server.get("/api?user=bob").status, 200);
        }
    }
}

/// Leases of one are not the other's, until it ends and gives them back.
#[cfg(unix)]
#[test]
fn servers_that_lease_admit_the_burst_together_and_not_more() {
    let redis = server::Server::start(&[]);
    let store = format!("{}?mode=lease&nodes=2&deadline=20s", redis.url());
    let flags = ["--limit", "1/hour burst 40", "--store", &store];
    let [first, second] = [(); 2].map(|()| Server::start(&flags));
    let allowed = |server: &Server, most: usize| {
        (0..most).take_while(|_| server.get("/api?user=alice").status == 200).count()
    };
    let one = allowed(&first, 15);
    assert_eq!(one, 15);
    let (status, log) = first.stop("TERM");
    assert!(status.success(), "{log:?}");
    assert_eq!(one + allowed(&second, 100), 40);
}

/// With its share, and a line of log when it begins and when it ends.
#[test]
fn a_server_goes_on_without_redis() {
    let mut redis = server::Server::start(&[]);
    let store = format!("{}?nodes=2&deadline=100ms", redis.url());
    let [server, _other] = pair(&store);
    assert_eq!(server.get("/api?user=alice").status, 200);
    redis.kill();
    for (n, status) in [200, 200, 200, 429, 429, 429].into_iter().enumerate() {
        assert_eq!(server.get("/api?user=bob").status, status, "{n}");
    }
    let said = |what: &str| until(what, || server.log.try_iter().find(|line| line.contains(what)));
    said("Redis is away");
    redis.restart();
    said("Redis is back");
    // What was granted meanwhile was charged.
    let allowed = (0..6).take_while(|_| server.get("/api?user=bob").status == 200).count();
    assert_eq!(allowed, 3);
}

/// What a server has leased and not spent is there for others when it has been told to stop.
#[cfg(unix)]
#[tokio::test]
async fn a_server_that_is_told_to_stop_gives_its_leases_back() {
    let redis = server::Server::start(&[]);
    let store = format!("{}?mode=lease&deadline=20s", redis.url());
    let server = Server::start(&["--limit", "1/hour burst 10000", "--store", &store]);
    let witness = RedisLimiter::builder(Quota::per_hour(1).burst(10_000)).deadline(PATIENCE);
    let witness = witness.connect(&redis.url()).await.unwrap();
    // What it asks for follows what is asked of it.
    let mut left = 10_000;
    while witness.available("alice").await.unwrap() >= left {
        assert_eq!(server.get("/api?user=alice").status, 200);
        left -= 1;
        assert!(left > 0, "it never holds more than it has spent");
    }
    assert!(server.stop("TERM").0.success());
    assert_eq!(witness.available("alice").await.unwrap(), left);
}

#[test]
fn a_store_that_cannot_be_opened_ends_the_server_with_a_sentence() {
    let port = server::free_port();
    let nobody = format!("redis://:secret-word@127.0.0.1:{port}");
    for (store, says) in
        [(nobody.as_str(), "cannot connect to 127.0.0.1"), ("redus://localhost", "none of")]
    {
        let mut run = Run::start(&["--store", store]);
        let errors = run.errors();
        assert!(!run.wait().success());
        let text: Vec<_> = errors.iter().collect();
        assert_eq!(text.len(), 1, "{text:?}");
        assert!(text[0].contains(says) && !text[0].contains("secret-word"), "{text:?}");
    }
}
