//! Keys that share a bucket while the table has no slot for them.

use crate::keyed::{KeyedLimiter, WhenFull};
use crate::quota::Quota;

/// A keyed limiter of two slots, both taken, at a time that stands still. Each bucket holds one
/// token.
#[derive(Debug)]
pub struct Sharing(KeyedLimiter<u64>);

/// The two keys that have the slots.
const RESIDENTS: [u64; 2] = [0, 1];
/// A key without a slot.
const KEY: u64 = 100;

impl Default for Sharing {
    fn default() -> Self {
        Self::new()
    }
}

impl Sharing {
    /// Makes a full table, and a key that shares.
    ///
    /// # Panics
    ///
    /// If the table has other than two slots.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a model's figures are its own")]
    pub fn new() -> Self {
        let builder = KeyedLimiter::builder(Quota::per_day(1), 1).seed([1, 2]);
        let clock = crate::clock::ManualClock::new();
        let builder = builder.when_full(WhenFull::Share).clock(clock);
        let limiter = builder.build().expect("a limiter that can be");
        RESIDENTS.iter().for_each(|key| {
            limiter.charge(key, 1);
        });
        assert_eq!(limiter.len(), RESIDENTS.len(), "a table of two slots");
        Self(limiter)
    }

    /// Takes a token for the key that has no slot.
    #[must_use]
    pub fn check(&self) -> bool {
        self.0.check(&KEY).is_ok()
    }

    /// Frees a slot.
    pub fn make_room(&self) {
        self.0.reset(&RESIDENTS[0]);
    }
}
