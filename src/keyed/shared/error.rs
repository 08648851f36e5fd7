//! The error of opening a shared table.

use crate::algorithm::Algorithm;
use crate::error::QuotaError;
use crate::quota::Quota;
use alloc::string::String;
use core::fmt;
use std::io;

/// The reason why a shared table cannot be opened. The file is left as it is.
#[derive(Debug)]
#[non_exhaustive]
pub enum SharedError {
    /// The system refused an action.
    Io {
        /// The action that was tried.
        action: &'static str,
        /// The system's reason.
        error: io::Error,
    },
    /// The quota or the capacity is out of range.
    Quota(QuotaError),
    /// The builder sets what a shared table sets itself: `clock` or `seed`.
    Option(&'static str),
    /// The path is that of a symbolic link, a folder, a pipe or a device.
    NotAFile,
    /// The file belongs to another user, other users may write to it, or it has several names.
    NotOwned,
    /// The file is not a table.
    NotATable,
    /// The table has another version's layout.
    Layout {
        /// The layout of the file.
        found: u64,
        /// The layout that this version knows.
        known: u64,
    },
    /// The table has keys of another type. All text and bytes are one type, "text or bytes".
    KeyType {
        /// The type in the file, as its compiler named it, cut to 256 bytes.
        found: String,
        /// The type of the limiter's keys.
        wanted: String,
    },
    /// The table has another algorithm.
    Algorithm {
        /// The algorithm of the file.
        found: Algorithm,
    },
    /// The table has other periods: refilled smoothly instead of at intervals, or aligned
    /// differently.
    Periods,
    /// The table has another quota.
    OtherQuota {
        /// The quota of the file.
        found: Quota,
    },
    /// The table has another capacity.
    Capacity {
        /// The capacity of the file.
        found: u64,
    },
    /// The file is shorter than its header says.
    Truncated {
        /// The bytes of the file.
        bytes: u64,
        /// The bytes that it should have.
        expected: u64,
    },
    /// The header does not match its checksum.
    Corrupt,
    /// Another process has been making the table for five seconds, or has a table of an earlier
    /// boot open.
    Busy,
    /// The files at the path, opened or made there, were removed or replaced before they could be
    /// used, again and again.
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
                "the file must be this user's, writable to no other user, and have one name",
            ),
            Self::NotATable => f.write_str("the file is not a table of sluicegate"),
            Self::Layout { found, known } => {
                write!(f, "the table has layout {found}, this version knows layout {known}")
            }
            Self::KeyType { found, wanted } => {
                write!(f, "the table's keys are {found}, the limiter's are {wanted}")
            }
            Self::Algorithm { found } => write!(f, "the table's algorithm is {found}"),
            Self::Periods => {
                f.write_str("the table refills, or aligns to the calendar, in another way")
            }
            Self::OtherQuota { found } => write!(f, "the table's quota is {found}"),
            Self::Capacity { found } => write!(f, "the table's capacity is {found} keys"),
            Self::Truncated { bytes, expected } => {
                write!(f, "the file has {bytes} bytes of at least {expected}")
            }
            Self::Corrupt => f.write_str("the table's header is corrupt"),
            Self::Busy => {
                f.write_str("another process is making the table, or uses one of an earlier boot")
            }
            Self::Replaced => {
                f.write_str("the file was removed or replaced while it was being opened")
            }
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
