//! The file in memory: the one place that turns its bytes into the table's types.
//!
//! ORDERING: words are loaded and swapped as in `table.rs`, although whoever frees them is alone: what the
//! killed had stored is ordered by the system's lock.

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

/// Words set aside for the header.
pub(super) const HEADER_WORDS: usize = 64;

/// The file's first page.
#[derive(Debug)]
#[repr(C, align(4096))]
struct Page {
    header: [AtomicU64; HEADER_WORDS],
    common: Common,
}

/// Taken by the thread of this process that has a record lock, and by whoever closes a file: that would lift the lock.
/// A child that was forked meanwhile has neither the thread nor the lock.
static CHANGING: AtomicU64 = AtomicU64::new(0);

/// A file that is closed when nobody of this process has a record lock of it.
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

/// Between two tries for the lock of a change, and how many of them: 100 ms.
const PAUSE: Duration = Duration::from_millis(1);
const TRIES: u32 = 100;

/// Bytes before the lines.
const PAGE: usize = size_of::<Page>();

/// Bytes of a file of so many lines: the page, the lines, their floors.
pub(super) fn bytes(lines: u64) -> u64 {
    let of = |size: usize, count: u64| count.saturating_mul(size as u64);
    let floors = of(size_of::<Cell>(), lines.div_ceil(layout::FLOOR as u64));
    of(PAGE, 1).saturating_add(of(size_of::<Line>(), lines)).saturating_add(floors)
}

/// The bytes of a mapping of so many lines, of which no more than `most` can be mapped, and its lines.
fn mappable(lines: u64, most: usize) -> Option<(usize, usize)> {
    let bytes = usize::try_from(bytes(lines)).ok().filter(|bytes| *bytes <= most)?;
    Some((bytes, usize::try_from(lines).ok()?))
}

/// A mapped table. Keeps the file open, and with it the lock that says that somebody is in.
#[derive(Debug)]
pub(in super::super) struct Mapping {
    map: MmapRaw,
    lines: usize,
    /// Open as long as it is mapped.
    file: Option<Handle>,
    /// Where that was found.
    origin: Option<Origin>,
}

impl Mapping {
    /// Maps the file, which has at least the bytes of so many lines.
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

    /// Whether the file is still the one at the path that it was opened at.
    pub(super) fn is_current(&self) -> bool {
        self.origin.as_ref().is_none_or(Origin::is_current)
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "bytes of a file become a slice")]
    pub(in super::super) fn lines(&self) -> &[Line] {
        // SAFETY: the mapping is `PAGE` bytes and `lines` lines long and lives as long as `self`; it begins at
        // a page, so the lines are aligned. A line is made of atomics, for which all bytes are
        // values and which anybody may change at any time.
        unsafe {
            let first = self.map.as_ptr().add(PAGE).cast::<Line>();
            core::slice::from_raw_parts(first, self.lines)
        }
    }

    #[expect(unsafe_code, reason = "bytes of a file become a slice")]
    pub(in super::super) fn floors(&self) -> &[Cell] {
        // SAFETY: as above; the floors lie behind the lines, which are a whole number of cache lines. A cell is an
        // atomic.
        unsafe {
            let first = self.map.as_ptr().add(PAGE + self.lines * size_of::<Line>()).cast::<Cell>();
            core::slice::from_raw_parts(first, layout::floors(self.lines))
        }
    }

    #[expect(unsafe_code, reason = "bytes of a file become a struct")]
    pub(in super::super) fn common(&self) -> &Common {
        // SAFETY: as above; the page comes first, and is made of atomics.
        unsafe { &(*self.map.as_ptr().cast::<Page>()).common }
    }

    /// Runs `change` while nobody else does: no other process by a record lock, which is another one than that of who
    /// is in, and which the system lifts from the dead as well; no other thread of this one, for which record locks are
    /// one and the same, by [`CHANGING`].
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
                // It cannot fail: the lock is there.
                let _ = fcntl_lock(file, FlockOperation::NonBlockingUnlock);
                return done;
            }
            drop(alone);
            std::thread::sleep(PAUSE);
        }
        Err(QuotaError::CHANGING)
    }

    /// Frees the slots that killed threads left in their hands. With nobody else in the table, they are
    /// in nobody's.
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

    /// Of 32 bits, 2^31 - 1 bytes can be mapped. A length that wrapped would be a mapping too short for its lines.
    #[test]
    fn a_mapping_is_as_long_as_its_lines_or_is_none() {
        let most = i32::MAX as usize;
        assert_eq!(mappable(32, most), Some((PAGE + 32 * 64 + 8, 32)));
        let last = (0..1 << 26).rev().find(|lines| bytes(*lines) <= most as u64).unwrap_or(0);
        assert!(mappable(last, most).is_some() && mappable(last + 1, most).is_none());
        // Those of 178,956,970 keys, whose bytes are 2^32 and a little; of 2^40; and of a file of any words.
        for lines in [66_847_741, 1 << 38, 1 << 58, u64::MAX] {
            assert_eq!(mappable(lines, most), None);
            assert!(bytes(lines) >= lines);
        }
    }
}
