//! The cost of hashing a key, which a keyed limiter does first.
//!
//! Each hash waits for the one before it, as a table's first load waits for its key's hash.

use crate::harness::{Case, Contestant, Expect, Kind, Run, Turn};
use siphasher::sip::SipHasher13;
use std::hash::{BuildHasher, Hash};
use std::hint::black_box;

const KEYS: usize = 1 << 8;

/// Hashes a key that the previous hash chose.
struct Chain<K, S> {
    keys: Vec<K>,
    hasher: S,
}

impl<K: Hash + Send + Sync, S: BuildHasher + Send + Sync> Run for Chain<K, S> {
    #[inline(never)]
    fn run(&self, start: u64, ops: u64) -> u64 {
        let mut hash = start;
        for _ in 0..ops {
            hash = self.hasher.hash_one(black_box(&self.keys[hash as usize % KEYS]));
        }
        black_box(hash);
        ops
    }
}

struct Sip(u64, u64);

impl BuildHasher for Sip {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

fn case<K: Hash + Clone + Send + Sync + 'static>(
    name: &'static str,
    about: &str,
    keys: Vec<K>,
    turn: Turn,
) -> Case {
    let copy = || keys.clone();
    let sip = Chain { keys: copy(), hasher: Sip(black_box(1), black_box(2)) };
    let std = Chain { keys: copy(), hasher: std::hash::RandomState::new() };
    let ahash = Chain { keys: copy(), hasher: ahash::RandomState::new() };
    let fold = Chain { keys: copy(), hasher: foldhash::quality::RandomState::default() };
    Case {
        name,
        about: about.into(),
        contestants: vec![
            Contestant::chain("SipHash-1-3, as sluicegate", Kind::Ours, sip),
            Contestant::chain("std RandomState, as DashMap", Kind::Peer, std),
            Contestant::chain("ahash", Kind::Peer, ahash),
            Contestant::chain("foldhash quality", Kind::Peer, fold),
        ],
        expect: Expect::AllAdmitted,
        threads: 1,
        turn,
        baseline: "SipHash-1-3, as sluicegate",
        goals: Vec::new(),
    }
}

pub(crate) fn of_u64(_: usize, turn: Turn) -> Case {
    let keys = (0..KEYS as u64).map(|key| key.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
    case("hashing u64", "One hash after the other, of a key that the last one chose;", keys, turn)
}

pub(crate) fn of_str(_: usize, turn: Turn) -> Case {
    let keys: Vec<String> = (0..KEYS).map(|key| format!("session-{key:015x}")).collect();
    assert!(keys.iter().all(|key| key.len() == 23));
    case("hashing str", "As hashing u64, with texts of 23 bytes;", keys, turn)
}
