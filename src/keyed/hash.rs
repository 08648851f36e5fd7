//! Fingerprints of keys: SipHash-1-3 with a random key.
//!
//! `benches/versus.rs` measured three hashes (cases "hashing"). A `u64` takes 9.1 ns, with ahash
//! 4.6 and with foldhash 4.4. A text of 23 bytes takes 14.6, 9.3 and 9.3. Only SipHash was designed
//! as a pseudo-random function against an adversary that chooses the keys and sees the timing.
//! ahash and foldhash are faster and promise less: they resist flooding, without a proof, and not
//! if the adversary sees hashes. A collision here would not slow a map down; it would let one user
//! spend another's tokens.
//!
//! Bytes are hashed as if they were text, so that a shared table has one bucket for `"alice"` and
//! `b"alice"`.

use core::any::type_name;
use core::hash::{Hash, Hasher};
use siphasher::sip::SipHasher13;

/// The secret key of the hash.
#[derive(Clone, Copy)]
pub(super) struct Seed(pub(super) [u64; 2]);

impl Seed {
    /// Draws a random key from the standard library's source of hash keys.
    #[cfg(feature = "std")]
    pub(super) fn random() -> Self {
        use std::hash::BuildHasher;
        let random = std::hash::RandomState::new();
        Self([random.hash_one(0_u64), random.hash_one(1_u64)])
    }

    #[inline(always)]
    pub(super) fn fingerprint<K: Hash + ?Sized>(self, key: &K) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0[0], self.0[1]);
        // The compiler knows the answer, so there is no branch at run time.
        if is_bytes(contents::<K>()) {
            let mut text = AsText(hasher);
            key.hash(&mut text);
            return text.finish();
        }
        key.hash(&mut hasher);
        hasher.finish()
    }
}

/// Hides the key, which is a secret.
impl core::fmt::Debug for Seed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// A hasher that hashes bytes as `str` is hashed: without their number in front, and with a byte
/// behind them that no text contains.
struct AsText(SipHasher13);

impl Hasher for AsText {
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// Ignores the number, which is only ever the length of the bytes.
    #[inline(always)]
    fn write_usize(&mut self, _: usize) {}

    #[inline(always)]
    fn finish(&self) -> u64 {
        let mut hasher = self.0;
        hasher.write_u8(0xff);
        hasher.finish()
    }
}

/// The name that a shared table gives to the types of text and of bytes.
#[cfg(all(unix, feature = "shared"))]
pub(super) const TEXT: &str = "text or bytes";

/// The name of a type of keys. Types whose equal keys have one fingerprint have one name.
#[cfg(all(unix, feature = "shared"))]
pub(super) fn key_type<K: ?Sized>() -> &'static str {
    match contents::<K>() {
        "str" | "alloc::string::String" => TEXT,
        name if is_bytes(name) => TEXT,
        name => name,
    }
}

#[inline(always)]
fn is_bytes(name: &str) -> bool {
    name == "[u8]" || name == "alloc::vec::Vec<u8>" || name.starts_with("[u8; ")
}

/// The name of the type whose hash `K` has: the type behind at most two references or pointers.
#[inline(always)]
fn contents<K: ?Sized>() -> &'static str {
    behind(behind(type_name::<K>()))
}

/// The type behind a reference or a pointer. It has no loop, so that the compiler can evaluate it.
#[inline(always)]
fn behind(name: &'static str) -> &'static str {
    let inside = |pointer| name.strip_prefix(pointer)?.strip_suffix(">");
    name.strip_prefix("&mut ")
        .or_else(|| name.strip_prefix("&"))
        .or_else(|| inside("alloc::boxed::Box<"))
        .or_else(|| inside("alloc::sync::Arc<"))
        .or_else(|| inside("alloc::rc::Rc<"))
        // Some compilers name the lifetime, and some do not.
        .or_else(|| inside("alloc::borrow::Cow<'_, "))
        .or_else(|| inside("alloc::borrow::Cow<"))
        .unwrap_or(name)
}
