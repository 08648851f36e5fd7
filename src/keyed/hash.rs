//! Fingerprints: SipHash-1-3 with a random key.
//!
//! Of the hashes that were measured (`benches/versus.rs`, cases "hashing"; a `u64` 9.1 ns, with ahash 4.6,
//! foldhash 4.4; a text of 23 bytes 14.6, 9.3 and 9.3) only SipHash was designed as a
//! pseudo-random function against an adversary who chooses the keys and sees the timing; ahash and foldhash
//! are faster and promise less (resistance to flooding without a proof; none against one who sees hashes).
//! A collision here would not slow a map down, it would let a user spend another's tokens.

use core::hash::{Hash, Hasher};
use siphasher::sip::SipHasher13;

/// The key of the hash.
#[derive(Clone, Copy)]
pub(super) struct Seed(pub(super) [u64; 2]);

impl Seed {
    /// A random one, from the standard library's source of hash keys.
    #[cfg(feature = "std")]
    pub(super) fn random() -> Self {
        use std::hash::BuildHasher;
        let random = std::hash::RandomState::new();
        Self([random.hash_one(0_u64), random.hash_one(1_u64)])
    }

    #[inline(always)]
    pub(super) fn fingerprint<K: Hash + ?Sized>(self, key: &K) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0[0], self.0[1]);
        key.hash(&mut hasher);
        hasher.finish()
    }
}

/// A hash key is a secret.
impl core::fmt::Debug for Seed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Seed(..)")
    }
}
