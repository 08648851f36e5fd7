//! What can come of a call to Redis, other than a grant.

use crate::answer::Denied;
use crate::error::QuotaError;
use ::redis::ErrorKind;
use ::redis::ServerErrorKind;
use alloc::string::{String, ToString};
use core::error::Error;
use core::fmt;
use core::time::Duration;

/// Why a call to a limiter in Redis did not end in a grant: it was denied, or there is no answer.
///
/// One type, so that `?` takes both and nothing is nested. Who must tell them apart asks for
/// [`denied`](Self::denied).
///
/// ```
/// use sluicegate::{RedisError, RedisLimiter};
///
/// # #[allow(dead_code)]
/// async fn serve(limiter: &RedisLimiter, user: &str) -> Result<&'static str, RedisError> {
///     match limiter.check(user).await {
///         Ok(grant) => Ok(if grant.remaining() < 3 { "welcome, slowly" } else { "welcome" }),
///         Err(RedisError::Denied(denied)) if !denied.is_never() => Ok("come back later"),
///         // Redis is away: here everybody is let in.
///         Err(error) if error.is_degraded() => Ok("welcome, unlimited"),
///         Err(error) => Err(error),
///     }
/// }
/// ```
///
/// No text in it has a password, or the URL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisError {
    /// The limiter's answer "no". It is no failure.
    Denied(Denied),
    /// No answer came within the [deadline](crate::RedisBuilder::deadline), which this is.
    Timeout(Duration),
    /// There is no connection, or it was lost before the answer.
    Connection(String),
    /// The server answered that it cannot now: it is out of memory, read-only, busy, loading, short
    /// of replicas; or it refuses a login that it took before. Nothing was taken.
    Unavailable(String),
    /// The server, or a proxy in front of it, answered with an error that the limiter does not
    /// know: that of a service behind it, a quota of requests, a fault of its own. The call may
    /// have been charged.
    Failed(String),
    /// Something is set up wrongly, and stays so until somebody mends it: the URL, the login, the rights of the user, what is
    /// kept under the limiter's keys, a server without scripts. Only what is known to be such a
    /// mistake is one. Nothing was taken.
    Configuration(String),
    /// Redis answers, but a round trip to it takes longer than the deadline, so that no call could
    /// be in time: at connect, or as the last probe found. Nothing was taken. Set a longer
    /// [`deadline`](crate::RedisBuilder::deadline), or one [in round
    /// trips](crate::RedisBuilder::deadline_round_trips).
    TooFar {
        /// As it was measured.
        round_trip: Duration,
        /// The longest that a call takes, of which timers need a millisecond.
        deadline: Duration,
    },
    /// Redis was not asked: it has been away, and is probed until it is back.
    Away,
    /// Redis was not asked: so many requests are on their way already, or fewer whose keys' names
    /// come to 512 bytes for each of so many.
    Overloaded(u64),
    /// A quota that a limiter in Redis cannot have.
    Quota(QuotaError),
}

impl RedisError {
    /// The denial, if it is one.
    #[must_use]
    pub fn denied(&self) -> Option<&Denied> {
        if let Self::Denied(denied) = self { Some(denied) } else { None }
    }

    /// Whether Redis is away, or not able for now: it may be better soon.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        matches!(
            self,
            Self::Timeout(_)
                | Self::Connection(_)
                | Self::Unavailable(_)
                | Self::Failed(_)
                | Self::TooFar { .. }
                | Self::Away
                | Self::Overloaded(_)
        )
    }

    /// Whether somebody has to mend the set-up first.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Configuration(_) | Self::Quota(_))
    }

    /// Whether the server may have done what was asked without our having its answer. It is not asked again, so
    /// such a call may be charged in vain, and is never charged twice.
    #[must_use]
    pub fn may_be_applied(&self) -> bool {
        matches!(self, Self::Timeout(_) | Self::Connection(_) | Self::Failed(_))
    }

    /// Whether the server refuses the login, at connect or later.
    pub(in crate::redis) fn refuses_login(&self) -> bool {
        let (Self::Unavailable(text) | Self::Configuration(text)) = self else { return false };
        text.contains(LOGIN_REFUSED)
    }

    /// The failure of a call.
    pub(in crate::redis) fn of_call(error: &::redis::RedisError) -> Self {
        let text = text(error);
        match error.kind() {
            ErrorKind::Io => Self::Connection(text),
            // Connected to what is a Redis, it is an answer that broke off.
            ErrorKind::Parse => Self::Connection(text),
            // The login was right at connect: the password was changed since, and may be changed
            // back.
            ErrorKind::AuthenticationFailed => Self::Unavailable(LOGIN_REFUSED.to_string()),
            _ if has_word(&text, &LOGIN_LATER) => Self::Unavailable(LOGIN_REFUSED.to_string()),
            ErrorKind::Server(ServerErrorKind::BusyLoading) => Self::Unavailable(text),
            // Nobody has run it.
            ErrorKind::ClusterConnectionNotFound => {
                Self::Unavailable(error.detail().unwrap_or_default().to_string())
            }
            ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => {
                Self::Configuration(ONE_NODE.to_string())
            }
            _ if is_passing(&text) => Self::Unavailable(text),
            kind if is_mistake(kind, &text) => Self::Configuration(text),
            _ => Self::Failed(text),
        }
    }

    /// An answer that no script gives.
    pub(in crate::redis) fn odd_answer() -> Self {
        Self::Connection("the answer is not one of the limiter's scripts".to_string())
    }

    pub(in crate::redis) fn no_runtime() -> Self {
        Self::Connection("the runtime that the limiter was connected in has ended".to_string())
    }

    /// The failure to connect to a server at this address.
    pub(in crate::redis) fn of_connecting(error: &::redis::RedisError, server: &str) -> Self {
        let said = text(error);
        if error.kind() == ErrorKind::AuthenticationFailed || has_word(&said, &LOGIN) {
            return Self::Configuration(alloc::format!("{server}: {LOGIN_REFUSED}"));
        }
        #[cfg(feature = "redis-tls")]
        if let Some(fault) = super::client::tls::fault(&said, server) {
            return Self::Configuration(fault);
        }
        let eof = error.is_connection_dropped() && !error.is_connection_refusal();
        match error.kind() {
            ErrorKind::Parse => Self::Configuration(alloc::format!(
                "{server} does not speak the protocol of Redis in the clear: is it another service, or does it want \
                 TLS (rediss://)?"
            )),
            ErrorKind::Io if eof => {
                let other = if said.contains("tls handshake") {
                    "is it in the clear (redis://)"
                } else {
                    "does it want TLS (rediss://)"
                };
                Self::Connection(alloc::format!(
                    "{server} closed the connection at once: is it another service, or {other}?"
                ))
            }
            ErrorKind::Io => Self::Connection(alloc::format!("cannot connect to {server}: {said}")),
            _ if is_passing(&said) => {
                Self::Unavailable(alloc::format!("{server} cannot serve now: {said}"))
            }
            kind if is_mistake(kind, &said) => {
                Self::Configuration(alloc::format!("{server} cannot be used: {said}"))
            }
            _ => Self::Failed(alloc::format!("{server} says: {said}")),
        }
    }
}

/// What a server says that cannot now. Looked for in all of the text, since an older server wraps what happens
/// within a script, and proxies prefix what they pass on.
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

/// What a server says to a login that it refuses, or misses.
const LOGIN: [&str; 3] = ["WRONGPASS", "NOAUTH", "NOPERM"];

/// What a server says to a call of a connection whose login is no longer right.
const LOGIN_LATER: [&str; 2] = ["WRONGPASS", "NOAUTH"];

const LOGIN_REFUSED: &str =
    "the server refuses the login: the user or the password in the URL is wrong or missing";

const ONE_NODE: &str = "the server is one node of a cluster: the URL must begin with redis-cluster:// or rediss-cluster://";

fn is_passing(text: &str) -> bool {
    has_word(text, &PASSING) || text.contains("max number of clients")
}

/// The code words of mistakes in how the server, its user or its keys are set up.
const MISTAKES: [&str; 4] = ["WRONGTYPE", "NOPERM", "CROSSSLOT", "NOPROTO"];

/// Phrases of such mistakes that have no code word, in lower case.
const MISTAKEN: [&str; 15] = [
    // A server, or a proxy, that has no scripts, or not all that is in ours.
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
    // The database in the URL, or a password where none is wanted.
    "db index is out of range",
    "select is not allowed in cluster mode",
    "without any password configured",
];

fn is_mistake(kind: ErrorKind, text: &str) -> bool {
    matches!(kind, ErrorKind::InvalidClientConfig | ErrorKind::RESP3NotSupported)
        || has_word(text, &MISTAKES)
        || MISTAKEN.iter().any(|words| text.to_ascii_lowercase().contains(words))
}

/// Whether it may be the end of a handshake, rather than a script's. Those of scripts are known.
pub(in crate::redis) fn may_be_of_handshake(error: &::redis::RedisError) -> bool {
    let text = text(error);
    error.kind() != ErrorKind::Io && !has_word(&text, &PASSING) && !has_word(&text, &OF_SCRIPTS)
}

/// Whether it is of a script that has run, or is not there.
#[cfg(feature = "redis-cluster")]
pub(in crate::redis) fn is_of_script(error: &::redis::RedisError) -> bool {
    error.code().is_some() && has_word(&text(error), &OF_SCRIPTS)
}

/// What a script fails with that is not passing.
const OF_SCRIPTS: [&str; 3] = ["NOSCRIPT", "WRONGTYPE", "NOPERM"];

/// Whether a whole word of the text is among `words`.
fn has_word(text: &str, words: &[&str]) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| words.contains(&word))
}

/// Whether the server does not know a script by its digest, so that it has not run. Found anywhere, since a proxy may
/// put its own words in front.
pub(in crate::redis) fn is_no_script(error: &::redis::RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
        || (error.code().is_some() && text(error).contains("NOSCRIPT"))
}

/// The server's words, or the system's. One that does not know a command repeats what came with it, and with `HELLO`
/// comes the login.
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

impl From<Denied> for RedisError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<QuotaError> for RedisError {
    fn from(error: QuotaError) -> Self {
        Self::Quota(error)
    }
}

impl fmt::Display for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(denied) => denied.fmt(f),
            Self::Timeout(deadline) => {
                write!(
                    f,
                    "no answer from Redis within {deadline:?}; the call may have been charged"
                )
            }
            Self::Connection(text) => write!(f, "no connection to Redis: {text}"),
            Self::Unavailable(text) => write!(f, "Redis is not able to answer now: {text}"),
            Self::Failed(text) => {
                write!(
                    f,
                    "Redis failed with an error of its own; the call may have been charged: {text}"
                )
            }
            Self::Configuration(text) => write!(f, "Redis is not set up for this limiter: {text}"),
            Self::TooFar { round_trip, deadline } => write!(
                f,
                "Redis is too far away: a round trip takes {round_trip:?}, and the deadline of a \
                 call is {deadline:?}"
            ),
            Self::Away => f.write_str("Redis is away, and is not asked until it is back"),
            Self::Overloaded(most) => {
                write!(f, "Redis was not asked: {most} requests are on their way already")
            }
            Self::Quota(error) => error.fmt(f),
        }
    }
}

impl Error for RedisError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Denied(denied) => Some(denied),
            Self::Quota(error) => Some(error),
            _ => None,
        }
    }
}
