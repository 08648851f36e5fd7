//! How long the machine itself has kept everybody from running, which a test of a deadline must not
//! blame on whom it tests.

#![allow(unreachable_pub, reason = "a module of tests")]

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(5);
/// A thread that sleeps is not woken at once.
const USUAL: Duration = Duration::from_millis(20);

/// In milliseconds, since the first watch.
static STALLED: AtomicU64 = AtomicU64::new(0);

/// From when it is made.
pub struct Watch {
    began: Instant,
    stalled: u64,
}

impl Watch {
    pub fn start() -> Self {
        static WATCHING: Once = Once::new();
        WATCHING.call_once(|| {
            std::thread::spawn(|| {
                loop {
                    let began = Instant::now();
                    std::thread::sleep(TICK);
                    let over = began.elapsed().saturating_sub(TICK);
                    if over > USUAL {
                        STALLED.fetch_add(over.as_millis() as u64, Ordering::Relaxed);
                    }
                }
            });
        });
        Self { began: Instant::now(), stalled: STALLED.load(Ordering::Relaxed) }
    }

    /// Whether no more time has passed than this, and than the machine has taken.
    pub fn is_within(&self, limit: Duration) -> bool {
        let elapsed = self.began.elapsed();
        if elapsed <= limit {
            return true;
        }
        // Who counts may not have been woken yet.
        std::thread::sleep(TICK + USUAL);
        let stalled = STALLED.load(Ordering::Relaxed) - self.stalled;
        elapsed <= limit + Duration::from_millis(stalled)
    }
}
