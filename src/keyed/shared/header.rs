//! The header of a shared table's file: its layout, its limit, and its hash key.
//!
//! ```text
//!   word  0  magic            1  layout     2  lines      3  capacity
//!         4  algorithm        5  count      6  period     7  burst
//!         8  hash seed (2)   10  boot (2)  12  epoch     13  time of day
//!        14  schedule        15  checksum of all others but the magic
//!        16  the name of the keys' type, as text, cut to its 32 words
//! ```

use super::super::hash::Seed;
use super::error::SharedError;
use super::mapping::bytes;
use crate::algorithm::Algorithm;
use crate::clock::{Clock, MonotonicClock};
use crate::quota::Quota;
use crate::timeline::Schedule;
use alloc::string::String;
use core::hash::Hasher;
use siphasher::sip::SipHasher13;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const FIELDS: usize = NAME + 32;
/// The first word of the keys' type name.
const NAME: usize = 16;
const CHECKSUM: usize = 15;

const MAGIC: u64 = u64::from_ne_bytes(*b"SLUICEGT");
/// The magic number of a table that its maker has not finished.
const UNFINISHED: u64 = u64::from_ne_bytes(*b"SLUICEG.");
/// The number of the layout. It changes with every change of the header, the lines, the word, or
/// the fingerprint.
const LAYOUT: u64 = 4;

/// The description of a table, which must match that of the limiter that opens it.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub(super) quota: Quota,
    pub(super) algorithm: Algorithm,
    pub(super) capacity: u64,
    pub(super) lines: u64,
    pub(super) schedule: Schedule,
    /// The name of the keys' type.
    pub(super) keys: Name,
}

/// The name of a type, cut to the words that it has here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name([u64; FIELDS - NAME]);

impl Name {
    pub(super) fn of(name: &str) -> Self {
        let mut words = [0; FIELDS - NAME];
        for (word, bytes) in words.iter_mut().zip(name.as_bytes().chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_ne_bytes(whole);
        }
        Self(words)
    }

    fn text(&self) -> String {
        let bytes = self.0.map(u64::to_ne_bytes);
        String::from_utf8_lossy(bytes.as_flattened()).trim_end_matches('\0').into()
    }
}

#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) seed: [u64; 2],
    boot: [u64; 2],
    /// The monotonic clock's nanoseconds at token time zero.
    pub(super) epoch: u64,
    /// The same moment by the system's calendar, in nanoseconds since the Unix epoch.
    pub(super) unix: u64,
}

impl Header {
    /// Reads the header of a finished table. `None`: the table is not made yet.
    pub(super) fn read(file: &File) -> Result<Option<Self>, SharedError> {
        let (words, read) = read(file).map_err(|error| io_error("read", error))?;
        match words[0] {
            _ if read == 0 => return Ok(None),
            UNFINISHED => return Ok(None),
            MAGIC => {}
            _ => return Err(SharedError::NotATable),
        }
        let length = length(file)?;
        if read < 8 * FIELDS {
            return Err(SharedError::Truncated { bytes: length, expected: bytes(2) });
        }
        if words[1] != LAYOUT {
            return Err(SharedError::Layout { found: words[1], known: LAYOUT });
        }
        if words[CHECKSUM] != checksum(&words) {
            return Err(SharedError::Corrupt);
        }
        let quota = Quota::from_words(words[5], words[6], words[7]);
        let Some(algorithm) = Algorithm::of_code(words[4]) else {
            return Err(SharedError::Corrupt);
        };
        let Some(quota) = quota.filter(|quota| quota.burst_size() > 0) else {
            return Err(SharedError::Corrupt);
        };
        // A process of 64 bits may have made them larger than this one can map.
        let (lines, capacity) = (words[2], words[3]);
        let schedule = Schedule::from_code(words[14]);
        let keys = Name(core::array::from_fn(|i| words[NAME + i]));
        let kind = Kind { quota, algorithm, capacity, lines, schedule, keys };
        let (seed, boot) = ([words[8], words[9]], [words[10], words[11]]);
        Ok(Some(Self { kind, seed, boot, epoch: words[12], unix: words[13] }))
    }

    /// Checks that the table is the wanted one, and complete. Its lines tell which quota is in
    /// force.
    pub(super) fn expect(&self, wanted: &Kind, file: &File) -> Result<(), SharedError> {
        let found = &self.kind;
        if found.keys != wanted.keys {
            let (found, wanted) = (found.keys.text(), wanted.keys.text());
            return Err(SharedError::KeyType { found, wanted });
        }
        if found.algorithm != wanted.algorithm {
            return Err(SharedError::Algorithm { found: found.algorithm });
        }
        if found.schedule != wanted.schedule {
            return Err(SharedError::Periods);
        }
        if found.capacity != wanted.capacity || found.lines != wanted.lines {
            return Err(SharedError::Capacity { found: found.capacity });
        }
        let (length, expected) = (length(file)?, bytes(wanted.lines));
        if length < expected {
            return Err(SharedError::Truncated { bytes: length, expected });
        }
        Ok(())
    }

    /// Tells whether the epoch is one of the clock that runs now.
    pub(super) fn is_of_this_boot(&self) -> bool {
        self.boot == boot() && self.epoch <= MonotonicClock::new().nanos()
    }

    /// Makes an empty table of the file. The caller has the exclusive lock.
    pub(super) fn create(file: &File, kind: &Kind) -> Result<Self, SharedError> {
        let kind = kind.clone();
        let clock = MonotonicClock::new();
        let (epoch, unix) = (clock.nanos(), clock.unix_nanos());
        let header = Self { kind, seed: Seed::random().0, boot: boot(), epoch, unix };
        header.write(file).map_err(|error| io_error("make a table of", error))?;
        Ok(header)
    }

    /// Writes the header. After each step but the last, [`read`](Self::read) takes the file for
    /// unfinished.
    fn write(&self, file: &File) -> io::Result<()> {
        let Self { kind, seed, boot, epoch, unix } = self;
        file.set_len(0)?;
        file.write_all_at(&UNFINISHED.to_ne_bytes(), 0)?;
        allocate(file, bytes(kind.lines))?;
        let mut words = [0; FIELDS];
        let before_checksum = [
            UNFINISHED,
            LAYOUT,
            kind.lines,
            kind.capacity,
            kind.algorithm.code(),
            kind.quota.count(),
            kind.quota.period_ns(),
            kind.quota.burst_size(),
            seed[0],
            seed[1],
            boot[0],
            boot[1],
            *epoch,
            *unix,
            kind.schedule.code(),
        ];
        words[..CHECKSUM].copy_from_slice(&before_checksum);
        words[NAME..].copy_from_slice(&kind.keys.0);
        words[CHECKSUM] = checksum(&words);
        file.write_all_at(words.map(u64::to_ne_bytes).as_flattened(), 0)?;
        file.write_all_at(&MAGIC.to_ne_bytes(), 0)
    }
}

/// Reads the header's words as far as the file goes. Returns the number of its bytes, too.
fn read(file: &File) -> io::Result<([u64; FIELDS], usize)> {
    let mut bytes = [0; 8 * FIELDS];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut words = [0; FIELDS];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    Ok((words, filled))
}

/// Allocates the file's bytes on the disk. Otherwise, if the disk filled up later, the system would
/// kill a process that touches a page.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    file.set_len(bytes)?;
    #[cfg(target_os = "linux")]
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn length(file: &File) -> Result<u64, SharedError> {
    file.metadata().map(|meta| meta.len()).map_err(|error| io_error("look at", error))
}

fn io_error(action: &'static str, error: io::Error) -> SharedError {
    SharedError::Io { action, error }
}

/// Computes the checksum of all words but the magic number and the checksum itself.
fn checksum(words: &[u64; FIELDS]) -> u64 {
    let mut hasher = SipHasher13::new();
    let fields = words[1..CHECKSUM].iter().chain(&words[NAME..]);
    fields.for_each(|word| hasher.write_u64(*word));
    hasher.finish()
}

/// Reads a number that differs between two boots of a machine. It is zero if the system has none;
/// then only a clock that is behind the epoch reveals a reboot.
fn boot() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits = text.chars().filter_map(|c| c.to_digit(16));
    let number = digits.fold(0, |number: u128, digit| number << 4 | u128::from(digit));
    [(number >> 64) as u64, number as u64]
}
