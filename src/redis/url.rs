//! URLs of servers.

use super::error::RedisError;
use ::redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use alloc::boxed::Box;
use alloc::string::ToString;
#[cfg(feature = "redis-cluster")]
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// After so long without a sign of a peer's machine the system gives the connection up. A process that
/// stands still on a machine that does not is told by our own deadline.
const DEAD_PEER: Duration = Duration::from_secs(5);

/// What is at a URL.
pub(super) enum Place {
    Server(Box<ConnectionInfo>),
    /// Those of its nodes that are named.
    #[cfg(feature = "redis-cluster")]
    Cluster(Vec<ConnectionInfo>),
}

pub(super) fn place(url: &str) -> Result<Place, RedisError> {
    match url.split_once("://") {
        #[cfg(feature = "redis-cluster")]
        Some((scheme @ ("redis-cluster" | "rediss-cluster"), rest)) => {
            let scheme = scheme.trim_end_matches("-cluster");
            let seeds = hosts(rest).map(|(before, host, after)| {
                server(&alloc::format!("{scheme}://{before}{host}{after}"), url)
            });
            let seeds = seeds.collect::<Result<Vec<_>, _>>()?;
            // A cluster has one database.
            if seeds.iter().any(|seed| seed.redis_settings().db() != 0) {
                return Err(bad(url));
            }
            Ok(Place::Cluster(seeds))
        }
        _ => Ok(Place::Server(Box::new(server(url, url)?))),
    }
}

/// What is before the hosts of a list, each of them, and what is after.
#[cfg(feature = "redis-cluster")]
fn hosts(rest: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let (list, after) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (login, hosts) = list.split_at(list.rfind('@').map_or(0, |at| at + 1));
    hosts.split(',').map(move |host| (login, host, after))
}

/// A server at a URL, and the settings of the socket. RESP3, so that a lost connection is noticed, and made anew,
/// before the next call.
fn server(url: &str, given: &str) -> Result<ConnectionInfo, RedisError> {
    let info = url.into_connection_info().map_err(|_| bad(given))?;
    let login = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let keepalive = ::redis::io::tcp::socket2::TcpKeepalive::new().with_time(DEAD_PEER);
    let tcp = info.tcp_settings().clone().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(DEAD_PEER);
    Ok(info.set_redis_settings(login).set_tcp_settings(tcp))
}

/// Without the login.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(info) => info.addr().fmt(f),
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(seeds) => {
                for (n, seed) in seeds.iter().enumerate() {
                    f.write_str(if n == 0 { "the cluster of " } else { ", " })?;
                    seed.addr().fmt(f)?;
                }
                Ok(())
            }
        }
    }
}

/// Says nothing of what is in the URL, which may be a password.
pub(super) fn bad(url: &str) -> RedisError {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let text = match scheme {
        "rediss" | "valkeys" | "rediss-cluster" if cfg!(not(feature = "redis-tls")) => {
            "a rediss URL needs TLS, which this build has not: enable the feature `redis-tls` of sluicegate"
        }
        "redis-cluster" | "rediss-cluster" if cfg!(not(feature = "redis-cluster")) => {
            "a redis-cluster URL needs what this build has not: enable the feature `redis-cluster` of sluicegate"
        }
        "redis-cluster" | "rediss-cluster" => {
            "the URL cannot be read: it must be redis-cluster://[[user]:password@]host[:port][,host[:port]...], or the same \
             with rediss-cluster:// for TLS"
        }
        _ => {
            "the URL cannot be read: it must be redis://[[user]:password@]host[:port][/database], the same with rediss:// \
             for TLS, or unix:///path"
        }
    };
    RedisError::Configuration(text.to_string())
}
