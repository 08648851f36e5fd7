//! The errors of the client library, told as those of a limiter.

use crate::redis::error::{LOGIN_REFUSED, RedisError};
use ::redis::{ErrorKind, ServerErrorKind};
use alloc::string::{String, ToString};

/// Tells the failure of a call.
pub(super) fn of_call(error: &::redis::RedisError) -> RedisError {
    let text = text(error);
    match error.kind() {
        // The answer of a server that was a Redis at connect has broken off.
        ErrorKind::Io | ErrorKind::Parse => RedisError::Connection(text),
        // The login was right at connect. The password was changed since, and may be changed back.
        ErrorKind::AuthenticationFailed => RedisError::Unavailable(LOGIN_REFUSED.to_string()),
        _ if has_word(&text, &LOGIN_LATER) => RedisError::Unavailable(LOGIN_REFUSED.to_string()),
        ErrorKind::Server(ServerErrorKind::BusyLoading) => RedisError::Unavailable(text),
        // No node has run it.
        ErrorKind::ClusterConnectionNotFound => {
            RedisError::Unavailable(error.detail().unwrap_or_default().to_string())
        }
        ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => {
            RedisError::Configuration(ONE_NODE.to_string())
        }
        _ if is_passing(&text) => RedisError::Unavailable(text),
        kind if is_mistake(kind, &text) => RedisError::Configuration(text),
        _ => RedisError::Failed(text),
    }
}

/// Tells the failure to connect to the server at this address.
pub(super) fn of_connecting(error: &::redis::RedisError, server: &str) -> RedisError {
    let said = text(error);
    if error.kind() == ErrorKind::AuthenticationFailed || has_word(&said, &LOGIN) {
        return RedisError::Configuration(alloc::format!("{server}: {LOGIN_REFUSED}"));
    }
    #[cfg(feature = "redis-tls")]
    if let Some(fault) = super::tls::fault(&said, server) {
        return RedisError::Configuration(fault);
    }
    let eof = error.is_connection_dropped() && !error.is_connection_refusal();
    match error.kind() {
        ErrorKind::Parse => RedisError::Configuration(alloc::format!(
            "{server} does not speak the protocol of Redis in the clear: is it another service, or \
             does it want TLS (rediss://)?"
        )),
        ErrorKind::Io if eof => {
            let other = if said.contains("tls handshake") {
                "is it in the clear (redis://)"
            } else {
                "does it want TLS (rediss://)"
            };
            RedisError::Connection(alloc::format!(
                "{server} closed the connection at once: is it another service, or {other}?"
            ))
        }
        ErrorKind::Io => {
            RedisError::Connection(alloc::format!("cannot connect to {server}: {said}"))
        }
        _ if is_passing(&said) => {
            RedisError::Unavailable(alloc::format!("{server} cannot serve now: {said}"))
        }
        kind if is_mistake(kind, &said) => {
            RedisError::Configuration(alloc::format!("{server} cannot be used: {said}"))
        }
        _ => RedisError::Failed(alloc::format!("{server} says: {said}")),
    }
}

/// The error of a URL that cannot be read. It repeats nothing of the URL but the scheme, since the
/// rest may hold a password.
pub(super) fn unreadable_url(url: &str) -> RedisError {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let text = match scheme {
        "rediss" | "valkeys" | "rediss-cluster" | "rediss-sentinel"
            if cfg!(not(feature = "redis-tls")) =>
        {
            "a rediss URL needs TLS, which this build lacks: enable the feature `redis-tls` of \
             sluicegate"
        }
        "redis-cluster" | "rediss-cluster" if cfg!(not(feature = "redis-cluster")) => {
            "this build cannot ask a redis-cluster URL: enable the feature `redis-cluster` of \
             sluicegate"
        }
        "redis-sentinel" | "rediss-sentinel" if cfg!(not(feature = "redis-sentinel")) => {
            "this build cannot ask a redis-sentinel URL: enable the feature `redis-sentinel` of \
             sluicegate"
        }
        "redis-sentinel" | "rediss-sentinel" => {
            "the URL cannot be read: it must be redis-sentinel://[[user]:password@]host[:port]\
             [,host[:port]...]/service[/database], or the same with rediss-sentinel:// for TLS"
        }
        "redis-cluster" | "rediss-cluster" => {
            "the URL cannot be read: it must be redis-cluster://[[user]:password@]host[:port]\
             [,host[:port]...], or the same with rediss-cluster:// for TLS"
        }
        _ => {
            "the URL cannot be read: it must be redis://[[user]:password@]host[:port][/database], \
             the same with rediss:// for TLS, or unix:///path"
        }
    };
    RedisError::Configuration(text.to_string())
}

/// Words of a server that cannot serve for now. They are looked for in the whole text, since an
/// older server wraps the error of a command within a script, and proxies add a prefix.
const PASSING: [&str; 9] = [
    "OOM",
    "READONLY",
    "BUSY",
    "LOADING",
    "NOREPLICAS",
    "MISCONF",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
];

/// Words of a server that refuses a login, or misses one.
const LOGIN: [&str; 3] = ["WRONGPASS", "NOAUTH", "NOPERM"];

/// The same, in answer to a call over a connection whose login was right before.
const LOGIN_LATER: [&str; 2] = ["WRONGPASS", "NOAUTH"];

const ONE_NODE: &str = "the server is one node of a cluster: the URL must begin with \
                        redis-cluster:// or rediss-cluster://";

fn is_passing(text: &str) -> bool {
    has_word(text, &PASSING) || text.contains("max number of clients")
}

/// The code words of mistakes in the set-up of the server, its user or its keys.
const MISTAKES: [&str; 4] = ["WRONGTYPE", "NOPERM", "CROSSSLOT", "NOPROTO"];

/// Phrases of such mistakes that have no code word, in lower case.
const MISTAKEN: [&str; 15] = [
    // The server, or a proxy, has no scripts, or lacks a part of ours.
    "unknown command",
    "unknown subcommand",
    "unsupported command",
    "command is not supported",
    "command not supported",
    "error compiling script",
    "wrong number of arguments",
    "syntax error",
    "not allowed from script",
    "not allowed after non deterministic commands",
    "undeclared key",
    "bad lua script",
    // The database in the URL is wrong, or the server wants no password.
    "db index is out of range",
    "select is not allowed in cluster mode",
    "without any password configured",
];

fn is_mistake(kind: ErrorKind, text: &str) -> bool {
    matches!(kind, ErrorKind::InvalidClientConfig | ErrorKind::RESP3NotSupported)
        || has_word(text, &MISTAKES)
        || MISTAKEN.iter().any(|words| text.to_ascii_lowercase().contains(words))
}

/// Says whether the error may be the end of a handshake rather than a script's. Those of scripts
/// are known.
pub(super) fn may_be_of_handshake(error: &::redis::RedisError) -> bool {
    let text = text(error);
    error.kind() != ErrorKind::Io && !has_word(&text, &PASSING) && !has_word(&text, &OF_SCRIPTS)
}

/// Says whether the error is that of a script which has run, or which the server does not have.
#[cfg(feature = "redis-cluster")]
pub(super) fn is_of_script(error: &::redis::RedisError) -> bool {
    error.code().is_some() && has_word(&text(error), &OF_SCRIPTS)
}

/// The code words of a script's errors, but for those that pass.
const OF_SCRIPTS: [&str; 3] = ["NOSCRIPT", "WRONGTYPE", "NOPERM"];

/// Says whether one of `words` is a whole word of the text.
fn has_word(text: &str, words: &[&str]) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| words.contains(&word))
}

/// Says whether the server does not know a script by its digest, and so has not run it. The word
/// may stand anywhere, since a proxy may put its own words in front.
pub(super) fn is_no_script(error: &::redis::RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
        || (error.code().is_some() && text(error).contains("NOSCRIPT"))
}

/// The words of the server, or of the system. A server that does not know a command repeats its
/// arguments, and those of `HELLO` have the login: they are cut off.
fn text(error: &::redis::RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => {
            let (said, _) = detail.split_once(", with args").unwrap_or((detail, ""));
            alloc::format!("{code} {said}")
        }
        (Some(code), None) => code.to_string(),
        (None, _) => error.to_string(),
    }
}
