//! The file in memory. Only this file turns its bytes into the table's types.
//!
//! ORDERING: words are loaded and swapped as in `table.rs`, although the process that frees them is
//! alone in the table. The system's lock orders them after the stores of the processes that were
//! killed.

use super::super::layout::{self, Common, Line};
use super::super::slot::{self, FREE, PENDING, RESERVED};
use super::error::SharedError;
use super::origin::Origin;
use crate::cell::Cell;
use crate::error::QuotaError;
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed};
use crate::sync::{AtomicU64, Turn};
use core::ops::Deref;
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FlockOperation, fcntl_lock};
use std::fs::File;
use std::time::Duration;

/// The number of words set aside for the header.
pub(super) const HEADER_WORDS: usize = 64;

/// The file's first page.
#[derive(Debug)]
#[repr(C, align(4096))]
struct Page {
    header: [AtomicU64; HEADER_WORDS],
    common: Common,
}

/// A lock of this process. The thread that has a record lock holds it, and so does a thread that
/// closes a file, since the close would lift the record lock. A child that is forked meanwhile has
/// neither the thread nor the lock.
static CHANGING: AtomicU64 = AtomicU64::new(0);

/// A file that is closed only while no thread of this process has a record lock of it.
#[derive(Debug)]
pub(super) struct Handle(Option<File>);

impl Handle {
    pub(super) fn new(file: File) -> Self {
        Self(Some(file))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _alone = loop {
            match Turn::take(&CHANGING) {
                Some(alone) => break alone,
                None => std::thread::yield_now(),
            }
        };
        self.0 = None;
    }
}

impl Deref for Handle {
    type Target = Option<File>;

    fn deref(&self) -> &Option<File> {
        &self.0
    }
}

/// The pause between two tries for the lock of a change. With their number it makes 100 ms.
const PAUSE: Duration = Duration::from_millis(1);
const TRIES: u32 = 100;

/// The number of bytes before the lines.
const PAGE: usize = size_of::<Page>();

/// Computes the bytes of a file with `lines` lines: the page, the lines, their floors.
pub(super) fn bytes(lines: u64) -> u64 {
    let of = |size: usize, count: u64| count.saturating_mul(size as u64);
    let floors = of(size_of::<Cell>(), lines.div_ceil(layout::FLOOR as u64));
    of(PAGE, 1).saturating_add(of(size_of::<Line>(), lines)).saturating_add(floors)
}

/// Computes the bytes of a mapping with `lines` lines, and the number of lines. `None`: they are
/// more than the `most` bytes that can be mapped.
fn mappable(lines: u64, most: usize) -> Option<(usize, usize)> {
    let bytes = usize::try_from(bytes(lines)).ok().filter(|bytes| *bytes <= most)?;
    Some((bytes, usize::try_from(lines).ok()?))
}

/// A mapped table. It keeps the file open, and with it the lock which says that a process uses the
/// table.
#[derive(Debug)]
pub(in super::super) struct Mapping {
    map: MmapRaw,
    lines: usize,
    /// The file, open as long as it is mapped.
    file: Option<Handle>,
    /// The path at which the file was found.
    origin: Option<Origin>,
}

impl Mapping {
    /// Maps the file, which is long enough for `lines` lines.
    pub(super) fn new(file: &File, lines: u64) -> Result<Self, SharedError> {
        let (length, lines) =
            mappable(lines, isize::MAX as usize).ok_or(SharedError::Quota(QuotaError::CAPACITY))?;
        let map = MmapOptions::new().len(length).map_raw(file);
        let map = map.map_err(|error| SharedError::Io { action: "map", error })?;
        Ok(Self { map, lines, file: None, origin: None })
    }

    pub(super) fn keep(self, file: Handle, origin: Origin) -> Self {
        Self { file: Some(file), origin: Some(origin), ..self }
    }

    /// Tells whether the file is still the one at the path that it was opened at.
    pub(super) fn is_current(&self) -> bool {
        self.origin.as_ref().is_none_or(Origin::is_current)
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "bytes of a file become a slice")]
    pub(in super::super) fn lines(&self) -> &[Line] {
        // SAFETY: the mapping is `PAGE` bytes and `lines` lines long and lives as long as `self`.
        // It begins at a page, so the lines are aligned. A line consists of atomics: all bytes are
        // values of them, and any process may change them at any time.
        unsafe {
            let first = self.map.as_ptr().add(PAGE).cast::<Line>();
            core::slice::from_raw_parts(first, self.lines)
        }
    }

    #[expect(unsafe_code, reason = "bytes of a file become a slice")]
    pub(in super::super) fn floors(&self) -> &[Cell] {
        // SAFETY: as in `lines`. The floors lie behind the lines, which are a whole number of cache
        // lines. A cell is an atomic.
        unsafe {
            let first = self.map.as_ptr().add(PAGE + self.lines * size_of::<Line>()).cast::<Cell>();
            core::slice::from_raw_parts(first, layout::floors(self.lines))
        }
    }

    #[expect(unsafe_code, reason = "bytes of a file become a struct")]
    pub(in super::super) fn common(&self) -> &Common {
        // SAFETY: as in `lines`. The page comes first, and consists of atomics.
        unsafe { &(*self.map.as_ptr().cast::<Page>()).common }
    }

    /// Runs `change` while no other thread of any process runs one.
    ///
    /// A record lock excludes the other processes. It is not the lock that says that a process uses
    /// the table, and the system lifts it, too, when a process dies. For the threads of one process
    /// record locks are one and the same; [`CHANGING`] excludes the other threads.
    pub(in super::super) fn alone(
        &self,
        change: impl FnOnce() -> Result<(), QuotaError>,
    ) -> Result<(), QuotaError> {
        let Some(file) = self.file.as_ref().and_then(|file| file.as_ref()) else {
            return change();
        };
        for _ in 0..TRIES {
            let alone = Turn::take(&CHANGING);
            if alone.is_some() && fcntl_lock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
            {
                let done = change();
                // The unlock cannot fail: the lock is held.
                let _ = fcntl_lock(file, FlockOperation::NonBlockingUnlock);
                return done;
            }
            drop(alone);
            std::thread::sleep(PAUSE);
        }
        Err(QuotaError::CHANGING)
    }

    /// Frees the slots that killed threads left reserved or pending. The caller is alone in the
    /// table, so no thread works on them.
    pub(super) fn reclaim(&self) {
        let words = self.lines().iter().flat_map(|line| &line.words);
        let mut reclaimed = 0;
        for word in words {
            let seen = word.load(Acquire);
            if matches!(slot::state(seen), RESERVED | PENDING) {
                let free = slot::with_state(seen, FREE);
                let freed = word.compare_exchange(seen, free, AcqRel, Relaxed);
                reclaimed += u64::from(freed.is_ok());
            }
        }
        self.common().reclaimed.fetch_add(reclaimed, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process of 32 bits can map 2^31 - 1 bytes. If a length wrapped, the mapping would be too
    /// short for its lines.
    #[test]
    fn a_mapping_is_as_long_as_its_lines_or_is_none() {
        let most = i32::MAX as usize;
        assert_eq!(mappable(32, most), Some((PAGE + 32 * 64 + 8, 32)));
        let last = (0..1 << 26).rev().find(|lines| bytes(*lines) <= most as u64).unwrap_or(0);
        assert!(mappable(last, most).is_some() && mappable(last + 1, most).is_none());
        // The lines of 178,956,970 keys, whose bytes are a little over 2^32; those of 2^40 keys;
        // and those of a corrupt file.
        for lines in [66_847_741, 1 << 38, 1 << 58, u64::MAX] {
            assert_eq!(mappable(lines, most), None);
            assert!(bytes(lines) >= lines);
        }
    }
}
