//! Stripes: tokens leased from one bucket, the centre, to cache lines of their own.
//!
//! ```text
//!   spend n:   stripe - n                                         if it has them; no clock
//!   lease:     centre - n - l, then stripe + l                    if the centre has n;
//!                                                                  l <= spare / 2S
//!   gather:    some of each stripe, the rest of the centre        if all together have n
//! ```
//!
//! **Why the burst law holds exactly.** A token is in the centre, in a stripe or in a thread's
//! hand. Every step takes it from one of them before it appears in another. A stripe never holds
//! more than `lease_max`, with the tokens on their way to it included: a thread that leases first
//! *opens* the stripe, by a flag that no other thread can set meanwhile, and asks for no more
//! tokens than the stripe has room for. The centre's capacity is lowered by what all stripes may
//! hold. So at the start of any window of time at most `burst` tokens are anywhere, and the rest
//! flows in.
//!
//! **Giving back.** A gather that comes too late returns the tokens in its hand to the centre. If
//! the centre had been full in between, they would be more than the bucket ever held. So no more
//! tokens are returned than the centre would still lack *by the word that was seen before any token
//! was taken*. The full time of that word lies ahead, hence the centre has not been full since.
//!
//! **Scarce tokens.** A lease is at most the centre's spare tokens over twice the number of
//! stripes. So near the end there are no leases, every grant is the centre's, and the stripes are
//! empty.
//!
//! **Another quota.** A change of the quota collects the tokens of the stripes before it is
//! announced and again afterwards, and makes void the leases that are on their way then. A lease,
//! once its stripe is open, looks whether its quota is still in force. So no token of an old quota
//! outlives it.
//!
//! No thread waits. A thread that finds its stripe opened by another draws from the centre alone. A
//! thread that is stopped while its stripe is open withholds at most its lease from the others
//! until it goes on.
//!
//! ORDERING: all accesses are Relaxed, for the reason that `cell.rs` gives. Two pairs of fences
//! order them.
//!
//! - SeqCst: a lease opens its stripe and then looks at the quota; a change announces the quota and
//!   then looks at the stripes. If both do so at the same moment, at least one sees the other.
//! - Release and Acquire: a lease reaches its stripe after a Release fence. A change that has seen
//!   it there looks at the centre after an Acquire fence, so it sees the centre without the lease.
//!
//! The modification order of each word conserves the tokens. A swap that adds tokens to one word
//! depends on the success of a swap that took them from another word, and that swap comes before it
//! in program order. A look at several words takes nothing: the tokens that it finds are taken by
//! swaps.

mod stripe;
#[cfg(feature = "std")]
mod thread;

use crate::algorithm::TokenBucket;
use crate::cell::{Cell, Step};
use crate::sync::Ordering::SeqCst;
use crate::sync::fence;
use crate::sync::plain::Ordering::Relaxed;
use alloc::boxed::Box;
use crossbeam_utils::CachePadded;
use stripe::Stripe;

/// The most tokens of one lease. A visit to the centre costs two threads some 100 ns, which is
/// nothing when it is spread over this many grants.
const LEASE_MAX: u64 = 256;
/// The stripes may hold the burst divided by this.
const HELD_SHARE: u64 = 4;
/// The number of leases between two looks at a neighbour.
const LOOK_EVERY: u64 = if cfg!(sluicegate_loom) { 1 } else { 8 };

/// The division of a burst between the centre and the stripes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split {
    /// The centre's decisions. Its burst is lowered by the tokens that the stripes may hold.
    pub(crate) bucket: TokenBucket,
    /// The most tokens that a stripe may hold.
    lease_max: u64,
}

/// The split that is in force, and the token time of the same moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Centre {
    pub(crate) split: Split,
    pub(crate) units: u64,
}

/// Reads the time, and with it the split under the quota in force.
pub(crate) trait Timed {
    type Now: Copy;
    fn read(&self) -> Self::Now;
    fn centre(&self, now: Self::Now) -> Centre;
    /// Tells whether the quota of that time is still in force.
    fn is_current(&self, now: Self::Now) -> bool;
}

impl Centre {
    /// The number of whole tokens there; negative in debt.
    #[inline]
    pub(crate) fn balance(&self, full: u64) -> i64 {
        self.split.bucket.balance(full, self.units)
    }

    /// The tokens there beyond `n`. `None`: there are fewer than `n`.
    #[inline]
    fn spare(&self, full: u64, n: u64) -> Option<u64> {
        u64::try_from(self.balance(full)).ok()?.checked_sub(n)
    }
}

#[derive(Debug)]
pub(crate) struct Striped {
    /// The stripes. Their number is a power of two.
    stripes: Box<[CachePadded<Stripe>]>,
}

impl Striped {
    /// Makes stripes for this bucket. `None`: its burst is too small to share.
    pub(crate) fn new(bucket: TokenBucket, stripes: usize) -> Option<Self> {
        let share = bucket.limit() / HELD_SHARE;
        if share < 2 {
            return None;
        }
        let stripes = Self::number(share, stripes);
        let stripe = |_| CachePadded::new(Stripe::new());
        Some(Self { stripes: (0..stripes).map(stripe).collect() })
    }

    /// Computes the number of stripes that share `share` tokens, at most `wanted`, rounded up to a
    /// power of two.
    fn number(share: u64, wanted: usize) -> usize {
        // The largest power of two that leaves a token for each. It may exceed a word of 32 bits.
        let most = 1_u64 << share.max(1).ilog2();
        let wanted = wanted.clamp(1, 256).next_power_of_two();
        usize::try_from(most).map_or(wanted, |most| wanted.min(most))
    }

    /// Divides this bucket between the centre and the stripes. A bucket that has become too small
    /// leaves the stripes nothing.
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

    /// Takes `n` tokens from the stripe, if it has them. Returns the tokens left in it. Reads no
    /// clock.
    ///
    /// If another thread makes a swap fail, this thread moves on to the next stripe. So threads
    /// that have met in one stripe find stripes of their own.
    #[inline(always)]
    pub(crate) fn spend(&self, mine: usize, n: u64) -> Option<u64> {
        let mut tries = 0_u32;
        let left = self.stripe(mine).cell.update(|word| {
            tries += 1;
            match Stripe::tokens(word).checked_sub(n) {
                Some(left) => Step::Put(word - n, Some(left)),
                None => Step::Keep(None),
            }
        });
        if tries > 1 {
            move_on(mine);
        }
        left
    }

    /// Takes `n` tokens, at most the limit: from the centre, along with a lease, or from stripes
    /// and centre together. Returns the centre's state after a grant. After a denial it returns the
    /// state as if no tokens were leased.
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
            // Loads alone find a denial, so a denial writes nothing.
            let taken = if at.spare(full, n).is_some() {
                self.lease(centre, full, (time, now), mine, n)
            } else if self.reaches(full, at, n) {
                self.gather(centre, full, (time, at), mine, n)
            } else {
                return (Err(self.undrawn(full, at)), now);
            };
            // `None`: another thread took the tokens first. Look again.
            if let Some(taken) = taken {
                return (Ok(taken), now);
            }
        }
    }

    /// Tells whether the centre and the stripes together have `n` tokens.
    fn reaches(&self, full: u64, at: Centre, n: u64) -> bool {
        let there = i128::from(at.balance(full)) + i128::from(self.held());
        there >= i128::from(n)
    }

    /// The share of one stripe in the tokens that the centre can spare.
    #[inline]
    fn share(&self, spare: u64) -> u64 {
        spare / (2 * self.stripes.len() as u64)
    }

    /// Takes `n` tokens from the centre, and a lease for the stripe. `None`: the centre no longer
    /// has `n`.
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
        // ORDERING: pairs with the fence of `Striped::empty`. The stripe is opened before the quota
        // is looked at, so a change that is announced after this look finds the stripe open.
        fence(SeqCst);
        if room.is_some() && !time.is_current(now) {
            stripe.close();
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
            if !stripe.fill(leased) {
                // The lease is a debit that is undone. The word that it made proves that the centre
                // has not been full since.
                self.give_back(centre, made, time, lease);
                self.give_back(centre, full, time, found);
            }
        }
        drawn.map(|(taken, _)| taken)
    }

    /// Takes up to `room` tokens from a neighbour that has not changed since the last look at it.
    /// Only one in [`LOOK_EVERY`] leases looks, at one neighbour after the other.
    fn reclaim(&self, stripe: &Stripe, mine: usize, room: u64) -> u64 {
        let leases = stripe.leases.load(Relaxed);
        stripe.leases.store(leases.wrapping_add(1), Relaxed);
        let others = self.stripes.len() - 1;
        if !leases.is_multiple_of(LOOK_EVERY) || others == 0 {
            return 0;
        }
        let look = (leases / LOOK_EVERY) as usize;
        let neighbour = self.stripe(mine.wrapping_add(1 + look / 2 % others));
        // Tokens and leases in one figure: it changes when the neighbour is spent from or leased
        // for.
        let seen = neighbour.held() | neighbour.leases.load(Relaxed) << 32;
        if look.is_multiple_of(2) {
            stripe.neighbour.store(seen, Relaxed);
            return 0;
        }
        let idle = seen == stripe.neighbour.load(Relaxed);
        if idle { neighbour.take_up_to(room) } else { 0 }
    }

    /// Takes `n` tokens from the stripes, the thread's own first, and the rest from the centre.
    /// `None`: the centre no longer has the rest.
    ///
    /// The centre decides by the time at which it was read, before any token was collected. Full
    /// times only grow, so an earlier time finds fewer tokens, never more; the caller then looks
    /// again.
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

    /// Returns `n` tokens, which were taken from stripes after the centre's word was `before`.
    pub(crate) fn give_back<T: Timed>(&self, centre: &Cell, before: u64, time: &T, n: u64) {
        centre.update(|full| {
            // Read the time again for each try, after the word. The centre was then not full at the
            // swap, either.
            let Centre { split: Split { bucket, .. }, units } = time.centre(time.read());
            let most = bucket.whole(bucket.missing(before, units));
            match bucket.refund(full, units, n.min(most)) {
                Some(refunded) => Step::Put(refunded, ()),
                None => Step::Keep(()),
            }
        });
    }

    /// Takes up to `n` tokens out of the stripes, beginning with the thread's own. Returns how
    /// many.
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

    /// Gives back all tokens that were leased under the old quota, and makes void the leases that
    /// are on their way. A change of the quota calls it after its announcement.
    pub(crate) fn empty<T: Timed>(&self, centre: &Cell, time: &T) {
        // ORDERING: pairs with the fence of `Striped::lease`. The quota is announced before this
        // look, so a thread that opens a stripe after it sees the new quota.
        fence(SeqCst);
        for stripe in &self.stripes {
            let (before, taken) = stripe.empty(centre);
            if taken > 0 {
                self.give_back(centre, before, time, taken);
            }
        }
    }

    /// The tokens in the thread's own stripe. One load.
    pub(crate) fn held_by(&self, mine: usize) -> u64 {
        self.stripe(mine).held()
    }

    /// The tokens in all stripes. One load each, so the sum may be of no single moment.
    pub(crate) fn held(&self) -> u64 {
        self.stripes.iter().map(|stripe| stripe.held()).sum()
    }

    /// The centre's state as if no tokens were leased.
    fn undrawn(&self, full: u64, at: Centre) -> u64 {
        at.split.bucket.refund(full, at.units, self.held()).unwrap_or(full)
    }
}

#[cfg(feature = "std")]
pub(crate) use thread::mine;
#[cfg(feature = "std")]
use thread::move_on;

/// Without the standard library there are no thread-locals, so all threads use one stripe. The
/// builder then has no method to ask for more.
#[cfg(not(feature = "std"))]
pub(crate) fn mine() -> usize {
    0
}

#[cfg(not(feature = "std"))]
fn move_on(_: usize) {}

#[cfg(test)]
mod tests;
