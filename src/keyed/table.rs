//! The lock-free table of fixed memory: one key, one bucket.
//!
//! A key has a 64-bit tag and eight candidate slots in two cache lines. Their order is the same for
//! every thread. `slot.rs` draws the states of a slot and their transitions. A tag changes only
//! while its slot is RESERVED.
//!
//! **Hit.** Load the tag, the word, and the tag again; decide; swap. A denial loads the word once
//! more and must find it unchanged. It writes nothing.
//!
//! **First touch** (`first_touch.rs`). Claim a slot, write the tag, publish PENDING. Then *settle*:
//! pass a fence, and look at the key's other candidates.
//!
//! - Another is LIVE, or PENDING and earlier in the order: kill the own slot and search again.
//! - Another is PENDING and later in the order: kill it and look again.
//! - There is no other: read the clock *now* and promote the slot. The promotion is at the same
//!   time the thread's own admission.
//!
//! Every thread that meets a PENDING slot of its key settles it in the same way. No thread waits
//! for another.
//!
//! **Forgetting without forgiving.** A bucket that is forgotten, full or not, leaves its value
//! behind as a *floor*, which some keys share. A first touch of such a key begins no fuller than
//! the floor. So a key that comes back finds at most the tokens that it had left, whatever was
//! forgotten meanwhile. Space-Saving (Metwally, Agrawal, El Abbadi 2005) does the same: a new key
//! inherits the count that it displaces. The new keys pay for it, but only until the forgotten
//! bucket would have been full. A first touch that is denied forgets no bucket.
//!
//! Why no key gets past its floor: the floor is raised before the swap that takes the slot, and
//! read after the look at the key's candidates. That look saw the swap or what came after it, or
//! else it saw the key's own bucket.
//!
//! Why one key has one bucket: suppose that two threads had promoted two slots without seeing each
//! other. Then each look would have come before the other's announcement, which the two fences
//! forbid.
//!
//! ORDERING: loads of words are Acquire. They pair with the swaps and stores of words, which
//! release. So a thread that sees a PENDING or LIVE word sees the tag that was written before it.
//! Loads of tags are Acquire and stores of tags are Release, so a thread that sees a tag sees the
//! RESERVED word that came before it. The fences are SeqCst: they order an announcement before the
//! look at the other slots, which no acquire or release does. If one of these is weakened, a model
//! in `loom-tests/` that names it fails. A promotion releases the account of the place that it may
//! be (`ledger.rs`).
//!
//! A kill could be Relaxed and have no fence of its own. It publishes nothing, and since it is a
//! swap it passes on what the announcement released; a thread that announces later sees, after its
//! own fence, the announcement that is settled here. It is AcqRel with a fence all the same,
//! until the longest model has run to its end without them.

pub(crate) use super::buckets::{Buckets, Full, Room};
pub(crate) use crate::cell::Change;

use super::evict::{self, Choice};
use super::first_touch::{Claimed, FULL, Key, PATIENCE};
use super::lines::{Lines, Pair, Place};
use super::slot::{self, Fields, LIVE, PENDING};
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use crate::sync::fence;

/// The slots, and the division of their words.
#[derive(Debug)]
pub(crate) struct Table {
    pub(super) lines: Lines,
    pub(super) fields: Fields,
}

impl Table {
    /// Makes a table of at least `slots` slots, rounded up to whole lines, for values of `bits`
    /// bits, at most a bucket's.
    pub(crate) fn new(slots: usize, bits: u32) -> Self {
        Self { lines: Lines::new(slots), fields: Fields::with_value_bits(bits) }
    }

    /// The bytes of the slots, and of what belongs to no key.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.lines) + self.lines.bytes_beside()
    }

    /// Counts the buckets forgotten before they were full.
    pub(crate) fn evictions(&self) -> u64 {
        self.lines.common().evictions.load(Relaxed)
    }

    /// Counts the slots that killed processes had left reserved.
    pub(crate) fn reclaimed(&self) -> u64 {
        self.lines.common().reclaimed.load(Relaxed)
    }

    /// Counts the live buckets that are not full. Looks at every slot.
    pub(crate) fn len<B: Buckets>(&self, buckets: &B) -> usize {
        let now = buckets.now();
        let words = self.lines.iter().flat_map(|line| &line.words);
        words
            .map(|word| word.load(Acquire))
            .filter(|&word| slot::state(word) == LIVE)
            .filter(|&word| buckets.until_full(self.fields.value(word), now) > 0)
            .count()
    }

    /// Predicts a first touch of the key: the value that it would begin with, and the moment. If
    /// the table has no room, returns the value that will be full first.
    pub(crate) fn outlook<B: Buckets>(
        &self,
        buckets: &B,
        hash: u64,
        room: Room,
    ) -> Result<(u64, B::Now), Full> {
        let (pair, now) = (self.lines.pair(hash), buckets.now());
        let emptier = |a, b| buckets.emptier(a, b, now);
        let start = self.lines.floor(hash).under(buckets.fresh(now), emptier);
        let chosen = evict::choose(buckets, self.fields, now, |i| pair.slot(i).1.load(Acquire));
        match chosen.choice {
            Choice::Usable(..) => Ok((start, now)),
            Choice::NearestFull(_, word) if room == Room::Evict => {
                Ok((emptier(start, self.fields.value(word)), now))
            }
            Choice::Nothing if room == Room::Evict => Ok((start, now)),
            Choice::NearestFull(_, word) => Err(Full { soonest: Some(self.fields.value(word)) }),
            Choice::Nothing => Err(Full { soonest: None }),
        }
    }

    /// Keeps a first touch of the key from beginning fuller than `value`, which will be left in the
    /// bucket that keys without a slot share. `false`: the key already has a slot.
    ///
    /// The floor is raised before the look. A first touch announces its key before it reads the
    /// floor (`settle`). If both do so at the same moment, at least one sees the other.
    pub(crate) fn keeps_out<B: Buckets>(
        &self,
        buckets: &B,
        hash: u64,
        value: u64,
        now: B::Now,
    ) -> bool {
        self.lines.floor(hash).raise(value, |a, b| buckets.emptier(a, b, now));
        fence(SeqCst);
        Self::search(self.lines.pair(hash), Self::tag(hash)).is_none()
    }

    /// Applies `op` to the key's bucket. If the key has none and `room` is given, makes it one.
    ///
    /// `op` sees a value and a moment, and may be called again. `None`: there is no bucket, and no
    /// room was given.
    pub(crate) fn update<B: Buckets, R>(
        &self,
        buckets: &B,
        hash: u64,
        room: Option<Room>,
        mut op: impl FnMut(u64, B::Now) -> Change<R>,
    ) -> Result<Option<R>, Full> {
        let (tag, pair) = (Self::tag(hash), self.lines.pair(hash));
        let key = Key { tag, pair, floor: self.lines.floor(hash) };
        let mut patience = PATIENCE;
        loop {
            if let Some((i, word)) = Self::search(pair, tag) {
                let done = if slot::state(word) == LIVE {
                    Self::hit(self.fields, pair.slot(i), tag, word, buckets.now(), &mut op)
                } else {
                    self.settle(buckets, key, i, word, FULL, &mut op)
                };
                match done {
                    Some(answer) => return Ok(Some(answer)),
                    None => continue,
                }
            }
            let Some(room) = room else { return Ok(None) };
            match self.claim(buckets, key, room, &mut patience, &mut op)? {
                Claimed::Answer(answer) => return Ok(Some(answer)),
                Claimed::Slot(i, word, displaced) => {
                    let settled = self.settle(buckets, key, i, word, displaced, &mut op);
                    if let Some(answer) = settled {
                        return Ok(Some(answer));
                    }
                }
                Claimed::Again => {}
            }
            core::hint::spin_loop();
        }
    }

    /// Applies `op` to a bucket that is in the table and that no thread is moving: the common case
    /// of [`update`](Self::update), in few instructions, at a moment that may have been read for
    /// several keys. `None`: `update` must decide.
    #[inline(always)]
    pub(crate) fn update_live<N: Copy, R>(
        &self,
        now: impl FnOnce() -> Option<N>,
        hash: u64,
        mut op: impl FnMut(u64, N) -> Change<R>,
    ) -> Option<R> {
        let (tag, pair) = (Self::tag(hash), self.lines.pair(hash));
        let first = pair.first_bearing(tag);
        // The clock is read after the loads, which are on their way meanwhile.
        let now = now()?;
        let place = pair.slot(first?);
        let word = place.1.load(Acquire);
        // The tag again, as in `search`.
        if slot::state(word) != LIVE || place.0.load(Acquire) != tag {
            return None;
        }
        debug_assert_eq!(self.fields, Fields::BUCKET);
        Self::hit(Fields::BUCKET, place, tag, word, now, &mut op)
    }

    /// Computes a key's tag. 0 is the tag of an untouched slot.
    #[inline(always)]
    fn tag(hash: u64) -> u64 {
        hash.max(1)
    }

    /// Finds a LIVE or PENDING slot of the key. It loads the tag before and after the word.
    #[inline(always)]
    fn search(pair: Pair<'_>, tag: u64) -> Option<(usize, u64)> {
        let mut mask = pair.bearing(tag);
        while mask != 0 {
            let i = mask.trailing_zeros() as usize;
            let (tags, words) = pair.slot(i);
            let word = words.load(Acquire);
            // The tag again: the slot may have been given to another key before the word was
            // loaded.
            if slot::state(word) >= PENDING && tags.load(Acquire) == tag {
                return Some((i, word));
            }
            mask &= mask - 1;
        }
        None
    }

    /// Applies `op` to a live bucket of the key. `None`: the slot is no longer the key's.
    #[inline(always)]
    fn hit<N: Copy, R>(
        fields: Fields,
        (tags, words): Place<'_>,
        tag: u64,
        mut word: u64,
        now: N,
        op: &mut impl FnMut(u64, N) -> Change<R>,
    ) -> Option<R> {
        loop {
            let (next, answer) = match op(fields.value(word), now) {
                Change::Grow(value, answer) => (fields.with_value(word, value), answer),
                Change::Shrink(value, answer) => (fields.next_epoch(word, value), answer),
                Change::Keep(answer) => {
                    // The word has not changed since before the tag was seen, so it was this key's.
                    let again = words.load(Acquire);
                    if again == word {
                        return Some(answer);
                    }
                    word = again;
                    if slot::state(word) != LIVE || tags.load(Acquire) != tag {
                        return None;
                    }
                    continue;
                }
            };
            match words.compare_exchange(word, next, AcqRel, Acquire) {
                Ok(_) => return Some(answer),
                Err(newer) => word = newer,
            }
            if slot::state(word) != LIVE || tags.load(Acquire) != tag {
                return None;
            }
        }
    }
}
