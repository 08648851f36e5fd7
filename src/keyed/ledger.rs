//! The accounts of keys that have places: the tokens given back to each key, and whether it was
//! reset.
//!
//! A caller that gives a place back must know what others have given back since the place was taken
//! (`algorithm/undo.rs`). The bucket's word does not tell. So the first place of a key opens an
//! *account* for it, and each give-back to the key is entered there. Once all tokens of its places
//! have flowed by, the places bring nothing back, and the account is closed. Each place that is
//! taken looks at two other accounts to close them, so there are never many more than needed.
//!
//! An account belongs to one process. What other processes give back to a shared table is counted
//! only for 64 groups of keys, and counts against all places of the group. A place may then bring
//! back less than it could, never more.
//!
//! A debit that is undone within the call that made it (of several limits, the next one denied)
//! opens no account. It goes by the count of its group.
//!
//! The lock of some keys' accounts is held for a few steps. Checks and charges do not take it. A
//! reservation takes it. A give-back takes it too, except in a table of this process alone while no
//! account of those keys is open.
//!
//! ORDERING: an account is opened under the lock before the place's debit is swapped in. A
//! give-back looks for accounts after it has loaded the word with Acquire. If it saw the debit, it
//! sees the account. If it did not see the debit, its swap fails.

use crate::bucket::{self, Returns, Since, Whose};
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicU64, Locked, ProcessLock};
use crate::timeline::Moment;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::ops::Bound::{Excluded, Unbounded};

/// The number of groups of keys that share a count of the tokens given back.
pub(super) const GROUPS: usize = 64;
const SHARDS: usize = 16;
/// The account number of places that have no account.
const NONE: u32 = 0;

/// A bucket: that of the key with this fingerprint, or the one that keys without a slot share.
type Key = (u64, bool);

/// The accounts of a limiter.
#[derive(Debug)]
pub(super) struct Ledger {
    shards: Box<[Shard]>,
    /// Whether other processes give back to the same buckets.
    is_shared: bool,
}

#[derive(Debug)]
struct Shard {
    /// The number of open accounts.
    open: AtomicU64,
    book: ProcessLock<Book>,
}

/// Accounts by their keys. The first few need no memory of their own.
#[derive(Debug, Default)]
struct Accounts {
    few: [Option<(Key, Account)>; 4],
    more: BTreeMap<Key, Account>,
}

/// The accounts of some groups of keys. All keys of these groups have theirs here.
#[derive(Debug, Default)]
struct Book {
    accounts: Accounts,
    /// The number of the next account, or of the next account that a reset renews.
    next: u32,
    /// The accounts that were looked at last to be closed: one of the few, and one of the others.
    swept: (usize, Key),
    /// The units that this process has given back to each group, and its resets of keys of the
    /// group.
    own: [Since; GROUPS / SHARDS],
}

#[derive(Clone, Copy, Debug)]
struct Account {
    /// The account's number. A reset replaces it, which makes all earlier places void.
    number: u32,
    /// The units that have been given back.
    returned: u64,
    /// The emptiest state that a place made. The account is closed once that state has become full.
    until: u64,
}

impl Ledger {
    pub(super) fn new(is_shared: bool) -> Self {
        let shard = |_| Shard { open: AtomicU64::new(0), book: ProcessLock::new() };
        Self { shards: (0..SHARDS).map(shard).collect(), is_shared }
    }

    /// Finds the entries of a key's bucket. `groups` are all groups of the table.
    #[inline]
    pub(super) fn of<'a>(&'a self, whose: Whose, groups: &'a [Returns; GROUPS]) -> Entries<'a> {
        let key = if whose.shared { (0, true) } else { (whose.hash, false) };
        // Bits of the hash that choose neither lines nor floors.
        let group = (key.0 >> 20) as usize % GROUPS;
        Entries { ledger: self, key, group, returns: &groups[group] }
    }
}

/// The entries for one bucket.
#[derive(Clone, Copy)]
pub(crate) struct Entries<'a> {
    ledger: &'a Ledger,
    key: Key,
    group: usize,
    returns: &'a Returns,
}

impl Accounts {
    fn len(&self) -> usize {
        self.few.iter().flatten().count() + self.more.len()
    }

    fn get(&mut self, key: Key) -> Option<&mut Account> {
        let few = self.few.iter_mut().flatten().find(|(of, _)| *of == key);
        few.map(|(_, account)| account).or_else(|| self.more.get_mut(&key))
    }

    fn open(&mut self, key: Key, account: Account) {
        match self.few.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some((key, account)),
            None => {
                self.more.insert(key, account);
            }
        }
    }
}

impl Book {
    fn number(&mut self) -> u32 {
        self.next = self.next.wrapping_add(1).max(NONE + 1);
        self.next
    }

    /// Looks at two accounts, one of the few and one of the others, and closes those that are over.
    fn sweep(&mut self, now: &Moment) {
        let is_over = |account: &Account| now.rule().is_full(account.until, now.units);
        let Accounts { few, more } = &mut self.accounts;
        let (at, key) = &mut self.swept;
        *at = (*at + 1) % few.len();
        if few[*at].is_some_and(|(_, account)| is_over(&account)) {
            few[*at] = None;
        }
        let next = more.range((Excluded(*key), Unbounded)).next().or_else(|| more.iter().next());
        if let Some((&next, account)) = next {
            *key = next;
            if is_over(account) {
                more.remove(&next);
            }
        }
    }
}

impl<'a> Entries<'a> {
    fn shard(&self) -> &'a Shard {
        &self.ledger.shards[self.group % SHARDS]
    }

    /// Locks the book of this process. A forked child inherits its parent's, unless a thread there
    /// was writing in it.
    fn book(&self) -> Locked<'a, Book> {
        self.shard().book.lock_again()
    }

    /// Computes what other processes have given back to the group.
    fn others(&self, book: &Book) -> Since {
        if !self.ledger.is_shared {
            return Since::default();
        }
        let (all, own) = (self.returns.since(), book.own[self.group / SHARDS]);
        // This process resets no key of the group now, since a reset holds the lock.
        all.without(own)
    }
}

impl bucket::Account for Entries<'_> {
    /// Remembers when a place is taken that leaves the bucket in the state `made`. Called before
    /// the place is taken.
    fn open(self, made: u64, now: &Moment) -> Since {
        let mut book = self.book();
        book.sweep(now);
        let others = self.others(&book);
        let account = match book.accounts.get(self.key) {
            Some(account) => {
                account.until = now.rule().emptier(account.until, made, now.units);
                *account
            }
            None => {
                let account = Account { number: book.number(), returned: 0, until: made };
                book.accounts.open(self.key, account);
                account
            }
        };
        self.shard().open.store(book.accounts.len() as u64, Relaxed);
        let returned = others.returned.wrapping_add(account.returned);
        Since { account: account.number, returned, ..others }
    }

    /// Remembers when a debit is made that the same call may undo. Called before the debit is made.
    #[inline]
    fn since(self) -> Since {
        self.returns.since()
    }

    /// Computes the units given back since a place was taken. Called after the word was loaded.
    /// `None`: a reset has made the place void, or all of its tokens have flowed by.
    fn since_then(self, since: Since) -> Option<u64> {
        if since.account == NONE {
            return self.returns.since_then(since);
        }
        let mut book = self.book();
        let account = *book.accounts.get(self.key)?;
        let others = self.others(&book);
        let stands = account.number == since.account && others.has_same_resets(since);
        stands.then(|| others.returned.wrapping_add(account.returned).wrapping_sub(since.returned))
    }

    /// Enters tokens that are given back. Called before the word is swapped; if the swap fails, the
    /// entry is a little too high.
    fn count(self, units: u64) {
        if !self.ledger.is_shared && self.shard().open.load(Relaxed) == 0 {
            return self.returns.count(units);
        }
        let mut book = self.book();
        let own = &mut book.own[self.group / SHARDS];
        own.returned = own.returned.wrapping_add(units);
        self.returns.count(units);
        if let Some(account) = book.accounts.get(self.key) {
            account.returned = account.returned.wrapping_add(units);
        }
    }

    /// Runs `swap`, which resets the word.
    fn reset<R>(self, swap: impl FnOnce() -> R) -> R {
        let mut book = self.book();
        let own = &mut book.own[self.group / SHARDS];
        own.resets = own.resets.wrapping_add(1);
        let number = book.number();
        if let Some(account) = book.accounts.get(self.key) {
            account.number = number;
        }
        self.returns.reset(swap)
    }
}
