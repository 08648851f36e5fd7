//! The first touch of a key: a slot is claimed, announced and settled. `table.rs` has the proofs.

use super::evict::{self, Choice, Chosen};
use super::lines::{Floor, Pair};
use super::slot::{self, FREE, LIVE, PENDING};
use super::table::{Buckets, Change, Full, Room, Table};
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use crate::sync::{AtomicU64, fence};

/// The number of times that a first touch looks again when it finds no free slot, but some that
/// other threads hold.
///
/// Without this patience, when two threads first touched a key at once, the first claimed its last
/// free slot, and the second evicted a bucket for it. A thread that is stopped while it holds a
/// slot costs others no more than this many looks.
pub(super) const PATIENCE: u32 = if cfg!(sluicegate_loom) { 1 } else { 64 };

/// The value of a bucket that is full at any time.
pub(super) const FULL: u64 = 0;

/// The result of a claim.
pub(super) enum Claimed<R> {
    /// A slot is claimed. The fields are its number, its PENDING word, and the value that it
    /// displaced.
    Slot(usize, u64, u64),
    /// The decision needs no bucket.
    Answer(R),
    /// Another thread took the slot first, or will soon give one up: search again.
    Again,
}

/// A key's tag, its candidate slots and its floor.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) tag: u64,
    pub(super) pair: Pair<'a>,
    pub(super) floor: Floor<'a>,
}

impl Table {
    /// Claims a slot and announces the key in it, unless `op` would leave a new bucket as it is.
    ///
    /// The slot is the first that is free or full, in the line with more of them.
    pub(super) fn claim<B: Buckets, R>(
        &self,
        buckets: &B,
        Key { tag, pair, floor }: Key<'_>,
        room: Room,
        patience: &mut u32,
        op: &mut impl FnMut(u64, B::Now) -> Change<R>,
    ) -> Result<Claimed<R>, Full> {
        let now = buckets.now();
        let Chosen { choice, held } =
            evict::choose(buckets, self.fields, now, |i| pair.slot(i).1.load(Acquire));
        // Slots that other threads hold are not full: they are settled in moments.
        if held && !matches!(choice, Choice::Usable(..)) && *patience > 0 {
            *patience -= 1;
            return Ok(Claimed::Again);
        }
        let fresh = buckets.fresh(now);
        let emptier = |a, b| buckets.emptier(a, b, now);
        let (i, word, reserved, displaced) = match choice {
            Choice::Usable(i, word) => (i, word, self.fields.claimed(word, fresh), FULL),
            Choice::NearestFull(i, word) if room == Room::Evict => {
                (i, word, self.fields.evicted(word, fresh), self.fields.value(word))
            }
            Choice::NearestFull(_, word) => {
                return Err(Full { soonest: Some(self.fields.value(word)) });
            }
            Choice::Nothing => return Err(Full { soonest: None }),
        };
        let start = emptier(floor.under(fresh, emptier), displaced);
        // A request that is denied anyway forgets no bucket.
        if start != fresh
            && let Change::Keep(answer) = op(start, now)
        {
            return Ok(Claimed::Answer(answer));
        }
        let (tags, words) = pair.slot(i);
        // The key itself may have been given this slot after the search. Its tag, seen after its
        // word, would tell.
        if slot::state(word) == LIVE && tags.load(Acquire) == tag {
            return Ok(Claimed::Again);
        }
        if slot::state(word) == LIVE {
            // If the swap succeeds, this tag, seen after the word, is that of the key whose bucket
            // this is. A full bucket raises the floor as well: a clock that lags behind this one
            // would find it not yet full.
            let forgotten = self.lines.floor(tags.load(Acquire));
            forgotten.raise(self.fields.value(word), emptier);
        }
        if words.compare_exchange(word, reserved, AcqRel, Relaxed).is_err() {
            return Ok(Claimed::Again);
        }
        if matches!(choice, Choice::NearestFull(..)) {
            self.lines.common().evictions.fetch_add(1, Relaxed);
        }
        // The slot is this thread's alone until another sees PENDING.
        tags.store(tag, Release);
        let pending = slot::with_state(reserved, PENDING);
        words.store(pending, Release);
        Ok(Claimed::Slot(i, pending, displaced))
    }

    /// Makes slot `i`, which is PENDING for this key, its one bucket, and applies `op` to it.
    /// `None`: search again.
    #[inline(never)]
    pub(super) fn settle<B: Buckets, R>(
        &self,
        buckets: &B,
        Key { tag, pair, floor }: Key<'_>,
        i: usize,
        pending: u64,
        displaced: u64,
        op: &mut impl FnMut(u64, B::Now) -> Change<R>,
    ) -> Option<R> {
        let words = pair.slot(i).1;
        let kill = |words: &AtomicU64, word| {
            // If it fails, another thread has moved the slot on, which is as well.
            let _ = words.compare_exchange(word, slot::with_state(word, FREE), AcqRel, Relaxed);
        };
        // ORDERING: the announcement comes before the look at the other slots.
        fence(SeqCst);
        let mut others = pair.bearing(tag) & !(1 << i);
        while others != 0 {
            let j = others.trailing_zeros() as usize;
            others &= others - 1;
            let (tags, theirs) = pair.slot(j);
            let other = theirs.load(Acquire);
            // Never kill the announcement of another key: the value that it displaced would be
            // forgotten with it. That a key has one bucket does not depend on this check. Without
            // it, the other key's thread would at worst search again.
            if slot::state(other) < PENDING || tags.load(Acquire) != tag {
                continue;
            }
            // Which of two announcements wins is arbitrary, as long as all threads agree.
            if slot::state(other) == LIVE || j < i {
                kill(words, pending);
                return None;
            }
            kill(theirs, other);
            fence(SeqCst);
            // The other may have been promoted instead, or announced anew: look again.
            others = pair.bearing(tag) & !(1 << i);
        }
        // The time now, not when the search began: a stale moment would make the new bucket older
        // than the slot's past.
        let fresh = self.fields.value(pending);
        let now = buckets.not_before(buckets.now(), fresh);
        let emptier = |a, b| buckets.emptier(a, b, now);
        let start = emptier(floor.under(fresh, emptier), displaced);
        let (next, answer) = match op(start, now) {
            Change::Grow(value, answer) => (self.fields.with_value(pending, value), answer),
            Change::Shrink(value, answer) => (self.fields.next_epoch(pending, value), answer),
            Change::Keep(answer) => {
                kill(words, pending);
                return Some(answer);
            }
        };
        let live = slot::with_state(next, LIVE);
        let won = words.compare_exchange(pending, live, AcqRel, Relaxed).is_ok();
        won.then_some(answer)
    }
}
