//! Stripes: tokens leased from one bucket, the centre, to cache lines of their own.
//!
//! ```text
//!   spend n:   stripe - n                                         if it has them; no clock
//!   lease:     centre - n - l, then stripe + l                    if the centre has n;  l <= spare / 2S
//!   gather:    some of each stripe, the rest of the centre        if all together have n
//! ```
//!
//! **Why the burst law stands exactly.** A token is in the centre, in a stripe or in a thread's hand, and every
//! step takes it from one place before it appears in another. A stripe never holds more than `lease_max`, what is
//! on its way to it included: who leases *opens* the stripe first, by a flag that nobody else can set
//! meanwhile, and asks for no more than there is room for. The centre's capacity is lowered by what
//! all stripes may hold. So at the start of any window at most `burst` tokens are anywhere, and the rest
//! flows in.
//!
//! **Giving back.** A gather that comes too late returns what it has in hand to the centre. Had the centre
//! been full in between, that would be more than the bucket ever held; so no more is returned than
//! the centre would still lack *by the word that was seen before anything was taken*: that
//! word's full time lies ahead, hence the centre has not been full since.
//!
//! **Scarce tokens.** A lease is at most the centre's spare tokens over twice the stripes. So near
//! the end there are no leases, every grant is the centre's, and the stripes are empty.
//!
//! **Another quota.** A change collects what lies in the stripes before and after it is announced, and makes leases void that are on
//! their way; a lease looks, once its stripe is open, whether its quota still stands. So none of an old quota outlives it.
//!
//! Nobody waits: a stripe that another thread has opened is drawn past. That thread, stopped at this very
//! point, keeps at most its lease from the others until it goes on.
//!
//! ORDERING: as in `cell.rs`, all Relaxed, but for fences: a lease opens its stripe and then looks at the quota, a change
//! announces the quota and then looks at the stripes, and of two that do so at the same moment one must see the other. A lease
//! reaches its stripe after a Release fence, and a change that has seen it there looks at the centre after an Acquire
//! fence, so that it sees the centre without the lease. Tokens are conserved by the modification order of each
//! word: what a swap adds to one, a swap that came before in program order, and on whose success it
//! depends, took from another. A look at several words is only a look: what it finds is taken by swaps.

use crate::algorithm::TokenBucket;
use crate::cell::{Cell, Step};
use crate::sync::Ordering::{Acquire, Release, SeqCst};
use crate::sync::fence;
use crate::sync::plain::{AtomicU64, Ordering::Relaxed};
use alloc::boxed::Box;
use crossbeam_utils::CachePadded;

/// Tokens of one lease, at most. A visit of the centre costs two threads some 100 ns: spread over
/// this many grants that is nothing.
const LEASE_MAX: u64 = 256;
/// The share of the burst that stripes may hold.
const HELD_SHARE: u64 = 4;
/// Set while a lease is on its way to the stripe.
const OPEN: u64 = 1 << 63;
/// Set, while it is, if the quota has changed: the lease was measured by the old one, and goes back.
const VOID: u64 = 1 << 62;
/// The tokens of a stripe's word.
const TOKENS: u64 = VOID - 1;
/// Leases between two looks at a neighbour.
const LOOK_EVERY: u64 = if cfg!(sluicegate_loom) { 1 } else { 8 };

/// What of a burst goes to stripes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split {
    /// The centre's decisions, its burst lowered by what the stripes may hold.
    pub(crate) bucket: TokenBucket,
    /// What a stripe may hold.
    lease_max: u64,
}

/// The split that is in force, and the token time of that moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Centre {
    pub(crate) split: Split,
    pub(crate) units: u64,
}

/// Reads the time, and with it the split of the quota that is in force.
pub(crate) trait Timed {
    type Now: Copy;
    fn read(&self) -> Self::Now;
    fn centre(&self, now: Self::Now) -> Centre;
    /// Whether the quota of that time is still in force.
    fn is_current(&self, now: Self::Now) -> bool;
}

/// One thread's, or several threads', tokens.
#[derive(Debug)]
struct Stripe {
    /// Tokens, and whether more are on their way.
    cell: Cell,
    /// Leases so far. Written by who has opened the stripe.
    leases: AtomicU64,
    /// A neighbour as it was at the last look. Likewise.
    neighbour: AtomicU64,
}

impl Stripe {
    /// Up to `n` of the tokens.
    fn take_up_to(&self, n: u64) -> u64 {
        self.cell.update(|word| match (word & TOKENS).min(n) {
            0 => Step::Keep(0),
            taken => Step::Put(word - taken, taken),
        })
    }

    /// Opens the stripe for a lease: how much it has room for. `None` if there is none, or somebody
    /// else has opened it.
    fn open(&self, lease_max: u64) -> Option<u64> {
        // What is open holds, with what is on its way, up to the most there may be.
        self.cell.update(|word| match lease_max.checked_sub(word) {
            None | Some(0) => Step::Keep(None),
            Some(room) => Step::Put(word | OPEN, Some(room)),
        })
    }

    fn held(&self) -> u64 {
        self.cell.load() & TOKENS
    }

    /// Takes all that there is, and makes what is on its way void. With it the centre's word from before they were
    /// taken, and after they were leased.
    fn empty(&self, centre: &Cell) -> (u64, u64) {
        loop {
            let seen = self.cell.load();
            fence(Acquire);
            let before = centre.load();
            let taken = self.cell.update(|word| match word {
                _ if word != seen => Step::Keep(None),
                0 => Step::Keep(Some(0)),
                word if word & OPEN == 0 => Step::Put(0, Some(word & TOKENS)),
                word => Step::Put(OPEN | VOID, Some(word & TOKENS)),
            });
            if let Some(taken) = taken {
                return (before, taken);
            }
        }
    }
}

impl Centre {
    /// Whole tokens there; negative in debt.
    #[inline]
    pub(crate) fn balance(&self, full: u64) -> i64 {
        self.split.bucket.balance(full, self.units)
    }

    /// What is there beyond `n`, if that is.
    #[inline]
    fn spare(&self, full: u64, n: u64) -> Option<u64> {
        u64::try_from(self.balance(full)).ok()?.checked_sub(n)
    }
}

#[derive(Debug)]
pub(crate) struct Striped {
    /// A power of two of them.
    stripes: Box<[CachePadded<Stripe>]>,
}

impl Striped {
    /// Stripes on this bucket; `None` if its burst is too small to share.
    pub(crate) fn new(bucket: TokenBucket, stripes: usize) -> Option<Self> {
        let share = bucket.limit() / HELD_SHARE;
        if share < 2 {
            return None;
        }
        let stripes = Self::number(share, stripes);
        let stripe = || {
            let (leases, neighbour) = (AtomicU64::new(0), AtomicU64::new(0));
            CachePadded::new(Stripe { cell: Cell::new(0), leases, neighbour })
        };
        Some(Self { stripes: (0..stripes).map(|_| stripe()).collect() })
    }

    /// How many stripes share so many tokens, of those that are wanted: a power of two.
    fn number(share: u64, wanted: usize) -> usize {
        // The largest number that leaves a token for each, which may exceed a word of 32 bits.
        let most = 1_u64 << share.max(1).ilog2();
        let wanted = wanted.clamp(1, 256).next_power_of_two();
        usize::try_from(most).map_or(wanted, |most| wanted.min(most))
    }

    /// How the stripes share this bucket. Of one that has become too small they get nothing.
    #[inline]
    pub(crate) fn split(&self, bucket: TokenBucket) -> Split {
        let stripes = self.stripes.len() as u64;
        let lease_max = (bucket.limit() / HELD_SHARE / stripes).min(LEASE_MAX);
        Split { bucket: bucket.lowered_by(lease_max * stripes), lease_max }
    }

    #[inline(always)]
    fn stripe(&self, mine: usize) -> &Stripe {
        &self.stripes[mine & (self.stripes.len() - 1)]
    }

    /// `n` tokens of the stripe, if it has them: what is left in it. No clock.
    ///
    /// A thread whose swap another one's made fail moves on to the next stripe, so that threads which
    /// met find stripes of their own.
    #[inline(always)]
    pub(crate) fn spend(&self, mine: usize, n: u64) -> Option<u64> {
        let mut tries = 0_u32;
        let left = self.stripe(mine).cell.update(|word| {
            tries += 1;
            match (word & TOKENS).checked_sub(n) {
                Some(left) => Step::Put(word - n, Some(left)),
                None => Step::Keep(None),
            }
        });
        if tries > 1 {
            move_on(mine);
        }
        left
    }

    /// Takes `n`, at most the limit, from the centre along with a lease, or from wherever they are. The
    /// centre's state after a grant; of a denial, its state as if nothing were leased.
    pub(crate) fn draw<T: Timed>(
        &self,
        centre: &Cell,
        time: &T,
        mine: usize,
        n: u64,
    ) -> (Result<u64, u64>, T::Now) {
        loop {
            let now = time.read();
            let (full, at) = (centre.load(), time.centre(now));
            // A denial writes nothing: it is found out by loads.
            let taken = if at.spare(full, n).is_some() {
                self.lease(centre, full, (time, now), mine, n)
            } else if self.reaches(full, at, n) {
                self.gather(centre, full, (time, at), mine, n)
            } else {
                return (Err(self.undrawn(full, at)), now);
            };
            // Otherwise somebody was faster, and has it.
            if let Some(taken) = taken {
                return (Ok(taken), now);
            }
        }
    }

    /// Whether centre and stripes together have `n`.
    fn reaches(&self, full: u64, at: Centre, n: u64) -> bool {
        let there = i128::from(at.balance(full)) + i128::from(self.held());
        there >= i128::from(n)
    }

    /// One stripe's share of what the centre can spare.
    #[inline]
    fn share(&self, spare: u64) -> u64 {
        spare / (2 * self.stripes.len() as u64)
    }

    /// `n` from the centre, and a lease for the stripe. `None`: the centre no longer has `n`.
    fn lease<T: Timed>(
        &self,
        centre: &Cell,
        full: u64,
        (time, now): (&T, T::Now),
        mine: usize,
        n: u64,
    ) -> Option<u64> {
        let (stripe, at) = (self.stripe(mine), time.centre(now));
        let worth = at.spare(full, n).is_some_and(|spare| self.share(spare) > 0);
        let mut room = if worth { stripe.open(at.split.lease_max) } else { None };
        // Opened before the look: who changes the quota after it finds the stripe open.
        fence(SeqCst);
        if room.is_some() && !time.is_current(now) {
            stripe.cell.update(|word| Step::Put(word & TOKENS, ()));
            room = None;
        }
        let found = room.map_or(0, |room| self.reclaim(stripe, mine, room));
        let room_left = room.map_or(0, |room| room - found);
        let drawn = centre.update(|full| {
            let Some(spare) = at.spare(full, n) else { return Step::Keep(None) };
            let lease = self.share(spare).min(room_left);
            match at.split.bucket.take(full, at.units, n + lease) {
                Some(taken) => Step::Put(taken, Some((taken, lease))),
                None => Step::Keep(None),
            }
        });
        if room.is_some() {
            let (made, lease) = drawn.unwrap_or((full, 0));
            let leased = found + lease;
            // Whoever finds the lease in the stripe finds the centre without it.
            fence(Release);
            let void = stripe.cell.update(|word| match word & VOID {
                0 => Step::Put((word & TOKENS) + leased, false),
                _ => Step::Put(word & TOKENS, true),
            });
            if void {
                // Until what the lease made, the centre is not full: it is a debit that is undone.
                self.give_back(centre, made, time, lease);
                self.give_back(centre, full, time, found);
            }
        }
        drawn.map(|(taken, _)| taken)
    }

    /// Up to `room` tokens of a neighbour that has not moved since the last look. Every so many leases
    /// a look, at one after the other.
    fn reclaim(&self, stripe: &Stripe, mine: usize, room: u64) -> u64 {
        let leases = stripe.leases.load(Relaxed);
        stripe.leases.store(leases.wrapping_add(1), Relaxed);
        let others = self.stripes.len() - 1;
        if !leases.is_multiple_of(LOOK_EVERY) || others == 0 {
            return 0;
        }
        let look = (leases / LOOK_EVERY) as usize;
        let neighbour = self.stripe(mine.wrapping_add(1 + look / 2 % others));
        // Neither spent from nor leased for: both are in one figure.
        let seen = neighbour.held() | neighbour.leases.load(Relaxed) << 32;
        if look.is_multiple_of(2) {
            stripe.neighbour.store(seen, Relaxed);
            return 0;
        }
        let idle = seen == stripe.neighbour.load(Relaxed);
        if idle { neighbour.take_up_to(room) } else { 0 }
    }

    /// `n` from the stripes, one's own first, and the rest from the centre. `None`: others were faster.
    ///
    /// The centre decides by the time before anything was collected. Full times only grow, so an
    /// earlier time finds fewer tokens, never more; the caller then looks again.
    fn gather<T: Timed>(
        &self,
        centre: &Cell,
        before: u64,
        (time, at): (&T, Centre),
        mine: usize,
        n: u64,
    ) -> Option<u64> {
        let got = self.collect(mine, n);
        let taken = centre.update(|full| match n - got {
            0 => Step::Keep(Some(full)),
            rest => {
                let bucket = at.split.bucket;
                match at.spare(full, rest).and_then(|_| bucket.take(full, at.units, rest)) {
                    Some(taken) => Step::Put(taken, Some(taken)),
                    None => Step::Keep(None),
                }
            }
        });
        if taken.is_none() && got > 0 {
            self.give_back(centre, before, time, got);
        }
        taken
    }

    /// Returns tokens that were taken from stripes since `before` was the centre's word.
    pub(crate) fn give_back<T: Timed>(&self, centre: &Cell, before: u64, time: &T, n: u64) {
        centre.update(|full| {
            // Read anew for each try, after the word: what is swapped then was not full either.
            let Centre { split: Split { bucket, .. }, units } = time.centre(time.read());
            let most = bucket.whole(bucket.missing(before, units));
            match bucket.refund(full, units, n.min(most)) {
                Some(refunded) => Step::Put(refunded, ()),
                None => Step::Keep(()),
            }
        });
    }

    /// Takes up to `n` tokens out of the stripes, beginning with one's own.
    pub(crate) fn collect(&self, mine: usize, n: u64) -> u64 {
        let mut got = 0;
        for i in 0..self.stripes.len() {
            if got == n {
                break;
            }
            got += self.stripe(mine.wrapping_add(i)).take_up_to(n - got);
        }
        got
    }

    /// After the quota has changed: gives back all that was leased by the old one, and lets no more of it come.
    pub(crate) fn empty<T: Timed>(&self, centre: &Cell, time: &T) {
        // Announced before the look: who opens a stripe after it sees the new quota.
        fence(SeqCst);
        for stripe in &self.stripes {
            let (before, taken) = stripe.empty(centre);
            if taken > 0 {
                self.give_back(centre, before, time, taken);
            }
        }
    }

    /// Tokens in one's own stripe. One load.
    pub(crate) fn held_by(&self, mine: usize) -> u64 {
        self.stripe(mine).held()
    }

    /// Tokens in all stripes, at a look. One load each.
    pub(crate) fn held(&self) -> u64 {
        self.stripes.iter().map(|stripe| stripe.held()).sum()
    }

    /// The centre's state as if nothing were leased.
    fn undrawn(&self, full: u64, at: Centre) -> u64 {
        at.split.bucket.refund(full, at.units, self.held()).unwrap_or(full)
    }
}

#[cfg(feature = "std")]
mod thread {
    use crate::sync::plain::{AtomicU64, Ordering::Relaxed};
    use core::cell::Cell;

    std::thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    /// The number of this thread's stripe, before it is reduced to those there are.
    #[inline(always)]
    pub(crate) fn mine() -> usize {
        let mine = MINE.get();
        if mine == usize::MAX { first() } else { mine }
    }

    /// Threads get stripes in turn.
    #[cold]
    fn first() -> usize {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mine = NEXT.fetch_add(1, Relaxed) as usize & (usize::MAX >> 1);
        MINE.set(mine);
        mine
    }

    #[cold]
    pub(super) fn move_on(mine: usize) {
        MINE.set(mine.wrapping_add(1) & (usize::MAX >> 1));
    }
}

#[cfg(feature = "std")]
pub(crate) use thread::mine;
#[cfg(feature = "std")]
use thread::move_on;

/// Without threads of its own, a build has one stripe; nor can it ask for several.
#[cfg(not(feature = "std"))]
pub(crate) fn mine() -> usize {
    0
}

#[cfg(not(feature = "std"))]
fn move_on(_: usize) {}

#[cfg(test)]
mod tests;
