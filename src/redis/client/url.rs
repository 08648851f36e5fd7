//! URLs of servers.

#[cfg(feature = "redis-cluster")]
use crate::redis::client::cluster::{Directory, Roster};
use crate::redis::error::RedisError;
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
pub(in crate::redis) enum Place {
    Server(Box<ConnectionInfo>),
    #[cfg(feature = "redis-cluster")]
    Cluster(Box<Roster>),
}

pub(in crate::redis) fn place(url: &str) -> Result<Place, RedisError> {
    refuse_options(url)?;
    match url.split_once("://") {
        #[cfg(feature = "redis-cluster")]
        Some((scheme @ ("redis-cluster" | "rediss-cluster"), rest)) => {
            cluster(scheme.trim_end_matches("-cluster"), &List::of(rest), url)
        }
        #[cfg(feature = "redis-sentinel")]
        Some((scheme @ ("redis-sentinel" | "rediss-sentinel"), rest)) => {
            sentinels(scheme.trim_end_matches("-sentinel"), &List::of(rest), url)
        }
        _ => Ok(Place::Server(Box::new(server(url, url)?))),
    }
}

/// What the client reads behind the path of a socket.
const OF_SOCKETS: [&str; 3] = ["db", "user", "pass"];

/// Fails if the URL has an option: none is in vain. Those of a limiter are its builder's methods
/// here.
fn refuse_options(url: &str) -> Result<(), RedisError> {
    let Some((scheme, whole)) = url.split_once("://") else { return Ok(()) };
    let wrong = |text: &str| Err(RedisError::Configuration(text.to_string()));
    let rest = whole.find(['?', '#']).map_or(whole, |end| &whole[..end]);
    let after = &whole[rest.len()..];
    let (query, fragment) = match after.split_once('#') {
        Some((query, fragment)) => (query, Some(fragment)),
        None => (after, None),
    };
    let options = form_urlencoded::parse(query.trim_start_matches('?').as_bytes());
    let of_socket = scheme.contains("unix");
    let odd =
        options.map(|(name, _)| name).find(|name| !(of_socket && OF_SOCKETS.contains(&&**name)));
    let odd_fragment = fragment.is_some_and(|text| {
        text != "insecure" || !(scheme.starts_with("rediss") || scheme == "valkeys")
    });
    if (odd.is_some() || odd_fragment) && after.contains('@') {
        // Then it is perhaps none, but a part of a password.
        return wrong(
            "the URL has an odd option, or its login is cut off: a `?` in it is written %3F, and a \
             `#` %23",
        );
    }
    if let Some(name) = odd {
        let known = if of_socket { ", but db, user and pass of a socket" } else { "" };
        return wrong(&alloc::format!(
            "the URL has an option {name:?}, and a builder's URL has none{known}: here they are \
             its methods (AnyLimiter::open reads them)"
        ));
    }
    if odd_fragment {
        return wrong(
            "the URL cannot be read: behind a `#` is nothing but `insecure`, of a server over TLS",
        );
    }
    Ok(())
}

/// Several hosts, what is before them, and what is after.
#[cfg(feature = "redis-cluster")]
struct List<'a> {
    login: &'a str,
    hosts: Vec<&'a str>,
    path: &'a str,
    /// Options.
    tail: &'a str,
}

#[cfg(feature = "redis-cluster")]
impl<'a> List<'a> {
    fn of(rest: &'a str) -> Self {
        let (list, after) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (login, hosts) = list.split_at(list.rfind('@').map_or(0, |at| at + 1));
        let (path, tail) = after.split_at(after.find(['?', '#']).unwrap_or(after.len()));
        Self { login, hosts: hosts.split(',').collect(), path, tail }
    }
}

#[cfg(feature = "redis-cluster")]
fn cluster(scheme: &str, list: &List<'_>, given: &str) -> Result<Place, RedisError> {
    let List { login, hosts, path, tail } = list;
    let seeds = hosts
        .iter()
        .map(|host| server(&alloc::format!("{scheme}://{login}{host}{path}{tail}"), given));
    let seeds = seeds.collect::<Result<Vec<_>, _>>()?;
    // A cluster has one database.
    let node = seeds.first().filter(|seed| seed.redis_settings().db() == 0);
    let node = node.cloned().ok_or_else(|| bad(given))?;
    Ok(Place::Cluster(Box::new(Roster { directory: Directory::Nodes, seeds, node })))
}

/// The login and the database are the server's. Sentinels are asked without one.
#[cfg(feature = "redis-sentinel")]
fn sentinels(scheme: &str, list: &List<'_>, given: &str) -> Result<Place, RedisError> {
    const PORT: u16 = 26_379;
    let List { login, hosts, path, tail } = list;
    let path = path.strip_prefix('/').unwrap_or_default();
    let (service, database) = path.split_once('/').unwrap_or((path, ""));
    if service.is_empty() {
        return Err(bad(given));
    }
    let seeds = hosts.iter().map(|host| {
        // The colons of an address of IPv6 are in brackets.
        let port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
        let port = if port { "".to_string() } else { alloc::format!(":{PORT}") };
        server(&alloc::format!("{scheme}://{host}{port}{tail}"), given)
    });
    let seeds = seeds.collect::<Result<Vec<_>, _>>()?;
    let host = hosts.first().copied().unwrap_or_default();
    let node = server(&alloc::format!("{scheme}://{login}{host}/{database}{tail}"), given)?;
    let directory = Directory::Sentinels(service.to_string());
    Ok(Place::Cluster(Box::new(Roster { directory, seeds, node })))
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
            Self::Cluster(roster) => roster.fmt(f),
        }
    }
}

/// Says nothing of what is in the URL, which may be a password.
pub(in crate::redis) fn bad(url: &str) -> RedisError {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let text = match scheme {
        "rediss" | "valkeys" | "rediss-cluster" | "rediss-sentinel"
            if cfg!(not(feature = "redis-tls")) =>
        {
            "a rediss URL needs TLS, which this build has not: enable the feature `redis-tls` of sluicegate"
        }
        "redis-cluster" | "rediss-cluster" if cfg!(not(feature = "redis-cluster")) => {
            "a redis-cluster URL needs what this build has not: enable the feature `redis-cluster` of sluicegate"
        }
        "redis-sentinel" | "rediss-sentinel" if cfg!(not(feature = "redis-sentinel")) => {
            "a redis-sentinel URL needs what this build has not: enable the feature `redis-sentinel` of sluicegate"
        }
        "redis-sentinel" | "rediss-sentinel" => {
            "the URL cannot be read: it must be redis-sentinel://[[user]:password@]host[:port][,host[:port]...]/service\
             [/database], or the same with rediss-sentinel:// for TLS"
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
