//! The path of a table's file, and whether the file is still there.

use super::error::SharedError;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The path that a file was opened at, and the file's identity. No other file has that identity
/// while this one is open.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Origin {
    pub(super) fn of(path: &Path, file: &File) -> Result<Self, SharedError> {
        let fail = |error: io::Error| SharedError::Io { action: "look at", error };
        let meta = file.metadata().map_err(fail)?;
        // The working directory may change later.
        let path = std::path::absolute(path).map_err(fail)?;
        Ok(Self { path, device: meta.dev(), inode: meta.ino() })
    }

    /// Tells whether the path leads to the file. A symbolic link does not count: none is opened.
    pub(super) fn is_current(&self) -> bool {
        fs::symlink_metadata(&self.path)
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == (self.device, self.inode))
    }
}
