//! Why a shared table cannot be opened.

use crate::algorithm::Algorithm;
use crate::error::QuotaError;
use crate::quota::Quota;
use alloc::string::String;
use core::fmt;
use std::io;

/// A shared table that cannot be opened: why. The file is left as it is.
#[derive(Debug)]
#[non_exhaustive]
pub enum SharedError {
    /// The system refused: what, and its reason.
    Io {
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        error: io::Error,
    },
    /// The quota or the capacity cannot be.
    Quota(QuotaError),
    /// A builder's choice that a shared table does not leave: `clock` or `seed`.
    Option(&'static str),
    /// A symbolic link, a folder, a pipe, a device.
    NotAFile,
    /// Somebody else's file, one that others may write to, or one of several names.
    NotOwned,
    /// A file of something else.
    NotATable,
    /// A table of another version's layout.
    Layout {
        /// The file's.
        found: u64,
        /// This version's.
        known: u64,
    },
    /// A table for keys of another type. All text and bytes are one type, "text or bytes".
    KeyType {
        /// The file's, as its compiler named it, cut to 256 bytes.
        found: String,
        /// The limiter's.
        wanted: String,
    },
    /// A table of another algorithm.
    Algorithm {
        /// The file's.
        found: Algorithm,
    },
    /// A table of other periods: refilled smoothly instead of at intervals, or aligned differently.
    Periods,
    /// A table of another quota.
    OtherQuota {
        /// The file's.
        found: Quota,
    },
    /// A table of another capacity.
    Capacity {
        /// The file's.
        found: u64,
    },
    /// Shorter than its header says.
    Truncated {
        /// Its bytes.
        bytes: u64,
        /// Those that there should be.
        expected: u64,
    },
    /// A header that its checksum does not fit.
    Corrupt,
    /// Another process has been making the table for five seconds, or uses one of another boot.
    Busy,
    /// Each file that was opened at the path, or made there, was removed or replaced before it
    /// could be used.
    Replaced,
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { action, error } => write!(f, "cannot {action} the file: {error}"),
            Self::Quota(error) => error.fmt(f),
            Self::Option(option) => write!(f, "{option} must be left out of a shared table"),
            Self::NotAFile => f.write_str("not a regular file, or a symbolic link"),
            Self::NotOwned => f.write_str(
                "the file must be this user's, writable to nobody else, and have one name",
            ),
            Self::NotATable => f.write_str("the file is not a table of sluicegate"),
            Self::Layout { found, known } => {
                write!(f, "the table has layout {found}, this version knows layout {known}")
            }
            Self::KeyType { found, wanted } => {
                write!(f, "the table's keys are {found}, the limiter's are {wanted}")
            }
            Self::Algorithm { found } => write!(f, "the table is of a {found}"),
            Self::Periods => {
                f.write_str("the table is refilled, or aligned to the calendar, in another way")
            }
            Self::OtherQuota { found } => write!(f, "the table's quota is {found}"),
            Self::Capacity { found } => write!(f, "the table's capacity is {found} keys"),
            Self::Truncated { bytes, expected } => {
                write!(f, "the file has {bytes} bytes of at least {expected}")
            }
            Self::Corrupt => f.write_str("the table's header is corrupt"),
            Self::Busy => f.write_str("another process keeps the table from being opened"),
            Self::Replaced => f.write_str("the file is removed or replaced while it is opened"),
        }
    }
}

impl core::error::Error for SharedError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            Self::Quota(error) => Some(error),
            _ => None,
        }
    }
}
