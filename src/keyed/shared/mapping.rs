//! The file in memory: the one place that turns its bytes into the table's types.
//!
//! ORDERING: words are loaded and swapped as in `table.rs`, although whoever frees them is alone: what the
//! killed had stored is ordered by the system's lock.

use super::super::lines::{Common, Line, Lines};
use super::super::slot::{self, FREE, PENDING, RESERVED};
use super::header::HEADER_WORDS;
use super::origin::Origin;
use crate::cell::Cell;
use crate::error::{QuotaError, SharedError};
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed};
use crate::sync::{AtomicU64, Turn};
use core::ops::Deref;
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FlockOperation, fcntl_lock};
use std::fs::File;
use std::time::Duration;

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
pub(super) fn bytes(lines: usize) -> u64 {
    let of = |size: usize, count: usize| size as u64 * count as u64;
    of(PAGE, 1) + of(size_of::<Line>(), lines) + of(size_of::<Cell>(), Lines::floors_for(lines))
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
    pub(super) fn new(file: &File, lines: usize) -> Result<Self, SharedError> {
        let length =
            usize::try_from(bytes(lines)).ok().filter(|bytes| *bytes <= isize::MAX as usize);
        let length = length.ok_or(SharedError::Quota(QuotaError::CAPACITY))?;
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
            core::slice::from_raw_parts(first, Lines::floors_for(self.lines))
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
