//! The error of a limiter of any store.

use crate::answer::Denied;
use crate::error::QuotaError;
#[cfg(all(unix, feature = "shared"))]
use crate::keyed::SharedError;
#[cfg(feature = "redis")]
use crate::redis::RedisError;
use alloc::string::String;
use core::error::Error;
use core::fmt;

/// The reason why a limiter could not be opened, or a call to it did not end in a grant.
///
/// No text in it contains a password, or the URL.
#[derive(Debug)]
#[non_exhaustive]
pub enum AnyError {
    /// A denial. It is an answer of the limiter, not a failure.
    Denied(Denied),
    /// The URL cannot be read, or asks for something that this build or the store does not have.
    Url(String),
    /// The store cannot hold this quota.
    Quota(QuotaError),
    /// The file that processes share cannot be opened.
    #[cfg(all(unix, feature = "shared"))]
    Shared(SharedError),
    /// Redis does not answer, or answers with an error.
    #[cfg(feature = "redis")]
    Redis(RedisError),
}

impl AnyError {
    /// The denial, if the error is one.
    #[must_use]
    pub fn denied(&self) -> Option<&Denied> {
        if let Self::Denied(denied) = self { Some(denied) } else { None }
    }
}

impl From<Denied> for AnyError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<QuotaError> for AnyError {
    fn from(error: QuotaError) -> Self {
        Self::Quota(error)
    }
}

#[cfg(all(unix, feature = "shared"))]
impl From<SharedError> for AnyError {
    fn from(error: SharedError) -> Self {
        match error {
            SharedError::Quota(error) => Self::Quota(error),
            error => Self::Shared(error),
        }
    }
}

#[cfg(feature = "redis")]
impl From<RedisError> for AnyError {
    fn from(error: RedisError) -> Self {
        match error {
            RedisError::Denied(denied) => Self::Denied(denied),
            RedisError::Quota(error) => Self::Quota(error),
            error => Self::Redis(error),
        }
    }
}

impl fmt::Display for AnyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(denied) => denied.fmt(f),
            Self::Url(text) => f.write_str(text),
            Self::Quota(error) => error.fmt(f),
            #[cfg(all(unix, feature = "shared"))]
            Self::Shared(error) => error.fmt(f),
            #[cfg(feature = "redis")]
            Self::Redis(error) => error.fmt(f),
        }
    }
}

impl Error for AnyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Denied(denied) => Some(denied),
            Self::Url(_) => None,
            Self::Quota(error) => Some(error),
            #[cfg(all(unix, feature = "shared"))]
            Self::Shared(error) => Some(error),
            #[cfg(feature = "redis")]
            Self::Redis(error) => Some(error),
        }
    }
}
