//! The system's clocks.

use super::{Arc, AtomicU64, Clock, Duration, Reading, Relaxed, Source, time_of_day};
use crate::sync::process;
use std::io;
use std::sync::Weak;
use std::thread;

/// The operating system's monotonic clock.
///
/// On Unix it reads `CLOCK_MONOTONIC`, the same in every process of the machine; elsewhere it is
/// [`std::time::Instant`], the same within the process. A reading takes about 25 ns.
#[derive(Clone, Copy, Debug, Default)]
pub struct MonotonicClock(());

impl MonotonicClock {
    /// Returns the machine's clock.
    #[must_use]
    pub fn new() -> Self {
        Self(())
    }
}

impl Clock for MonotonicClock {
    #[cfg(unix)]
    fn nanos(&self) -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        // Never negative: it counts from a moment at or before the start of the machine.
        (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
    }

    #[cfg(not(unix))]
    fn nanos(&self) -> u64 {
        static ORIGIN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        super::saturating_nanos(ORIGIN.get_or_init(std::time::Instant::now).elapsed())
    }

    fn unix_nanos(&self) -> u64 {
        time_of_day()
    }

    fn into_source(self) -> Source {
        Source(Reading::Monotonic(self))
    }
}

/// A clock that costs one atomic load to read, because a thread of its own keeps it up to date.
///
/// The thread reads the system's monotonic clock every `resolution` and ends when the last clone of
/// the clock is dropped. A reading is behind the true time by at most the resolution and the delay
/// with which the system wakes the thread (under a millisecond on an idle machine, unbounded on one
/// without a free core), and never ahead of it. So a limiter on it may deny for that delay too
/// long, and never admits more than the limit. Clones share the time and the thread.
///
/// A forked child has no such thread, so there the time stands still, and nothing flows, until
/// [`resume`](Self::resume) is called or a limiter is built on a clone of the clock.
#[derive(Clone, Debug)]
pub struct CoarseClock(Arc<Ticker>);

#[derive(Debug)]
struct Ticker {
    now: AtomicU64,
    resolution: Duration,
    thread: thread::Thread,
    /// The process that has the thread.
    process: AtomicU64,
}

/// Keeps a clock up to date until its last clone is dropped.
fn tick(ticker: &Weak<Ticker>, resolution: Duration) {
    while let Some(ticker) = ticker.upgrade() {
        ticker.now.store(MonotonicClock::new().nanos(), Relaxed);
        drop(ticker);
        thread::park_timeout(resolution);
    }
}

fn in_thread(run: impl FnOnce() + Send + 'static) -> io::Result<thread::Thread> {
    let thread = thread::Builder::new().name("sluicegate-clock".into()).spawn(run)?;
    Ok(thread.thread().clone())
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.thread.unpark();
    }
}

impl CoarseClock {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// A resolution of zero, or the system's reason for not starting a thread.
    pub fn start(resolution: Duration) -> io::Result<Self> {
        if resolution.is_zero() {
            let why = "a coarse clock's resolution must be over zero";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let (send, receive) = std::sync::mpsc::sync_channel::<Weak<Ticker>>(1);
        let thread = in_thread(move || {
            if let Ok(ticker) = receive.recv() {
                tick(&ticker, resolution);
            }
        })?;
        let now = AtomicU64::new(MonotonicClock::new().nanos());
        let process = AtomicU64::new(process());
        let ticker = Arc::new(Ticker { now, resolution, thread, process });
        // The thread waits for this one message, so the channel is open and empty.
        let _ = send.send(Arc::downgrade(&ticker));
        Ok(Self(ticker))
    }

    /// Resumes the clock in a forked child, for all clones: starts the thread that the child lacks.
    /// Does nothing in a process that has it.
    ///
    /// Call it in the child of a server that forks its workers, where the worker begins.
    ///
    /// # Errors
    ///
    /// The system's reason for not starting a thread.
    pub fn resume(&self) -> io::Result<()> {
        let (ticker, process) = (&self.0, process());
        let seen = ticker.process.load(Relaxed);
        // If two threads find the clock standing still, one of them starts it.
        if seen == process
            || ticker.process.compare_exchange(seen, process, Relaxed, Relaxed).is_err()
        {
            return Ok(());
        }
        ticker.now.store(MonotonicClock::new().nanos(), Relaxed);
        let (weak, resolution) = (Arc::downgrade(ticker), ticker.resolution);
        let started = in_thread(move || tick(&weak, resolution));
        if started.is_err() {
            ticker.process.store(seen, Relaxed);
        }
        started.map(|_| ())
    }
}

impl Clock for CoarseClock {
    #[inline(always)]
    fn nanos(&self) -> u64 {
        self.0.now.load(Relaxed)
    }

    fn unix_nanos(&self) -> u64 {
        time_of_day()
    }

    fn into_source(self) -> Source {
        // Without a thread the clock stands still, as it did.
        let _ = self.resume();
        Source(Reading::Coarse(self))
    }
}
