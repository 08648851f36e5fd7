//! One table for all processes of a machine: the same lines, in a file that each of them maps.
//!
//! A check does what it does in memory of its own: no lock, no server, no system call but the clock's. Only
//! opening takes a lock of the file, which the system lifts from whoever dies:
//!
//! ```text
//!   exclusive lock to be had: nobody else is in.   empty, or left half made -> make it
//!                                                  made before the last boot -> make it anew
//!                                                  otherwise -> free what the killed left reserved
//!   shared lock to be had:    others are in, so it is whole
//! ```
//!
//! Whoever is in holds the shared lock until the limiter is dropped. A file under construction bears a magic
//! number of its own, so that one whose maker was killed is known and made again.
//!
//! What a corrupt file can do: every figure that bounds an access is checked once at opening and kept in this
//! process's memory; what lies in the lines are plain numbers, and every number is some bucket's state.

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

/// Between two tries for the lock, and how many of them: five seconds.
const PAUSE: Duration = Duration::from_millis(5);
const TRIES: u32 = 1_000;
/// How many files in a row may be removed while they are being opened.
const FILES: u32 = 16;

impl<K: Hash + ?Sized> KeyedLimiter<K> {
    /// Opens, or makes, the table in the file at `path`: one limit for all processes of the machine that
    /// open it with the same quota and capacity. Token buckets; see
    /// [`KeyedBuilder::open_shared`] for other algorithms and all that there is to know.
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
    /// As [`KeyedBuilder::open_shared`].
    pub fn open_shared(
        path: impl AsRef<Path>,
        quota: Quota,
        capacity: usize,
    ) -> Result<Self, SharedError> {
        Self::builder(quota, capacity).open_shared(path)
    }
}

impl<K: ?Sized> KeyedLimiter<K> {
    /// Whether the file of a [shared table](Self::open_shared) is still the one at its path: false
    /// if that has been removed, renamed or replaced, as by a cleaner of temporary files, or if the
    /// path cannot be looked at.
    ///
    /// Such a table goes on for all who have it open, and who opens the path meanwhile gets
    /// another: there are two limits. Ask now and then, as where the process reports its health,
    /// and once it is false [open](Self::open_shared) the path anew in place of this limiter, in
    /// every process. What had been taken stays behind in the old file.
    ///
    /// One system call. Always true of a table that is in no file.
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
    /// Opens, or makes, the table in the file at `path`, with these choices.
    ///
    /// **The file** is made with mode 0600, 24 bytes for each key of the capacity, and only its owner may open it.
    /// A memory file system (`/dev/shm`, `/run`) is the place for it. Of processes that race to make it
    /// one wins, and all use it. The hash key is made with the file, so the same key has the same bucket in
    /// every process. After a reboot the table starts afresh.
    ///
    /// **Keys** of text and of bytes (`str`, `String`, `[u8]`, `Vec<u8>`, `[u8; N]`, and what is behind a reference, `Box`,
    /// `Rc`, `Arc` or `Cow`) are the same keys: `"alice"` of one process and `b"alice"` of another have one bucket. Any
    /// other type is a table of its own: the file says what its keys are, and does not open for others. That is
    /// told by the compiler's name of the type, so that processes which different compilers built may
    /// refuse each other's tables of a type that the newer compiler names otherwise.
    ///
    /// **Processes** may be killed at any instruction: no other ever waits for them. What a thread was killed
    /// over is at most one slot, which is free again when the table is next opened with nobody
    /// else in it ([`reclaimed`](KeyedLimiter::reclaimed) counts).
    ///
    /// **Forks**: a process may fork with the limiter open, whatever its other threads are doing in it, and the child goes on
    /// with it. Callers that wait, and reservations, are of the process in which they began: a child that has inherited
    /// a reservation must [forget](core::mem::forget) it, or its tokens come back twice.
    ///
    /// **The clock** is the machine's monotonic clock, the same for all processes of one time namespace.
    ///
    /// **The path** is looked at once, when the table is opened. A file that is removed or replaced
    /// afterwards is still the table of those who have it open;
    /// [`is_current`](KeyedLimiter::is_current) tells.
    ///
    /// **Damage** to the file's bytes while it is open leads to wrong answers at worst, for the keys
    /// whose slots are hit. Don't shorten the file while it is open: the system then kills whoever touches
    /// the missing part (`SIGBUS`).
    ///
    /// # Errors
    ///
    /// [`SharedError`] says which: the file is somebody else's, a symbolic link, no table, a table of another layout, of other
    /// keys, quota, algorithm or capacity, shortened or corrupt: such a file is left as it is. Or the system's reason;
    /// or another process has been making the table for five seconds, or files were removed from
    /// the path as fast as this one made them.
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
        // The layout is that of the quota that the table was made with.
        let terms = terms(header.kind.quota).map_err(SharedError::Quota)?;
        let timer = schedule.align(timer, &terms, header.unix);
        let timeline = Timeline::new(terms, timer);
        let limiter =
            self.limiter(table, timeline, Seed(header.seed), (waiting, Ledger::new(true)));
        Ok(limiter)
    }
}

/// Opens the file and maps the table, made if need be.
///
/// Between the opening and the lock somebody may remove the file, and with it the table that others
/// will find at the path: then what is there is opened instead.
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

/// The same of this file. Gives up early if that has been removed.
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
            // Others may slip in between: they find the table whole, and nobody at work in it.
            if !lock(file, FlockOperation::NonBlockingLockShared)? {
                continue;
            }
            return Ok((mapping.keep(handle, origin.clone()), header));
        }
        if lock(file, FlockOperation::NonBlockingLockShared)? {
            // Unless its maker was killed between both tries.
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

/// The quota that is asked for must be the one in force, or the one that the table was made with.
fn expect_quota(mapping: &Mapping, header: &Header, wanted: &Kind) -> Result<(), SharedError> {
    let first = header.kind.quota;
    let found = mapping.common().announced.changed().unwrap_or(first);
    if wanted.quota == first || wanted.quota == found {
        return Ok(());
    }
    Err(SharedError::OtherQuota { found })
}

/// A regular file of one's own that nobody else may write to, and not by way of a link.
/// `None`: it has been removed meanwhile.
fn open_file(path: &Path) -> Result<Option<File>, SharedError> {
    // Not to hang on a pipe that somebody has put there.
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

/// Whether the lock was to be had at once.
fn lock(file: &File, operation: FlockOperation) -> Result<bool, SharedError> {
    match rustix::fs::flock(file, operation) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(SharedError::Io { action: "lock", error: io::Error::from(error) }),
    }
}
