//! Links: probes over connections of their own.
use super::server::Server;
use crate::RedisError;
use crate::redis::client::distance::Distance;
use crate::redis::client::link::Link;
use crate::redis::client::lua::{Call, Lua, digest_of};
use crate::redis::client::maker::ConnectOptions;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use tokio::time::timeout;

const CODE: &str = "return redis.call('INCRBY', KEYS[1], ARGV[1])";
static COUNT: Lua = Lua::new(CODE, || digest_of(CODE));

/// The call that adds `n` to a count.
fn add(n: u64) -> Call {
    Call { script: &COUNT, verb: None, numbers: [n].into() }
}

const PATIENT: Duration = Duration::from_secs(20);

async fn connect(url: &str, within: Duration) -> Result<Link, RedisError> {
    let (link, absent) =
        Link::connect(url, &ConnectOptions::new(within), Distance::new(within, 0)).await?;
    absent.map_or(Ok(link), Err)
}

/// The numbers of the connections of links, which grow. Only those speak RESP3: not the connection
/// that asks here, nor those of other tests that try whether this port is theirs.
fn clients(asking: &mut ::redis::Connection) -> Vec<u64> {
    let all: String = ::redis::cmd("CLIENT").arg("LIST").query(asking).unwrap();
    let links = all.lines().filter(|line| line.split(' ').any(|field| field == "resp=3"));
    let ids = links.filter_map(|line| line.strip_prefix("id=")?.split(' ').next());
    let mut ids: Vec<u64> = ids.map(|id| id.parse().unwrap()).collect();
    ids.sort_unstable();
    ids
}

/// A connection is closed some time after it is dropped.
async fn remain(asking: &mut ::redis::Connection, expected: &[u64]) {
    let waiting = async {
        while clients(asking) != expected {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENT, waiting).await.unwrap();
}

#[tokio::test]
async fn a_probe_goes_over_a_connection_of_its_own_which_may_be_adopted() {
    let server = Server::start(&[]);
    let mut asking = server.client();
    let link = connect(&server.url(), PATIENT).await.unwrap();
    let clone = link.clone();
    assert_eq!(link.run::<u64>(&add(1), &[b"a"]).await.unwrap(), 1);
    let first = clients(&mut asking)[0];
    assert_eq!(clients(&mut asking), [first]);

    let dropped = link.probe(&add(10), b"a").await.unwrap();
    assert_eq!(clients(&mut asking).len(), 2);
    drop(dropped);
    remain(&mut asking, &[first]).await;
    assert_eq!(link.run::<u64>(&add(1), &[b"a"]).await.unwrap(), 22);

    let fresh = link.probe(&add(10), b"a").await.unwrap();
    let second = clients(&mut asking)[1];
    link.adopt(fresh);
    remain(&mut asking, &[second]).await;
    // All clones use it, and without connecting anew.
    for (link, sum) in [(&link, 43), (&clone, 44)] {
        assert_eq!(link.run::<u64>(&add(1), &[b"a"]).await.unwrap(), sum);
    }
    assert_eq!(clients(&mut asking), [second]);
}

/// A server that accepts calls but does not answer keeps its old connection silent. A probe fails
/// in time.
#[tokio::test]
async fn a_probe_fails_in_time_and_says_why() {
    let mut server = Server::start(&["--requirepass", "right"]);
    let url = alloc::format!("redis://:right@127.0.0.1:{}", server.port());
    let within = Duration::from_millis(100);
    // A slow machine may miss the time even so.
    let connecting = async {
        loop {
            match connect(&url, within).await {
                Ok(link) => break link,
                Err(error) => assert!(error.is_degraded(), "{error:?}"),
            }
        }
    };
    let link = timeout(PATIENT, connecting).await.unwrap();

    server.pause();
    let failed = timeout(PATIENT, link.probe(&add(1), b"a")).await.unwrap().err().unwrap();
    assert!(matches!(failed, RedisError::Connection(_)), "{failed:?}");
    server.go_on();
    server.kill();
    let failed = link.probe(&add(1), b"a").await.err().unwrap();
    assert!(failed.is_degraded() && failed.may_be_applied(), "{failed:?}");
    server.set_option("--requirepass", "other");
    server.restart();
    let probing = async {
        loop {
            let failed = link.probe(&add(1), b"a").await.err().unwrap();
            if !failed.is_degraded() {
                break failed;
            }
        }
    };
    let failed = timeout(PATIENT, probing).await.unwrap();
    assert!(failed.is_configuration() && !failed.to_string().contains("right"), "{failed:?}");
}
