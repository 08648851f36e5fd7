//! One table for all processes of a machine: the same lines, in a file that each process maps.
//!
//! A check does the same as in the process's own memory: no lock, no server, and no system call but
//! the clock's. Only opening the table locks the file. The system lifts the lock of a process that
//! dies.
//!
//! ```text
//!   exclusive lock: no other process uses the table.   empty or unfinished -> make it
//!                                                      made before the last boot -> make it anew
//!                                                      otherwise -> free reserved slots
//!   shared lock:    other processes use the table, so it is complete
//! ```
//!
//! A process holds the shared lock until it drops the limiter. A file under construction has a
//! magic number of its own. If its maker is killed, the next process sees that, and makes the table
//! again.
//!
//! What a corrupt file can do: every figure that bounds an access is checked once at opening, and
//! kept in this process's memory. The lines hold plain numbers, and every number is the state of
//! some bucket.

mod error;
mod header;
pub(super) mod mapping;
mod origin;

pub use error::SharedError;

use super::KeyedLimiter;
use super::builder::KeyedBuilder;
use super::hash::{Seed, key_type};
use super::layout::slots;
use super::ledger::Ledger;
use super::lines::Lines;
use super::slot::Fields;
use super::table::Table;
use crate::algorithm::Terms;
use crate::clock::{Clock, MonotonicClock, Timer};
use crate::quota::Quota;
use crate::timeline::Timeline;
use core::hash::Hash;
use header::{Header, Kind, Name};
use mapping::{Handle, Mapping};
use origin::Origin;
use rustix::fs::{FlockOperation, OFlags};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// The pause between two tries for the lock. With their number it makes five seconds.
const PAUSE: Duration = Duration::from_millis(5);
const TRIES: u32 = 1_000;
/// The number of files in a row that may be removed while they are being opened.
const FILES: u32 = 16;

impl<K: Hash + ?Sized> KeyedLimiter<K> {
    /// Opens the table in the file at `path`, or makes it: one limit for all processes of the
    /// machine that open it with the same quota and capacity. It has token buckets. See
    /// [`KeyedBuilder::open_shared`] for other algorithms, and for the properties of the file.
    ///
    /// ```
    /// use sluicegate::{KeyedLimiter, Quota};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("api.limits");
    /// let quota = Quota::per_second(10);
    /// let worker = KeyedLimiter::<str>::open_shared(&path, quota, 100_000)?;
    /// let another = KeyedLimiter::<str>::open_shared(&path, quota, 100_000)?;
    /// assert!(worker.check_n("alice", 10).is_ok());
    /// assert!(another.check("alice").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`KeyedBuilder::open_shared`].
    pub fn open_shared(
        path: impl AsRef<Path>,
        quota: Quota,
        capacity: usize,
    ) -> Result<Self, SharedError> {
        Self::builder(quota, capacity).open_shared(path)
    }
}

impl<K: ?Sized> KeyedLimiter<K> {
    /// Tells whether the file of a [shared table](Self::open_shared) is still the one at its path.
    /// It is false if the file has been removed, renamed or replaced, as by a cleaner of temporary
    /// files, or if the path cannot be looked at.
    ///
    /// Processes that have such a table open go on with it. A process that opens the path now gets
    /// another table, so there are two limits. Ask now and then, for example where the process
    /// reports its health. Once the answer is false, [open](Self::open_shared) the path anew in
    /// place of this limiter, in every process. What had been taken stays behind in the old file.
    ///
    /// One system call. It is always true of a table that is in no file.
    ///
    /// ```
    /// use sluicegate::{KeyedLimiter, Quota};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("api.limits");
    /// let open = || KeyedLimiter::<str>::open_shared(&path, Quota::per_second(10), 100_000);
    /// let mut limiter = open()?;
    /// std::fs::remove_file(&path)?;
    /// if !limiter.is_current() {
    ///     limiter = open()?;
    /// }
    /// assert!(limiter.is_current());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_current(&self) -> bool {
        match &self.table.lines {
            Lines::Mapped(mapping) => mapping.is_current(),
            Lines::Own { .. } => true,
        }
    }
}

impl<K: Hash + ?Sized> KeyedBuilder<K> {
    /// Opens the table in the file at `path` with these choices, or makes it.
    ///
    /// **The file** is made with mode 0600 and 24 bytes for each key of the capacity, and only its
    /// owner may open it. Put it into a memory file system (`/dev/shm`, `/run`). If several
    /// processes race to make it, one wins, and all use its table. The hash key is made with the
    /// file, so the same key has the same bucket in every process. After a reboot the table starts
    /// afresh.
    ///
    /// **Keys** of text and of bytes are the same keys: `"alice"` of one process and `b"alice"` of
    /// another have one bucket. Text and bytes are `str`, `String`, `[u8]`, `Vec<u8>`, `[u8; N]`,
    /// and these behind a reference, `Box`, `Rc`, `Arc` or `Cow`. Any other type has tables of its
    /// own: the file names the type of its keys, and does not open for another. The name is the
    /// compiler's. If a newer compiler names a type otherwise, processes of the two compilers
    /// refuse each other's tables.
    ///
    /// **Processes** may be killed at any instruction, and no other process ever waits for one that
    /// was. A killed thread leaves at most one slot reserved. The slot is freed when the table is
    /// next opened while no other process has it open ([`reclaimed`](KeyedLimiter::reclaimed)
    /// counts).
    ///
    /// **Forks**: a process may fork with the limiter open, whatever its other threads are doing in
    /// it, and the child goes on with it. Callers that wait, and reservations, belong to the
    /// process in which they began. A child that has inherited a reservation must
    /// [forget](core::mem::forget) it, or its tokens come back twice.
    ///
    /// **The clock** is the machine's monotonic clock, which is the same for all processes of one
    /// time namespace.
    ///
    /// **The path** is looked at once, when the table is opened. A file that is removed or replaced
    /// afterwards remains the table of the processes that have it open;
    /// [`is_current`](KeyedLimiter::is_current) tells.
    ///
    /// **Damage** to the file's bytes while it is open leads at worst to wrong answers, for the
    /// keys whose slots are hit. Don't shorten the file while it is open: the system then kills a
    /// process that touches the missing part (`SIGBUS`).
    ///
    /// # Errors
    ///
    /// [`SharedError`] gives the reason, and the file is left as it is:
    ///
    /// - the file belongs to another user, or is a symbolic link;
    /// - it is no table, or a table of another layout, of other keys, or of another quota,
    ///   algorithm or capacity;
    /// - it is shortened or corrupt;
    /// - the system refuses an action;
    /// - another process has been making the table for five seconds;
    /// - files were removed from the path as fast as this process made them.
    pub fn open_shared(self, path: impl AsRef<Path>) -> Result<KeyedLimiter<K>, SharedError> {
        if self.options.source.is_some() {
            return Err(SharedError::Option("clock"));
        }
        if self.seed.is_some() {
            return Err(SharedError::Option("seed"));
        }
        let (quota, waiting) = self.options.shaped().map_err(SharedError::Quota)?;
        let (capacity, algorithm) = (self.capacity, self.options.algorithm);
        let schedule = self.options.schedule;
        let slots = slots(capacity).map_err(SharedError::Quota)?;
        let bits = |quota: &Quota| Terms::keyed_bits(quota, algorithm);
        let terms = |quota| schedule.terms(Terms::new(quota, algorithm, bits(&quota))?);
        terms(quota).map_err(SharedError::Quota)?;
        let wanted = Kind {
            quota,
            algorithm,
            capacity: capacity as u64,
            lines: Lines::count(slots) as u64,
            schedule,
            keys: Name::of(key_type::<K>()),
        };
        let (mapping, header) = open(path.as_ref(), &wanted)?;
        let fields = Fields::with_value_bits(bits(&header.kind.quota));
        let table = Table { lines: Lines::Mapped(mapping), fields };
        let timer = Timer::since(MonotonicClock::new().into_source(), header.epoch);
        // The layout follows the quota that the table was made with.
        let terms = terms(header.kind.quota).map_err(SharedError::Quota)?;
        let timer = schedule.align(timer, &terms, header.unix);
        let timeline = Timeline::new(terms, timer);
        let limiter =
            self.limiter(table, timeline, Seed(header.seed), (waiting, Ledger::new(true)));
        Ok(limiter)
    }
}

/// Opens the file and maps the table, or makes it.
///
/// Another process may remove the file between the opening and the lock, and with it the table that
/// others will find at the path. Then the file that is at the path is opened instead.
fn open(path: &Path, wanted: &Kind) -> Result<(Mapping, Header), SharedError> {
    for _ in 0..FILES {
        let Some(file) = open_file(path)? else { continue };
        let origin = Origin::of(path, &file)?;
        let opened = open_at(&origin, Handle::new(file), wanted);
        if origin.is_current() {
            return opened;
        }
    }
    Err(SharedError::Replaced)
}

/// Opens the table of this file. Gives up early if the file has been removed.
fn open_at(
    origin: &Origin,
    handle: Handle,
    wanted: &Kind,
) -> Result<(Mapping, Header), SharedError> {
    let Some(file) = &*handle else { return Err(SharedError::NotAFile) };
    for turn in 0..TRIES {
        if turn > 0 {
            std::thread::sleep(PAUSE);
            if !origin.is_current() {
                return Err(SharedError::Replaced);
            }
        }
        if lock(file, FlockOperation::NonBlockingLockExclusive)? {
            let header = match Header::read(file)? {
                None => Header::create(file, wanted)?,
                Some(header) => {
                    header.expect(wanted, file)?;
                    if header.is_of_this_boot() { header } else { Header::create(file, wanted)? }
                }
            };
            let mapping = Mapping::new(file, wanted.lines)?;
            expect_quota(&mapping, &header, wanted)?;
            mapping.reclaim();
            // Other processes may lock it in between. They find the table complete, and no thread
            // at work in it.
            if !lock(file, FlockOperation::NonBlockingLockShared)? {
                continue;
            }
            return Ok((mapping.keep(handle, origin.clone()), header));
        }
        if lock(file, FlockOperation::NonBlockingLockShared)? {
            // The file has no table yet if its maker was killed between the two tries.
            if let Some(header) = Header::read(file)? {
                header.expect(wanted, file)?;
                if !header.is_of_this_boot() {
                    return Err(SharedError::Busy);
                }
                let mapping = Mapping::new(file, wanted.lines)?;
                expect_quota(&mapping, &header, wanted)?;
                return Ok((mapping.keep(handle, origin.clone()), header));
            }
            lock(file, FlockOperation::NonBlockingUnlock)?;
        }
    }
    Err(SharedError::Busy)
}

/// Checks that the wanted quota is the one in force, or the one that the table was made with.
fn expect_quota(mapping: &Mapping, header: &Header, wanted: &Kind) -> Result<(), SharedError> {
    let first = header.kind.quota;
    let found = mapping.common().announced.changed().unwrap_or(first);
    if wanted.quota == first || wanted.quota == found {
        return Ok(());
    }
    Err(SharedError::OtherQuota { found })
}

/// Opens a regular file of this user that no other user may write to, but not through a symbolic
/// link. `None`: the file was removed meanwhile.
fn open_file(path: &Path) -> Result<Option<File>, SharedError> {
    // Opening a pipe at the path must not block.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits() as i32)
        .open(path);
    let file = opened.map_err(|error| {
        let why = rustix::io::Errno::from_io_error(&error);
        match why {
            Some(rustix::io::Errno::LOOP | rustix::io::Errno::ISDIR | rustix::io::Errno::NXIO) => {
                SharedError::NotAFile
            }
            _ => SharedError::Io { action: "open", error },
        }
    })?;
    let meta = file.metadata().map_err(|error| SharedError::Io { action: "look at", error })?;
    if !meta.is_file() {
        return Err(SharedError::NotAFile);
    }
    if meta.nlink() == 0 {
        return Ok(None);
    }
    let mine = meta.uid() == rustix::process::geteuid().as_raw();
    if !mine || meta.nlink() != 1 || meta.mode() & 0o022 != 0 {
        return Err(SharedError::NotOwned);
    }
    Ok(Some(file))
}

/// Tries for the lock. Returns whether it was free.
fn lock(file: &File, operation: FlockOperation) -> Result<bool, SharedError> {
    match rustix::fs::flock(file, operation) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(SharedError::Io { action: "lock", error: io::Error::from(error) }),
    }
}
