//! URLs of servers.

use super::error::RedisError;
use ::redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use alloc::string::ToString;
use core::time::Duration;

/// After so long without a sign of a peer's machine the system gives the connection up. A process that
/// stands still on a machine that does not is told by our own deadline.
const DEAD_PEER: Duration = Duration::from_secs(5);

/// The server at a URL, and the settings of the socket. RESP3, so that a lost connection is noticed, and made anew,
/// before the next call.
pub(super) fn server(url: &str) -> Result<ConnectionInfo, RedisError> {
    let info = url.into_connection_info().map_err(|_| bad(url))?;
    let login = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let keepalive = ::redis::io::tcp::socket2::TcpKeepalive::new().with_time(DEAD_PEER);
    let tcp = info.tcp_settings().clone().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(DEAD_PEER);
    Ok(info.set_redis_settings(login).set_tcp_settings(tcp))
}

/// Says nothing of what is in the URL, which may be a password.
pub(super) fn bad(url: &str) -> RedisError {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let text = match scheme {
        "rediss" | "valkeys" if cfg!(not(feature = "redis-tls")) => {
            "a rediss:// URL needs TLS, which this build has not: enable the feature `redis-tls` of sluicegate"
        }
        _ => {
            "the URL cannot be read: it must be redis://[[user]:password@]host[:port][/database], the same with rediss:// \
             for TLS, or unix:///path"
        }
    };
    RedisError::Configuration(text.to_string())
}
