//! What has been given back to each key that has places, and whether it was reset.
//!
//! A caller that gives a place back must know what others have given back since it was taken (`algorithm/undo.rs`),
//! which the bucket's word does not say. So the first place of a key opens an *account* of it, and each give-back to that key is
//! entered there. Once all that places of it took has flowed by they bring nothing back, and the account is
//! closed: each place that is taken looks at two others for that, so there are never many more than needed.
//!
//! An account is the process's own. What other processes give back to a shared table is known for 64 groups of keys only,
//! and counts against all places of the group: a place may then bring back less than it could, never more.
//!
//! A debit that is undone within the call that made it (of several limits, the next one denied) opens no
//! account: it goes by its group.
//!
//! The lock of some keys' accounts is held for a few steps. Checks and charges do not take it. A reservation does, and so
//! does a give-back, unless no account of those keys is open in a table of this process alone.
//!
//! ORDERING: an account is opened under a lock before the place's debit is swapped in, and a give-back looks for
//! accounts after it has loaded the word, with Acquire: if it saw the debit it sees the account, and if it did
//! not, its swap fails.

use crate::bucket::{self, Returns, Since, Whose};
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicU64, Locked, ProcessLock};
use crate::timeline::Moment;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::ops::Bound::{Excluded, Unbounded};

/// Groups of keys that share the count of what is given back.
pub(super) const GROUPS: usize = 64;
const SHARDS: usize = 16;
/// Of places that have no account.
const NONE: u32 = 0;

/// A bucket: of the key with this fingerprint, or the one that keys without a slot share.
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
    /// Accounts that are open.
    open: AtomicU64,
    book: ProcessLock<Book>,
}

/// Accounts by their keys. As many as are usual need no memory but this.
#[derive(Debug, Default)]
struct Accounts {
    few: [Option<(Key, Account)>; 4],
    more: BTreeMap<Key, Account>,
}

/// The accounts of some groups, all of whose keys are in here.
#[derive(Debug, Default)]
struct Book {
    accounts: Accounts,
    /// The next account's number, or an account's after a reset.
    next: u32,
    /// Where the search for accounts to close has come to: among the few, and among the others.
    swept: (usize, Key),
    /// What this process has given back to each group, and how often it has reset a key of it.
    own: [Since; GROUPS / SHARDS],
}

#[derive(Clone, Copy, Debug)]
struct Account {
    /// Another one after a reset, which makes all places void that were taken before.
    number: u32,
    /// Units that have been given back.
    returned: u64,
    /// The emptiest state that a place made: the account is closed when that has become full.
    until: u64,
}

impl Ledger {
    pub(super) fn new(is_shared: bool) -> Self {
        let shard = |_| Shard { open: AtomicU64::new(0), book: ProcessLock::new() };
        Self { shards: (0..SHARDS).map(shard).collect(), is_shared }
    }

    /// The entries of a key's bucket; `groups` are all of the table.
    #[inline]
    pub(super) fn of<'a>(&'a self, whose: Whose, groups: &'a [Returns; GROUPS]) -> Entries<'a> {
        let key = if whose.shared { (0, true) } else { (whose.hash, false) };
        // By bits that choose neither lines nor anything else.
        let group = (key.0 >> 20) as usize % GROUPS;
        Entries { ledger: self, key, group, returns: &groups[group] }
    }
}

/// What is entered for one bucket.
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

    /// Closes what there is to close of two accounts, one of the few and one of the others.
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

    /// The book of this process: what it inherited from its parent, unless a thread there was writing in it.
    fn book(&self) -> Locked<'a, Book> {
        self.shard().book.lock_again()
    }

    /// What other processes have given back to the group.
    fn others(&self, book: &Book) -> Since {
        if !self.ledger.is_shared {
            return Since::default();
        }
        let (all, own) = (self.returns.since(), book.own[self.group / SHARDS]);
        // This process resets none of them now: that is done under the lock.
        all.without(own)
    }
}

impl bucket::Account for Entries<'_> {
    /// When a place is taken that leaves the bucket in the state `made`; before it is.
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

    /// When a debit is made that may be undone by the same call; before it is.
    #[inline]
    fn since(self) -> Since {
        self.returns.since()
    }

    /// After the word was loaded: what has been given back since a place was taken, in units; `None` for a place that a reset
    /// has made void, or all of which has flowed by.
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

    /// Enters what is given back, before the word is swapped; if the swap fails, a little too much.
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
