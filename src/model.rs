//! What the models in `loom-tests/` see of the keyed table: its real code, with each caller's time
//! given by hand, so that clocks may lag. Compiled for model checkers only.

mod changing;
mod keyed_places;
mod leased;
mod sharing;

pub use changing::{Changing, Clocks, Late};
pub use keyed_places::KeyedPlaces;
pub use leased::{Leased, Spent};
pub use sharing::Sharing;

use crate::algorithm::{Algorithm, Rule, Terms};
use crate::bucket::{Bucket, Place, Whose, queue, verbs};
use crate::cell::Cell;
use crate::keyed::table::{Buckets, Change, Room, Table};
use crate::limiter::RateLimiter;
use crate::limiter::striped::{Centre, Striped, Timed};
use crate::quota::Quota;

/// A table under one algorithm, in which a moment is a number of tokens (of windows, for a window).
#[derive(Debug)]
pub struct Keyed {
    table: Table,
    rule: Rule,
    unit: u64,
}

/// What a caller was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Taken.
    Granted,
    /// Not there.
    Denied,
    /// The key has no slot, and none was free.
    NoSlot,
}

/// One caller: whose key, by which clock.
#[derive(Debug)]
pub struct Caller<'a> {
    keyed: &'a Keyed,
    hash: u64,
    time: Time<'a>,
}

#[derive(Debug)]
enum Time<'a> {
    /// What each reading in turn says; the last one stays.
    Own(&'a [u64], core::cell::Cell<usize>),
    /// The same for all callers.
    Common(&'a core::sync::atomic::AtomicU64),
}

impl Keyed {
    /// A table of `slots` slots; buckets hold `burst` tokens.
    #[must_use]
    pub fn new(slots: usize, burst: u64, algorithm: Algorithm) -> Self {
        let quota = Quota::per_second(burst);
        let bits = Terms::keyed_bits(&quota, algorithm);
        let bucket = Terms::bucket(quota, algorithm, bits);
        let terms = Terms::new(quota, algorithm, bits).unwrap_or(bucket);
        let unit = 1 << terms.scale().fraction;
        Self { table: Table::new(slots, bits), rule: terms.rule(), unit }
    }

    /// A caller for the key of this fingerprint, at this time.
    #[must_use]
    pub fn at<'a>(&'a self, hash: u64, times: &'a [u64]) -> Caller<'a> {
        Caller { keyed: self, hash, time: Time::Own(times, core::cell::Cell::new(0)) }
    }

    /// A caller for the key of this fingerprint, by a clock that all callers share.
    #[must_use]
    pub fn by<'a>(&'a self, hash: u64, clock: &'a core::sync::atomic::AtomicU64) -> Caller<'a> {
        Caller { keyed: self, hash, time: Time::Common(clock) }
    }

    /// Buckets forgotten before they were full.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.table.evictions()
    }
}

impl Caller<'_> {
    /// Takes `n`, the short way if the key is there and its bucket no window, as a limiter does; a first
    /// touch may take a free slot, or a live one if `evict`.
    #[must_use]
    pub fn take(&self, n: u64, evict: bool) -> Answer {
        if !matches!(self.keyed.rule, Rule::Bucket(_)) {
            return self.take_by_search(n, evict);
        }
        let short = self.keyed.table.update_live(
            || Some(self.now()),
            self.hash,
            |state, now| self.decide(state, now, n),
        );
        short.unwrap_or_else(|| self.take_by_search(n, evict))
    }

    /// The same without the short way, which only reads before a first touch: for models of three
    /// threads that it would make too large.
    #[must_use]
    pub fn take_by_search(&self, n: u64, evict: bool) -> Answer {
        let room = if evict { Room::Evict } else { Room::None };
        let take = |state, now| self.decide(state, now, n);
        let answer = self.keyed.table.update(self, self.hash, Some(room), take);
        answer.map_or(Answer::NoSlot, |answer| answer.unwrap_or(Answer::NoSlot))
    }

    fn decide(&self, state: u64, now: u64, n: u64) -> Change<Answer> {
        match self.keyed.rule.take(state, now, n) {
            Some(taken) => Change::Grow(taken, Answer::Granted),
            None => Change::Keep(Answer::Denied),
        }
    }

    /// Gives `n` back; whether anything was missing.
    pub fn refund(&self, n: u64) -> bool {
        let rule = &self.keyed.rule;
        let refund = |state, now| match rule.refund(state, now, n) {
            Some(refunded) => Change::Shrink(refunded, true),
            None => Change::Keep(false),
        };
        matches!(self.keyed.table.update(self, self.hash, None, refund), Ok(Some(true)))
    }

    /// Whole tokens there, if the key has a slot.
    #[must_use]
    pub fn balance(&self) -> Option<i64> {
        let rule = &self.keyed.rule;
        let look = |state, now| Change::Keep(rule.balance(state, now));
        self.keyed.table.update(self, self.hash, None, look).ok().flatten()
    }

    /// Makes the bucket full; whether it was not.
    pub fn reset(&self) -> bool {
        let rule = &self.keyed.rule;
        let reset = |state, now| {
            if rule.is_full(state, now) {
                Change::Keep(false)
            } else {
                Change::Shrink(rule.fresh(now), true)
            }
        };
        matches!(self.keyed.table.update(self, self.hash, None, reset), Ok(Some(true)))
    }
}

impl Buckets for Caller<'_> {
    type Now = u64;

    fn now(&self) -> u64 {
        let now = match &self.time {
            Time::Own(times, reading) => {
                let i = reading.get();
                reading.set((i + 1).min(times.len() - 1));
                times[i]
            }
            // ORDERING: SeqCst, so that this clock goes the same way for all; it is no part of the model.
            Time::Common(clock) => clock.load(core::sync::atomic::Ordering::SeqCst),
        };
        now * self.keyed.unit
    }

    fn fresh(&self, now: u64) -> u64 {
        self.keyed.rule.fresh(now)
    }

    fn not_before(&self, now: u64, fresh: u64) -> u64 {
        now.max(self.keyed.rule.began(fresh))
    }

    fn until_full(&self, value: u64, now: u64) -> u64 {
        self.keyed.rule.until_full(value, now)
    }

    fn emptier(&self, value: u64, forgotten: u64, now: u64) -> u64 {
        self.keyed.rule.emptier(value, forgotten, now)
    }
}

/// Stripes over one bucket, driven by hand, at a time that stands still.
#[derive(Debug)]
pub struct Leases {
    striped: Striped,
    cell: Cell,
    now: Centre,
}

impl Timed for Centre {
    type Now = Self;

    fn read(&self) -> Self {
        *self
    }

    fn centre(&self, now: Self) -> Self {
        now
    }

    fn is_current(&self, _: Self) -> bool {
        true
    }
}

impl Leases {
    /// A bucket of `burst` tokens, with as many stripes.
    ///
    /// # Panics
    ///
    /// If the burst is too small to share.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a model's figures are its own")]
    pub fn new(burst: u64, stripes: usize) -> Self {
        let terms = Terms::bucket(Quota::per_second(burst), Algorithm::TokenBucket, 56);
        let bucket = terms.as_bucket();
        let striped = Striped::new(bucket, stripes).expect("a burst worth sharing");
        let now = Centre { split: striped.split(bucket), units: 1 << terms.scale().fraction };
        Self { striped, cell: Cell::new(0), now }
    }

    /// Takes `n` as the thread of this stripe.
    #[must_use]
    pub fn take(&self, mine: usize, n: u64) -> bool {
        let spent = self.striped.spend(mine, n).is_some();
        spent || self.striped.draw(&self.cell, &self.now, mine, n).0.is_ok()
    }

    /// Takes up to `n` out of the stripes alone, as a charge does.
    #[must_use]
    pub fn collect(&self, mine: usize, n: u64) -> u64 {
        self.striped.collect(mine, n)
    }

    /// Whole tokens in centre and stripes.
    #[must_use]
    pub fn available(&self) -> i64 {
        self.now.balance(self.cell.load()) + self.striped.held() as i64
    }

    /// Tokens in the stripes.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.striped.held()
    }

    /// The most that the centre can hold.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.now.split.bucket.limit()
    }
}

/// A clock that a model's threads may be interrupted at, and may see late.
#[derive(Clone, Debug)]
struct Ticks(alloc::sync::Arc<crate::sync::AtomicU64>);

impl crate::clock::Clock for Ticks {
    fn nanos(&self) -> u64 {
        // ORDERING: Acquire, with the Release of `pass`: who reads a later time sees what was stored before it, as
        // between cores it is, to within the nanoseconds that a store takes.
        self.0.load(crate::sync::Ordering::Acquire)
    }
}

/// A direct limiter on a clock by hand.
#[derive(Debug)]
pub struct Direct {
    /// The limiter.
    pub limiter: RateLimiter,
    clock: Ticks,
}

impl Direct {
    /// On this quota; in batches unless `batch` is 0.
    ///
    /// # Panics
    ///
    /// If there is no such limiter.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a model's figures are its own")]
    pub fn new(quota: Quota, batch: u64) -> Self {
        let clock = Ticks(alloc::sync::Arc::new(crate::sync::AtomicU64::new(0)));
        let source = crate::clock::Source::bare(clock.clone());
        let builder = RateLimiter::builder(quota).source(source);
        let builder = if batch > 0 { builder.batch(batch) } else { builder };
        Self { limiter: builder.build().expect("a limiter that can be"), clock }
    }

    /// With so many stripes.
    ///
    /// # Panics
    ///
    /// Never: the figures are permitted.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a model's figures are its own")]
    pub fn striped(quota: Quota, stripes: usize) -> Self {
        let clock = Ticks(alloc::sync::Arc::new(crate::sync::AtomicU64::new(0)));
        let source = crate::clock::Source::bare(clock.clone());
        let builder = RateLimiter::builder(quota).source(source).stripes(stripes);
        Self { limiter: builder.build().expect("a limiter that can be"), clock }
    }

    /// Lets so many nanoseconds pass.
    pub fn pass(&self, nanos: u64) {
        // ORDERING: Release, see `Ticks`.
        self.clock.0.fetch_add(nanos, crate::sync::Ordering::AcqRel);
    }
}

/// A limiter whose burst is taken, at a time that stands still, with places that go between threads.
#[derive(Debug)]
pub struct Places(RateLimiter);

/// A place in its line.
#[derive(Clone, Copy)]
pub struct Standing(Place);

/// A caller's number in a line, and the place that it took.
#[derive(Clone, Copy)]
pub struct InLine(usize, Place);

impl core::fmt::Debug for InLine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("InLine").field(&self.0).field(&self.1).finish()
    }
}

impl core::fmt::Debug for Standing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Standing").field(&self.0.place).finish()
    }
}

impl Standing {
    /// How long it was until it is due.
    #[must_use]
    pub fn waits(&self) -> core::time::Duration {
        self.0.waits()
    }
}

impl Places {
    /// A bucket of `burst` tokens, empty.
    ///
    /// # Panics
    ///
    /// Never: the figures are permitted.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a model's figures are its own")]
    pub fn new(burst: u64) -> Self {
        let builder = RateLimiter::builder(Quota::per_second(1).burst(burst));
        let limiter = builder.clock(crate::clock::ManualClock::new()).build();
        let limiter = limiter.expect("a quota that can be");
        limiter.charge(burst);
        Self(limiter)
    }

    /// Takes a place.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a model asks for what there is")]
    pub fn reserve(&self, n: u64) -> Standing {
        Standing(self.0.place(Whose::default(), n, None).expect("a place"))
    }

    /// Gives it up: how many tokens come back.
    #[must_use]
    pub fn cancel(&self, place: Standing) -> u64 {
        queue::cancel(&self.0, &place.0, place.0.n)
    }

    /// Makes it never to have been taken, as far as that can be told.
    pub fn undo(&self, place: Standing) {
        queue::undo(&self.0, &place.0, place.0.n);
    }

    /// Gives `n` tokens back.
    pub fn refund(&self, n: u64) {
        self.0.refund(n);
    }

    /// Makes the bucket full.
    pub fn reset(&self) {
        self.0.reset();
    }

    /// Makes the bucket full as another process does that shares it, which knows nobody of this line.
    pub fn reset_elsewhere(&self) {
        verbs::fill(&self.0, Whose::default());
    }

    /// Takes `n` now.
    #[must_use]
    pub fn check(&self, n: u64) -> bool {
        self.0.check_n(n).is_ok()
    }

    /// Whole tokens there, negative in debt.
    #[must_use]
    pub fn available(&self) -> i64 {
        self.0.available()
    }
}

/// A limiter that callers wait for, on a clock by hand. Nobody sleeps: each looks for itself.
#[derive(Debug)]
pub struct Waiters {
    limiter: RateLimiter,
    clock: Ticks,
}

impl Waiters {
    /// A bucket of this quota, empty.
    ///
    /// # Panics
    ///
    /// Never: the figures are permitted.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a model's figures are its own")]
    pub fn new(quota: Quota) -> Self {
        let clock = Ticks(alloc::sync::Arc::new(crate::sync::AtomicU64::new(0)));
        let source = crate::clock::Source::bare(clock.clone());
        let limiter = RateLimiter::builder(quota).source(source).build();
        let limiter = limiter.expect("a limiter that can be");
        limiter.charge(quota.burst_size());
        Self { limiter, clock }
    }

    /// Lets so many seconds pass.
    pub fn pass(&self, seconds: u64) {
        // ORDERING: Release, see `Ticks`.
        self.clock.0.fetch_add(seconds * 1_000_000_000, crate::sync::Ordering::AcqRel);
    }

    /// Stands in line for `n`; `None` if they were there.
    ///
    /// # Panics
    ///
    /// If the line has an end, which it has not.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a model asks for what there is")]
    pub fn enter(&self, n: u64) -> Option<InLine> {
        let notify = || queue::Notify::Thread(std::thread::current());
        match queue::enter(&self.limiter, Whose::default(), n, None, notify).expect("a place") {
            queue::Entered::AtOnce(_) => None,
            queue::Entered::Waits(number, place) => Some(InLine(number, place)),
        }
    }

    /// Whether the caller's place is due by now, as it sees by itself.
    #[must_use]
    pub fn is_due(&self, InLine(number, _): InLine) -> bool {
        let progress = queue::progress_as_thread(&self.limiter, Whose::default(), number);
        progress == queue::Progress::Granted
    }

    /// Acts on a place that is due.
    pub fn act(&self, InLine(number, place): InLine) {
        let _ = queue::act(&self.limiter, Whose::default(), number, &place);
    }

    /// Leaves, from wherever.
    pub fn leave(&self, InLine(number, place): InLine) {
        queue::leave(&self.limiter, Whose::default(), number, &place);
    }

    /// Takes a place with a promised moment.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a model asks for what there is")]
    pub fn reserve(&self, n: u64) -> Standing {
        Standing(self.limiter.place(Whose::default(), n, None).expect("a place"))
    }

    /// Gives it up.
    pub fn cancel(&self, place: Standing) {
        queue::cancel(&self.limiter, &place.0, place.0.n);
    }

    /// Takes `n` now, as a check does.
    #[must_use]
    pub fn check(&self, n: u64) -> bool {
        self.limiter.check_n(n).is_ok()
    }

    /// Whole tokens there, negative in debt.
    #[must_use]
    pub fn available(&self) -> i64 {
        self.limiter.available()
    }

    /// Another quota; whether it is in force.
    #[must_use]
    pub fn change(&self, quota: Quota) -> bool {
        self.limiter.set_quota(quota).is_ok()
    }
}
