//! The errors of limiters in Redis.

use crate::answer::Denied;
use crate::error::QuotaError;
use alloc::string::{String, ToString};
use core::error::Error;
use core::fmt;
use core::time::Duration;

/// The reason why a call to a limiter in Redis did not end in a grant: the limiter denied it, or
/// there is no answer.
///
/// It is one type, so that `?` takes both and nothing is nested. [`denied`](Self::denied) tells
/// them apart.
///
/// ```
/// use sluicegate::{RedisError, RedisLimiter};
///
/// # #[allow(dead_code)]
/// async fn serve(limiter: &RedisLimiter, user: &str) -> Result<&'static str, RedisError> {
///     match limiter.check(user).await {
///         Ok(grant) => Ok(if grant.remaining() < 3 { "welcome, slowly" } else { "welcome" }),
///         Err(RedisError::Denied(denied)) if !denied.is_never() => Ok("come back later"),
///         // Redis is away: this service then admits every request.
///         Err(error) if error.is_degraded() => Ok("welcome, unlimited"),
///         Err(error) => Err(error),
///     }
/// }
/// ```
///
/// Its text never contains a password or the URL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisError {
    /// The limiter denied the request. This is an answer, not a failure.
    Denied(Denied),
    /// No answer came within the [deadline](crate::RedisBuilder::deadline), which is given here.
    Timeout(Duration),
    /// There is no connection, or it was lost before the answer came.
    Connection(String),
    /// The server answered that it cannot serve now: it is out of memory, read-only, busy, loading,
    /// or short of replicas; or it refuses a login that it accepted before. Nothing was taken.
    Unavailable(String),
    /// The server, or a proxy in front of it, answered with an error that the limiter does not
    /// know: from a service behind it, from its own quota of requests, or from a fault of its own.
    /// The call may have been charged.
    Failed(String),
    /// The set-up is wrong, and every call fails until it is corrected: the URL, the login, the
    /// rights of the user, the value under a key of the limiter, or a server without scripts. Only
    /// errors that are known to be such mistakes are reported so. Nothing was taken.
    Configuration(String),
    /// Redis answers, but a round trip takes longer than the deadline, so no call could be in time.
    /// Connecting measured it, or the last probe. Nothing was taken. Set a longer
    /// [`deadline`](crate::RedisBuilder::deadline), or one
    /// [in round trips](crate::RedisBuilder::deadline_round_trips).
    TooFar {
        /// The round trip as it was measured.
        round_trip: Duration,
        /// The longest time that a call may take. Timers need a millisecond of it.
        deadline: Duration,
    },
    /// Redis was not asked: it is away, and a task probes it until it is back.
    Away,
    /// Redis was not asked: this many requests are already in flight. Fewer can be too many if the
    /// names of their keys together take more than 512 bytes for each that is allowed.
    Overloaded(u64),
    /// A limiter in Redis cannot have this quota.
    Quota(QuotaError),
}

/// The text of a refused login, by which it is recognized later.
pub(super) const LOGIN_REFUSED: &str =
    "the server refuses the login: the user or the password in the URL is wrong or missing";

impl RedisError {
    /// Returns the denial, if the limiter denied the request.
    #[must_use]
    pub fn denied(&self) -> Option<&Denied> {
        if let Self::Denied(denied) = self { Some(denied) } else { None }
    }

    /// Says whether Redis is away or unable to serve for now. A later call may succeed.
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

    /// Says whether the set-up must be corrected before any call can succeed.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Configuration(_) | Self::Quota(_))
    }

    /// Says whether the server may have run the call although no answer came. The limiter does not
    /// repeat such a call. It may have been charged without a grant, but never twice.
    #[must_use]
    pub fn may_be_applied(&self) -> bool {
        matches!(self, Self::Timeout(_) | Self::Connection(_) | Self::Failed(_))
    }

    /// Says whether the server refuses the login, at connect or later.
    pub(super) fn refuses_login(&self) -> bool {
        let (Self::Unavailable(text) | Self::Configuration(text)) = self else { return false };
        text.contains(LOGIN_REFUSED)
    }

    /// An answer that no script of the limiter gives.
    pub(super) fn odd_answer() -> Self {
        Self::Connection("the answer is not one of the limiter's scripts".to_string())
    }

    pub(super) fn no_runtime() -> Self {
        Self::Connection("the runtime that the limiter was connected in has ended".to_string())
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
            Self::Timeout(deadline) => write!(
                f,
                "no answer from Redis within {deadline:?}; the call may have been charged"
            ),
            Self::Connection(text) => write!(f, "no connection to Redis: {text}"),
            Self::Unavailable(text) => write!(f, "Redis cannot answer now: {text}"),
            Self::Failed(text) => write!(
                f,
                "Redis failed with an error of its own; the call may have been charged: {text}"
            ),
            Self::Configuration(text) => write!(f, "Redis is not set up for this limiter: {text}"),
            Self::TooFar { round_trip, deadline } => write!(
                f,
                "Redis is too far away: a round trip takes {round_trip:?}, and the deadline of a \
                 call is {deadline:?}"
            ),
            Self::Away => f.write_str("Redis is away, and is not asked until it is back"),
            Self::Overloaded(most) => {
                write!(f, "Redis was not asked: {most} requests are already in flight")
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
