//! A file that is corrupt in any byte: wrong answers at worst, never a panic or an endless loop.

use proptest::prelude::*;
use sluicegate::{Algorithm, KeyedLimiter, Quota, WhenFull};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::TokenBucket,
    Algorithm::LeakyBucket,
    Algorithm::FixedWindow,
    Algorithm::SlidingWindow,
];
const POLICIES: [WhenFull; 3] = [WhenFull::Evict, WhenFull::Deny, WhenFull::Share];

/// What is done to the file between two uses.
#[derive(Clone, Debug)]
enum Harm {
    /// A byte becomes another.
    Byte(u64, u8),
    /// A slot's word gets any state and value.
    Word(u64, u64),
    /// A word of the first page gets any value.
    Page(u64, u64),
    /// All of the lines become this byte.
    Fill(u8),
}

fn ends() -> impl Strategy<Value = u64> {
    prop_oneof![0..4_u64, Just(u64::MAX), Just(1 << 63), Just((1 << 63) - 1), any::<u64>()]
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        8 => (any::<u64>(), any::<u8>()).prop_map(|(at, byte)| Harm::Byte(at, byte)),
        8 => (any::<u64>(), any::<u64>()).prop_map(|(at, word)| Harm::Word(at, word)),
        // The ends of every field.
        2 => (any::<u64>(), 0..4_u64)
            .prop_map(|(at, state)| Harm::Word(at, state << 62 | !(3 << 62))),
        4 => (any::<u64>(), any::<u64>()).prop_map(|(at, word)| Harm::Page(at, word)),
        // The generation of the quota, and the changes that it chooses from.
        4 => (96..122_u64, ends()).prop_map(|(at, word)| Harm::Page(at, word)),
        1 => any::<u8>().prop_map(Harm::Fill),
    ]
}

/// Every verb, of keys with and without slots; figures are computed too.
fn use_it(limiter: &KeyedLimiter<u64>, keys: u64) {
    let mut answers = Vec::new();
    for key in 0..keys {
        for answer in [
            limiter.check(&key),
            limiter.check_n(&key, 3),
            limiter.check_up_to(&key, u64::MAX),
            limiter.peek(&key, 2),
        ] {
            match answer {
                Ok(grant) => {
                    assert!(grant.granted() <= grant.limit());
                    let _ = (grant.remaining(), grant.reset_after());
                }
                Err(denied) => {
                    let _ = (denied.retry_after(), denied.reset_after(), denied.remaining());
                }
            }
        }
        let _ = (limiter.charge(&key, 2), limiter.available(&key), limiter.level(&key));
        limiter.refund(&key, 1);
        if key % 5 == 0 {
            limiter.reset(&key);
        }
    }
    limiter.check_many(&(0..keys).collect::<Vec<_>>(), &mut answers);
    assert_eq!(answers.len() as u64, keys);
    let _ = (limiter.len(), limiter.evictions(), limiter.reclaimed());
    // It may be refused, and must come to an end.
    let quota = limiter.quota();
    let _ = limiter.set_quota(quota.burst(quota.burst_size()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]
    #[test]
    fn any_bytes_are_survived(
        algorithm in 0..4_usize,
        policy in 0..3_usize,
        period in prop_oneof![Just("second"), Just("day"), Just("3 ms"), Just("3000 days")],
        harms in prop::collection::vec(harm(), 1..40),
    ) {
        let quota: Quota = format!("7/{period}").parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        let open = || {
            let builder = KeyedLimiter::<u64>::builder(quota, 24).when_full(POLICIES[policy]);
            builder.algorithm(ALGORITHMS[algorithm]).open_shared(&path)
        };
        let limiter = open().unwrap();
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let size = file.metadata().unwrap().len();
        use_it(&limiter, 40);
        for harm in harms {
            match harm {
                Harm::Byte(at, byte) => file.write_all_at(&[byte], at % size).unwrap(),
                Harm::Word(at, word) => {
                    let lines = (size - 4_096) / 64;
                    let at = 4_096 + at % lines * 64 + 32 + (at >> 32) % 4 * 8;
                    file.write_all_at(&word.to_ne_bytes(), at).unwrap();
                }
                Harm::Page(at, word) => {
                    file.write_all_at(&word.to_ne_bytes(), at % 512 * 8).unwrap();
                }
                Harm::Fill(byte) => {
                    file.write_all_at(&vec![byte; size as usize - 4_096], 4_096).unwrap();
                }
            }
            use_it(&limiter, 40);
        }
        // Opened anew it is refused, or used.
        drop(limiter);
        match open() {
            Ok(limiter) => use_it(&limiter, 40),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
