//! The names of keys in Redis, and their ids in this process.
//!
//! ```text
//!   prefix:fingerprint{:alice}        a key of up to 256 bytes, as it is
//!   prefix:fingerprint{#5b1f..c09a}   a longer key: its digest, in 64 hexadecimal digits
//! ```
//!
//! A user that chooses its key also chooses how much a call weighs. Four callers with keys of a
//! megabyte fill the one connection and the server's time, so that all others miss the deadline. So
//! a long key goes to Redis as a digest, and only its own caller waits for that. The sign after the
//! brace tells both apart: any text that a user chooses follows a colon.
//!
//! **The digest.** All processes of a limit must agree on it without talking to each other, so its
//! key cannot be secret. It is derived from the prefix, which the configuration and every name in
//! Redis show. A user that finds a second text with another user's digest spends that user's
//! tokens. SipHash-2-4-128 is a pseudo-random function while its key is secret, and promises
//! nothing once it is known. BLAKE3 is made for an adversary that knows everything: a second text
//! takes 2^256 trials, and any two texts of one digest 2^128, since the digest is not shortened. It
//! takes 0.5 ms for a megabyte (AVX2), and needs no C compiler. The quota is no part of its key, so
//! that all limits of a user stay in one slot of a cluster.
//!
//! In this process (in the tables of the fallback, in queues and in leases) the *id* of a long key
//! is its digest too, padded so that it is longer than any key that is its own id.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;
use tokio::task::yield_now;

/// The longest key that is its own id.
const LONGEST: usize = 256;

/// The digits of a digest.
const DIGITS: usize = 2 * blake3::OUT_LEN;

/// The bytes that are hashed at once: this takes 30 us, after which other tasks have their turn.
const CHUNK: usize = 65_536;

/// The key of the digests of one limiter.
pub(crate) struct DigestKey([u8; blake3::KEY_LEN]);

impl DigestKey {
    pub(crate) fn of_prefix(prefix: &str) -> Self {
        let context = "sluicegate 2026-11 names of long keys in Redis";
        Self(blake3::derive_key(context, prefix.as_bytes()))
    }

    /// The id of a key: the key itself, or, if it is long, its digest.
    pub(crate) async fn id<'a>(&self, key: &'a [u8]) -> Cow<'a, [u8]> {
        if key.len() <= LONGEST {
            return Cow::Borrowed(key);
        }
        // Rare, and so not a part of every call's future.
        Cow::Owned(Box::pin(self.long_id(key)).await)
    }

    async fn long_id(&self, key: &[u8]) -> Vec<u8> {
        let mut digest = blake3::Hasher::new_keyed(&self.0);
        for (at, chunk) in key.chunks(CHUNK).enumerate() {
            if at > 0 {
                yield_now().await;
            }
            digest.update(chunk);
        }
        padded(&digest)
    }

    /// The same without a pause.
    pub(crate) fn id_now<'a>(&self, key: &'a [u8]) -> Cow<'a, [u8]> {
        if key.len() <= LONGEST {
            return Cow::Borrowed(key);
        }
        let mut digest = blake3::Hasher::new_keyed(&self.0);
        digest.update(key);
        Cow::Owned(padded(&digest))
    }
}

fn padded(digest: &blake3::Hasher) -> Vec<u8> {
    let mut id = Vec::with_capacity(LONGEST + 1);
    id.extend_from_slice(digest.finalize().to_hex().as_bytes());
    id.resize(LONGEST + 1, 0);
    id
}

/// The sign and the text that follow the head of a limit's names.
fn tag(id: &[u8]) -> (u8, &[u8]) {
    match id.get(..DIGITS) {
        Some(digits) if id.len() > LONGEST => (b'#', digits),
        _ => (b':', id),
    }
}

/// The name in Redis of a key with this id, of a limit whose names have this head.
pub(crate) fn name(head: &[u8], id: &[u8]) -> Vec<u8> {
    let (sign, text) = tag(id);
    let mut name = Vec::with_capacity(length(head, id));
    name.extend_from_slice(head);
    name.push(sign);
    name.extend_from_slice(text);
    name.push(b'}');
    name
}

/// The length of that name, in bytes.
pub(super) fn length(head: &[u8], id: &[u8]) -> usize {
    head.len() + tag(id).1.len() + 2
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec;

    fn long(prefix: &str, key: &[u8]) -> Vec<u8> {
        DigestKey::of_prefix(prefix).id_now(key).into_owned()
    }

    fn text(name: Vec<u8>) -> String {
        String::from_utf8(name).unwrap()
    }

    /// Nodes of different versions count together: the name of a key must never change.
    #[test]
    fn a_long_keys_name_is_its_digest_under_a_sign_of_its_own() {
        let head = b"sluicegate:b1/1s/1{";
        assert_eq!(text(name(head, b"alice")), "sluicegate:b1/1s/1{:alice}");
        assert_eq!(text(name(head, &[b'a'; LONGEST])).len(), head.len() + LONGEST + 2);
        let long = long("sluicegate", &[b'a'; LONGEST + 1]);
        let expected = "85a78ceb07730d8545cc4c38c0ca5c880d6a2a9492a716a8ba6e1cfba823e2bd";
        assert_eq!(text(name(head, &long)), alloc::format!("sluicegate:b1/1s/1{{#{expected}}}"));
        assert_eq!(length(head, &long), name(head, &long).len());
    }

    /// Whatever text is chosen as a key, it is not what stands for another.
    #[test]
    fn no_text_stands_for_a_long_key() {
        let other = long("p", &[7; 1 << 20]);
        let digits = &other[..DIGITS];
        let mut texts = vec![digits.to_vec(), other.clone(), other[..LONGEST].to_vec()];
        texts.push([b"#", digits].concat());
        texts.push([b":}#", digits].concat());
        for chosen in texts {
            let stands = if chosen.len() > LONGEST { long("p", &chosen) } else { chosen };
            assert_ne!(stands, other);
            assert_ne!(name(b"p:f{", &stands), name(b"p:f{", &other));
        }
        assert_ne!(long("p", &[7; 1 << 20]), long("q", &[7; 1 << 20]), "of another prefix");
        assert_eq!(long("p", &[7; 1 << 20]), other);
    }

    /// All limits of a user lie in one slot of a cluster: the slot of the text in the braces.
    #[test]
    fn limits_of_a_long_key_have_their_braces_in_common() {
        let key = long("p", b"}".repeat(300).as_slice());
        let braces = |head: &[u8]| {
            let name = text(name(head, &key));
            let (_, rest) = name.split_once('{').unwrap();
            String::from(rest.split_once('}').unwrap().0)
        };
        assert_eq!(braces(b"p:b1/1s/1{"), braces(b"p:b9/1d/9{"));
        assert_eq!(braces(b"p:b1/1s/1{").len(), 1 + DIGITS);
    }
}
