//! One table in a file: what two limiters that open it have in common, and what is refused.

use sluicegate::{Algorithm, KeyedLimiter, ManualClock, Quota, SharedError, WhenFull};
use std::any::type_name;
use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::hash::Hash;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const QUOTA: Quota = Quota::per_hour(10);
/// The header's page; after it come lines of four tags and four words.
const PAGE: u64 = 4_096;

fn open(path: &Path) -> Result<KeyedLimiter<str>, SharedError> {
    KeyedLimiter::open_shared(path, QUOTA, 1_000)
}

fn granted(limiter: &KeyedLimiter<str>, key: &str) -> u64 {
    limiter.check_up_to(key, u64::MAX).map_or(0, |grant| grant.granted())
}

fn in_folder(test: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    test(&folder.path().join("table"));
}

/// A whole table of an earlier use, with 3 of alice's tokens taken.
fn used(path: &Path) {
    assert!(open(path).unwrap().check_n("alice", 3).is_ok());
}

fn bytes(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

#[test]
fn two_limiters_on_one_file_are_one_limit() {
    in_folder(|path| {
        let (a, b) = (open(path).unwrap(), open(path).unwrap());
        assert!(a.check_n("alice", 7).is_ok() && b.check_n("alice", 4).is_err());
        assert_eq!((b.available("alice"), a.available("bob")), (3, 10));
        b.refund("alice", 2);
        assert_eq!(granted(&a, "alice"), 5);
        assert!(b.charge("alice", 10) > Duration::from_secs(3_500));
        assert_eq!(a.available("alice"), -10);
        b.reset("alice");
        assert_eq!((granted(&a, "alice"), granted(&b, "alice")), (10, 0));
        let mut answers = Vec::new();
        b.check_many(&["alice", "carol"], &mut answers);
        assert!(answers[0].is_err() && answers[1].is_ok());
        assert_eq!((a.len(), a.capacity(), a.evictions(), a.reclaimed()), (2, 1_000, 0, 0));
        assert!((24_000..40_000).contains(&a.memory()));
    });
}

#[test]
fn every_algorithm_is_shared() {
    let algorithms = [
        Algorithm::TokenBucket,
        Algorithm::LeakyBucket,
        Algorithm::FixedWindow,
        Algorithm::SlidingWindow,
    ];
    for algorithm in algorithms {
        in_folder(|path| {
            let open = || {
                let builder = KeyedLimiter::<str>::builder(QUOTA, 100).algorithm(algorithm);
                builder.open_shared(path).unwrap()
            };
            let (a, b) = (open(), open());
            assert_eq!((a.algorithm(), granted(&a, "x"), granted(&b, "x")), (algorithm, 10, 0));
        });
    }
}

/// What keys without a slot share is in the file too, and so is the count of evictions.
#[test]
fn what_belongs_to_no_key_is_shared() {
    in_folder(|path| {
        let open = |policy| {
            let builder = KeyedLimiter::<u64>::builder(QUOTA, 1).when_full(policy);
            builder.open_shared(path).unwrap()
        };
        let (a, b) = (open(WhenFull::Share), open(WhenFull::Share));
        let all: usize = (0..100).map(|key| usize::from(a.check_n(&key, 10).is_ok())).sum();
        assert_eq!(all, 8 + 1, "eight slots, and one bucket for the others");
        assert!((100..200).all(|key| b.check(&key).is_err()));
        let evicting = open(WhenFull::Evict);
        assert!(evicting.check(&1_000).is_err(), "it would begin with what it displaces");
        assert!(!evicting.charge(&1_000, 1).is_zero());
        assert_eq!((a.evictions(), b.evictions()), (1, 1));
    });
}

#[test]
fn state_outlives_the_processes() {
    in_folder(|path| {
        used(path);
        let limiter = open(path).unwrap();
        assert_eq!((limiter.available("alice"), limiter.available("bob")), (7, 10));
    });
}

#[test]
fn file_is_private_and_of_full_size() {
    in_folder(|path| {
        used(path);
        let meta = fs::metadata(path).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        assert_eq!(meta.len(), PAGE + 374 * 64 + 12 * 8);
        // With room on the disk: nobody is killed later because it is full.
        assert!(meta.blocks() * 512 >= meta.len());
    });
}

/// Each is refused with a reason of its own, and the file stays as it is, to the byte.
#[test]
fn files_of_something_else_are_refused_untouched() {
    let refused = |path: &Path, expected: &str| {
        let before = bytes(path);
        let error = open(path).map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(bytes(path), before, "{error}");
    };
    for (text, expected) in [
        ("x", "the file is not a table of sluicegate"),
        ("a letter to somebody", "the file is not a table of sluicegate"),
        ("SLUICEGT", "the file has 8 bytes of at least 4232"),
    ] {
        in_folder(|path| {
            fs::write(path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
            refused(path, expected);
        });
    }
    let damaged = |at: u64, word: u64, expected: &str| {
        in_folder(|path| {
            used(path);
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(&word.to_ne_bytes(), 8 * at).unwrap();
            refused(path, expected);
        });
    };
    damaged(1, 9, "the table has layout 9, this version knows layout 4");
    for field in 2..48 {
        damaged(field, 77, "the table's header is corrupt");
    }
    in_folder(|path| {
        used(path);
        OpenOptions::new().write(true).open(path).unwrap().set_len(PAGE + 999).unwrap();
        refused(path, "the file has 5095 bytes of at least 28128");
    });
    in_folder(|path| {
        used(path);
        fs::set_permissions(path, fs::Permissions::from_mode(0o622)).unwrap();
        refused(path, "the file must be this user's, writable to no other user, and have one name");
    });
    in_folder(|path| {
        used(path);
        fs::hard_link(path, path.with_extension("other")).unwrap();
        refused(path, "the file must be this user's, writable to no other user, and have one name");
    });
}

#[test]
fn tables_of_other_limits_are_refused_untouched() {
    in_folder(|path| {
        used(path);
        let before = bytes(path);
        let error = |answer: Result<KeyedLimiter<str>, _>| answer.map(|_| ()).unwrap_err();
        let other = error(KeyedLimiter::open_shared(path, QUOTA.burst(11), 1_000));
        assert!(matches!(other, SharedError::OtherQuota { found } if found == QUOTA));
        let other = error(KeyedLimiter::open_shared(path, QUOTA, 1_001));
        assert!(matches!(other, SharedError::Capacity { found: 1_000 }));
        let other = KeyedLimiter::builder(QUOTA, 1_000).leaky_bucket().open_shared(path);
        let other = error(other);
        assert!(matches!(other, SharedError::Algorithm { found: Algorithm::TokenBucket }));
        assert_eq!(bytes(path), before);
    });
}

/// What a process drew of the key is gone for the other, whatever type names it.
#[test]
fn text_and_bytes_of_a_user_have_one_bucket() {
    fn next<K: Hash + ?Sized>(path: &Path, key: &K, left: &mut i64) {
        let limiter = KeyedLimiter::<K>::open_shared(path, QUOTA.burst(20), 1_000).unwrap();
        let mut answers = Vec::new();
        limiter.check_many(&[key], &mut answers);
        *left -= 1;
        assert_eq!(answers[0].unwrap().remaining() as i64, *left, "{}", type_name::<K>());
        assert_eq!(limiter.available(key), *left);
    }
    in_folder(|path| {
        // With a null and a byte that no text has, the longest that is hashed at once, and none at
        // all.
        for key in ["alice", "a", "\0\u{ff}", "a longer name of a user", ""] {
            let (bytes, left) = (key.as_bytes(), &mut 20);
            next::<str>(path, key, left);
            next::<[u8]>(path, bytes, left);
            next::<String>(path, &key.into(), left);
            next::<Vec<u8>>(path, &bytes.into(), left);
            next::<&str>(path, &key, left);
            next::<&[u8]>(path, &bytes, left);
            next::<Box<str>>(path, &Box::from(key), left);
            next::<Arc<[u8]>>(path, &bytes.into(), left);
            next::<Rc<Vec<u8>>>(path, &Rc::new(bytes.into()), left);
            next::<Cow<'_, str>>(path, &key.into(), left);
            next::<Cow<'_, [u8]>>(path, &bytes.into(), left);
            next::<&Cow<'_, [u8]>>(path, &&bytes.into(), left);
        }
        let mut left = 20;
        next::<[u8; 4]>(path, b"four", &mut left);
        next::<&[u8; 4]>(path, &b"four", &mut left);
        next::<str>(path, "four", &mut left);
        let other = KeyedLimiter::<[u8]>::open_shared(path, QUOTA.burst(20), 1_000).unwrap();
        assert_eq!(other.available(b"four\xff"), 20, "another name, although text ends so");
    });
}

#[test]
fn keys_of_another_type_are_refused_untouched() {
    fn refused<K: Hash + ?Sized>(path: &Path, expected: &str) {
        let before = bytes(path);
        let opened = KeyedLimiter::<K>::open_shared(path, QUOTA, 1_000);
        let error = opened.map(|_| ()).unwrap_err();
        assert!(matches!(error, SharedError::KeyType { .. }));
        assert_eq!(error.to_string(), expected);
        assert_eq!(bytes(path), before);
    }
    in_folder(|path| {
        used(path);
        refused::<u64>(path, "the table's keys are text or bytes, the limiter's are u64");
        refused::<&&&str>(path, "the table's keys are text or bytes, the limiter's are &str");
    });
    in_folder(|path| {
        drop(KeyedLimiter::<(u32, String)>::open_shared(path, QUOTA, 1_000).unwrap());
        let name = "(u32, alloc::string::String)";
        refused::<str>(
            path,
            &format!("the table's keys are {name}, the limiter's are text or bytes"),
        );
        refused::<[u16]>(path, &format!("the table's keys are {name}, the limiter's are [u16]"));
        assert!(KeyedLimiter::<&(u32, String)>::open_shared(path, QUOTA, 1_000).is_ok());
    });
    // A name that does not fit is cut, and still is told apart.
    type Long = (Text4, Text4, Text4, Text4);
    type Text4 = (String, String, String, String);
    in_folder(|path| {
        drop(KeyedLimiter::<Long>::open_shared(path, QUOTA, 1_000).unwrap());
        assert!(KeyedLimiter::<Long>::open_shared(path, QUOTA, 1_000).is_ok());
        let found = &type_name::<Long>()[..256];
        refused::<u64>(path, &format!("the table's keys are {found}, the limiter's are u64"));
    });
}

#[test]
fn links_folders_and_pipes_are_not_followed() {
    in_folder(|path| {
        let target = path.with_extension("target");
        for exists in [false, true] {
            if exists {
                File::create(&target).unwrap();
            }
            symlink(&target, path).unwrap();
            assert!(matches!(open(path), Err(SharedError::NotAFile)), "{exists}");
            assert_eq!(target.exists(), exists, "nothing was made behind the link");
            fs::remove_file(path).unwrap();
        }
        fs::create_dir(path).unwrap();
        assert!(matches!(open(path), Err(SharedError::NotAFile)));
        fs::remove_dir(path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success());
        assert!(matches!(open(path), Err(SharedError::NotAFile)), "nor waited for");
    });
}

#[test]
fn what_cannot_be_is_said() {
    in_folder(|path| {
        let builder = || KeyedLimiter::<str>::builder(QUOTA, 1_000);
        let error = |answer: Result<KeyedLimiter<str>, _>| answer.map(|_| ()).unwrap_err();
        let clock = error(builder().clock(ManualClock::new()).open_shared(path));
        assert_eq!(clock.to_string(), "clock must be left out of a shared table");
        assert!(matches!(
            error(builder().seed([1, 2]).open_shared(path)),
            SharedError::Option("seed")
        ));
        let none = error(KeyedLimiter::open_shared(path, QUOTA, 0));
        assert_eq!(none.to_string(), "capacity must be from 1 to 2^40 keys");
        assert!(!path.exists(), "no file is made for a limit that cannot be");
        let error = error(open(&path.join("not/there")));
        assert!(error.to_string().starts_with("cannot open the file: "), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    });
}

/// A maker that was killed at any step leaves a file that the next one makes anew.
#[test]
fn half_made_tables_are_made_again() {
    for length in [0, 8, 100, PAGE, 20_000, PAGE + 24_000] {
        in_folder(|path| {
            used(path);
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(length).unwrap();
            if length > 0 {
                file.write_all_at(b"SLUICEG.", 0).unwrap();
            }
            let limiter = open(path).unwrap();
            assert_eq!(limiter.available("alice"), 10, "{length} bytes");
            assert_eq!(granted(&limiter, "alice"), 10);
        });
    }
}

/// Another boot's times mean nothing: the table starts afresh, with another hash key.
#[test]
fn after_a_reboot_the_table_starts_afresh() {
    in_folder(|path| {
        used(path);
        let seed = bytes(path)[64..80].to_vec();
        let file = OpenOptions::new().write(true).open(path).unwrap();
        // The boot's number, and with it the checksum of all words but the first and itself.
        let mut words: Vec<u64> = bytes(path)[..8 * 48]
            .chunks(8)
            .map(|word| u64::from_ne_bytes(word.try_into().unwrap()))
            .collect();
        words[10] ^= 1;
        let mut hasher = siphasher::sip::SipHasher13::new();
        words[1..15]
            .iter()
            .chain(&words[16..])
            .for_each(|word| std::hash::Hasher::write_u64(&mut hasher, *word));
        words[15] = std::hash::Hasher::finish(&hasher);
        for (i, word) in words.iter().enumerate() {
            file.write_all_at(&word.to_ne_bytes(), 8 * i as u64).unwrap();
        }
        let limiter = open(path).unwrap();
        assert_eq!(limiter.available("alice"), 10);
        assert_ne!(bytes(path)[64..80], seed);
    });
}

/// Sets the state of every slot's word that is live, in the file: 1 is RESERVED, 2 PENDING.
fn strand(path: &Path, state: u64) -> u64 {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut stranded = 0;
    for slot in 0..1_500 {
        let at = PAGE + slot / 4 * 64 + 32 + slot % 4 * 8;
        let mut word = [0; 8];
        file.read_exact_at(&mut word, at).unwrap();
        let word = u64::from_ne_bytes(word);
        if word >> 62 == 3 {
            file.write_all_at(&(word << 2 >> 2 | state << 62).to_ne_bytes(), at).unwrap();
            stranded += 1;
        }
    }
    stranded
}

/// What killed processes left in their hands is free again once nobody is in the table, and is
/// left alone while somebody is.
#[test]
fn stranded_slots_are_reclaimed_by_who_opens_it_alone() {
    for state in [1, 2] {
        in_folder(|path| {
            let somebody = open(path).unwrap();
            for key in ["alice", "bob", "carol"] {
                assert_eq!(granted(&somebody, key), 10);
            }
            assert_eq!(strand(path, state), 3);
            assert_eq!(open(path).unwrap().reclaimed(), 0, "somebody may be at work in them");
            drop(somebody);
            let limiter = open(path).unwrap();
            assert_eq!(limiter.reclaimed(), 3);
            assert_eq!((limiter.len(), granted(&limiter, "alice")), (0, 10));
            drop(limiter);
            assert_eq!(open(path).unwrap().reclaimed(), 3, "counted once");
        });
    }
}
