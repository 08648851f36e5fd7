//! The lock-free table of fixed memory: one key, one bucket.
//!
//! A key has a 64-bit tag and eight candidate slots in two cache lines, in an order that is the same
//! for every thread. States and their steps are drawn in `slot.rs`; tags change only while RESERVED.
//!
//! **Hit.** Tag, word, tag again, decide, swap. A denial loads the word again and must find it
//! unchanged. It writes nothing.
//!
//! **First touch.** Claim a slot, write the tag, publish PENDING; then *settle*: a fence, and a look
//! at the key's other candidates. A LIVE one, or a PENDING one that comes before: kill one's own and
//! search again. A PENDING one that comes after: kill it and look again. None: read the clock *now*
//! and promote, which is at the same time the thread's own admission. Every thread that meets a PENDING slot
//! of its key settles it likewise; nobody waits for anybody.
//!
//! **Forgetting without forgiving.** A bucket that is forgotten, full or not, leaves its value behind as a
//! *floor*, one for some keys together: a first touch of such a key begins no fuller than that. So a key that comes
//! back finds at most what it had left, whatever was forgotten meanwhile; as in Space-Saving (Metwally, Agrawal,
//! El Abbadi 2005), where a newcomer inherits the count that it displaces. The price is a newcomer's, and only for
//! as long as the forgotten bucket would have taken to be full. A first touch that is denied forgets nobody.
//!
//! Why no key gets past its floor: it is raised before the swap that takes the slot, and read after the look at
//! the key's candidates, which saw that swap or what came after it, or else the key's own bucket.
//!
//! Why one key has one bucket: had two threads promoted two slots without seeing each other, then
//! each look would have come before the other's announcement, which the two fences forbid.
//!
//! ORDERING: word loads are Acquire and pair with every swap and store of a word, which release: who
//! sees a PENDING or LIVE word sees the tag that was written before it, and who sees a tag sees the
//! RESERVED that came before that. Tag loads are Acquire and tag stores Release for the latter. The
//! fences are SeqCst: they order an announcement before the look at the other slots, which no
//! acquire or release does. Weakening each is caught by a model in `loom-tests/`, where it is named.
//! A promotion releases the account of the place that it may be (`ledger.rs`).
//!
//! A kill is Relaxed: it publishes nothing, and being a swap it passes on what the announcement
//! released. The look after it needs no fence of its own. Whoever announced before the first fence
//! was seen by the first look; whoever announces later sees, after its own fence, the announcement
//! that is settled here. Of the killed slot itself a load sees no less than the swap did.

pub(crate) use super::buckets::{Buckets, Full, Room};
pub(crate) use crate::cell::Change;

use super::evict::{self, Choice, Chosen};
use super::lines::{Floor, Lines, Pair, Place};
use super::slot::{self, FREE, Fields, LIVE, PENDING};
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use crate::sync::{AtomicU64, fence};

/// How often a first touch looks again that finds no free slot, and some in other threads' hands.
///
/// Without it, of two threads that first touch a key at once, the first claimed its last free slot, and the second
/// evicted a bucket for it. A thread that is stopped with a slot in its hands costs no more than this.
const PATIENCE: u32 = if cfg!(sluicegate_loom) { 1 } else { 64 };

/// The value of a bucket that is full at any time.
const FULL: u64 = 0;

/// What a first touch came to.
enum Claimed<R> {
    /// The slot's number and its PENDING word, and the value that it displaced.
    Slot(usize, u64, u64),
    /// Nothing needs to be written.
    Answer(R),
    /// Somebody was faster, or is about to give a slot up.
    Again,
}

/// A key's tag, and where its bucket may be.
#[derive(Clone, Copy)]
struct Key<'a> {
    tag: u64,
    pair: Pair<'a>,
    floor: Floor<'a>,
}

/// The slots.
#[derive(Debug)]
pub(crate) struct Table {
    pub(super) lines: Lines,
    pub(super) fields: Fields,
}

impl Table {
    /// A table of at least `slots` slots, rounded up to whole lines, for values of so many bits, at most a
    /// bucket's.
    pub(crate) fn new(slots: usize, bits: u32) -> Self {
        Self { lines: Lines::new(slots), fields: Fields::with_value_bits(bits) }
    }

    /// Bytes of slots, and of what belongs to no key.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.lines) + self.lines.bytes_beside()
    }

    /// Buckets forgotten before they were full.
    pub(crate) fn evictions(&self) -> u64 {
        self.lines.common().evictions.load(Relaxed)
    }

    /// Slots that killed processes had left reserved.
    pub(crate) fn reclaimed(&self) -> u64 {
        self.lines.common().reclaimed.load(Relaxed)
    }

    /// Live buckets that are not full. Looks at every slot.
    pub(crate) fn len<B: Buckets>(&self, buckets: &B) -> usize {
        let now = buckets.now();
        let words = self.lines.iter().flat_map(|line| &line.words);
        words
            .map(|word| word.load(Acquire))
            .filter(|&word| slot::state(word) == LIVE)
            .filter(|&word| buckets.until_full(self.fields.value(word), now) > 0)
            .count()
    }

    /// The value that a first touch of the key would begin with, and when; else the value that will be full
    /// first.
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

    /// Keeps a first touch of the key from beginning fuller than `value`, which the bucket that keys
    /// without a slot share is about to be left with. `false`: the key has a slot already.
    ///
    /// The floor is raised before the look, and a first touch announces its key before it reads the
    /// floor (`settle`). So of two that do so at the same moment, one sees the other.
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

    /// Applies `op` to the key's bucket, and makes it one if it has none and `room` is given.
    ///
    /// `op` sees a value and a moment, and may be called again. `None` if there is no bucket and none
    /// was to be made.
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

    /// Applies `op` to the key's bucket if it is there and nobody is moving it: the common case of
    /// [`update`](Self::update), in few instructions, at a moment that may have been read for several keys.
    /// `None`: it is for `update` to say.
    #[inline(always)]
    pub(crate) fn update_live<N: Copy, R>(
        &self,
        now: impl FnOnce() -> Option<N>,
        hash: u64,
        mut op: impl FnMut(u64, N) -> Change<R>,
    ) -> Option<R> {
        let (tag, pair) = (Self::tag(hash), self.lines.pair(hash));
        let first = pair.first_bearing(tag);
        // The clock after the loads: they are on their way while it is read.
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

    /// 0 is what an untouched slot bears.
    #[inline(always)]
    fn tag(hash: u64) -> u64 {
        hash.max(1)
    }

    /// A LIVE or PENDING slot of the key: its tag before and after its word.
    #[inline(always)]
    fn search(pair: Pair<'_>, tag: u64) -> Option<(usize, u64)> {
        let mut mask = pair.bearing(tag);
        while mask != 0 {
            let i = mask.trailing_zeros() as usize;
            let (tags, words) = pair.slot(i);
            let word = words.load(Acquire);
            // The tag again: the slot may have been given to another key before the word was read.
            if slot::state(word) >= PENDING && tags.load(Acquire) == tag {
                return Some((i, word));
            }
            mask &= mask - 1;
        }
        None
    }

    /// Decides on a live bucket of the key. `None`: the slot is no longer that.
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
                    // Unchanged since before the tag was seen: the word was this key's.
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

    /// Claims a slot and announces the key in it, unless a new bucket would be left as it is.
    ///
    /// Of the line with more room, the first slot that is free or full.
    fn claim<B: Buckets, R>(
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
        // Slots in other threads' hands are not full ones: they are settled in moments.
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
        // What is denied anyway forgets nobody.
        if start != fresh
            && let Change::Keep(answer) = op(start, now)
        {
            return Ok(Claimed::Answer(answer));
        }
        let (tags, words) = pair.slot(i);
        // The key itself may have been given this slot after the search; its tag, seen after its
        // word, would say so.
        if slot::state(word) == LIVE && tags.load(Acquire) == tag {
            return Ok(Claimed::Again);
        }
        if slot::state(word) == LIVE {
            // The tag, seen after the word, is that of the key whose bucket this is, if the swap succeeds. Of a full
            // one as well: a clock that lags behind this one would find it empty.
            let forgotten = self.lines.floor(tags.load(Acquire));
            forgotten.raise(self.fields.value(word), emptier);
        }
        if words.compare_exchange(word, reserved, AcqRel, Relaxed).is_err() {
            return Ok(Claimed::Again);
        }
        if matches!(choice, Choice::NearestFull(..)) {
            self.lines.common().evictions.fetch_add(1, Relaxed);
        }
        // Exclusive until PENDING is seen.
        tags.store(tag, Release);
        let pending = slot::with_state(reserved, PENDING);
        words.store(pending, Release);
        Ok(Claimed::Slot(i, pending, displaced))
    }

    /// Makes slot `i`, seen or made PENDING for this key, its one bucket, and applies `op` to it.
    /// `None`: search again.
    #[inline(never)]
    fn settle<B: Buckets, R>(
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
            // Failing is as well: somebody else has moved it on.
            let _ = words.compare_exchange(word, slot::with_state(word, FREE), Relaxed, Relaxed);
        };
        // The announcement comes before the look at the others.
        fence(SeqCst);
        let mut others = pair.bearing(tag) & !(1 << i);
        while others != 0 {
            let j = others.trailing_zeros() as usize;
            others &= others - 1;
            let (tags, theirs) = pair.slot(j);
            let other = theirs.load(Acquire);
            // No other key's announcement is killed: what that one displaced would be forgotten
            // with it. One key's bucket does not hang on this look; at worst its thread would
            // search again.
            if slot::state(other) < PENDING || tags.load(Acquire) != tag {
                continue;
            }
            // Which of two announcements wins is arbitrary, as long as all threads agree.
            if slot::state(other) == LIVE || j < i {
                kill(words, pending);
                return None;
            }
            kill(theirs, other);
            // It may have been promoted instead, or announced anew: look again.
            others = pair.bearing(tag) & !(1 << i);
        }
        // Now, not when the search began: a stale moment would make the new bucket older than the
        // slot's past.
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
