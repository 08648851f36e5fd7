//! The rational model of a window in Redis.

use crate::redis::script::Ask;
use crate::redis::script::window::{Counts, Known, MOST_COUNTED, Window};
use alloc::format;
use alloc::string::String;
use num_rational::Ratio;

type Exact = Ratio<i128>;

fn exact(n: u64) -> Exact {
    Exact::from(i128::from(n))
}

fn whole(n: Exact) -> u64 {
    n.to_integer() as u64
}

/// The tokens admitted in the window that was written last and in the one before it, and the level
/// by its definition.
#[derive(Clone, Copy)]
pub(super) struct Model {
    limit: u64,
    period: u64,
    sliding: bool,
    max_debt: u64,
    /// The window that was written last.
    written: u64,
    previous: Exact,
    current: Exact,
    /// Whether less than one token was left, once.
    reached: bool,
    /// Whether the admitted tokens leave the window at the rate.
    paced: bool,
}

impl Model {
    pub(super) fn new(limit: u64, period: u64, sliding: bool) -> Self {
        let [previous, current] = [exact(0); 2];
        let (reached, paced, max_debt) = (false, false, u64::MAX);
        Self { limit, period, sliding, max_debt, written: 0, previous, current, reached, paced }
    }

    pub(super) fn with_max_debt(self, max_debt: u64) -> Self {
        Self { max_debt, ..self }
    }

    fn clear(&mut self) {
        let Self { written, max_debt, .. } = *self;
        let none = Self::new(self.limit, self.period, self.sliding);
        *self = Self { written, max_debt, ..none };
    }

    /// Windows begin by the clock. The counts of one that has not yet begun count in the present
    /// one.
    fn flow(&mut self, now: u64) -> Counts {
        let index = now / self.period;
        if index > self.written + 1 || (index > self.written && !self.sliding) {
            self.clear();
        } else if index > self.written {
            let full = self.reached || self.current + 1 >= exact(self.limit);
            let full = full && self.previous <= exact(self.limit);
            let full = full || self.current == exact(self.limit);
            let mut left = self.current;
            if self.paced {
                left = (left + self.previous - exact(self.limit)).max(exact(0));
            }
            let paced = (self.paced || full) && left > exact(0) && left <= exact(self.limit);
            self.clear();
            (self.previous, self.paced) = (if paced { left } else { left.ceil() }, paced);
        }
        self.written = index;
        let known = match (self.paced, self.reached) {
            (true, _) => {
                let part = (self.previous + self.current).fract() * i128::from(self.period);
                Known::Paced(whole(part))
            }
            (_, true) => Known::Reached,
            _ => Known::Count,
        };
        let left = self.period - now % self.period;
        let [previous, current] = [self.previous, self.current].map(whole);
        // A part is kept beside both counts.
        let current =
            if self.paced { whole(self.previous + self.current) - previous } else { current };
        Counts { left, previous, current, known }
    }

    fn passed(&self, at: u64) -> Exact {
        Exact::new(i128::from(at % self.period), self.period.into())
    }

    /// What is left at a time in the window that was written last.
    fn room(&self, at: u64) -> Exact {
        let goes = if self.paced { exact(self.limit) } else { self.previous };
        let left = (self.previous - goes * self.passed(at)).max(exact(0));
        exact(self.limit) - left - self.current
    }

    fn put_paced(&mut self, sum: Exact) {
        self.previous = sum.min(exact(self.limit));
        self.current = sum - self.previous;
        (self.paced, self.reached) = (true, false);
    }

    fn add(&mut self, n: u64, now: u64, admitted: bool) {
        if self.paced && self.room(now) == exact(self.limit) {
            // As if the server had forgotten it.
            self.clear();
        }
        let sum = self.previous + self.current;
        if self.paced {
            self.put_paced(sum + exact(n));
        } else if self.sliding && self.limit == 1 && sum == exact(0) {
            self.put_paced(self.passed(now) + exact(n));
        } else {
            self.current += exact(n);
            self.reached |= self.sliding && admitted && self.room(now) < exact(1);
        }
    }

    fn give_back(&mut self, n: u64, now: u64) {
        if self.room(now) == exact(self.limit) {
            return;
        }
        if self.paced {
            self.put_paced((self.previous + self.current - exact(n)).max(exact(0)));
            if self.room(now) == exact(self.limit) {
                self.clear();
            }
            return;
        }
        let here = exact(n).min(self.current);
        self.current -= here;
        self.previous = (self.previous + here - exact(n)).max(exact(0));
        self.reached &= self.previous + self.current > exact(0);
    }

    /// Decides, and compares that with the decision in Rust.
    pub(super) fn settle(&mut self, window: &Window, ask: Ask, now: u64) -> Counts {
        let mut at = *self;
        let counts = at.flow(now);
        let room = at.room(now);
        let (granted, then) = window.settle(counts, ask);
        let about = || format!("{window:?} {ask:?} at {now} of {counts:?}, {granted:?} {then:?}");
        assert_eq!(i128::from(window.balance(counts)), room.floor().to_integer(), "{}", about());
        let fits = |n: u64| exact(n) <= room;
        let should = match ask {
            Ask::Take(0) | Ask::UpTo(0) | Ask::Look(0) => Some(0),
            Ask::Take(n) | Ask::Look(n) => fits(n).then_some(n),
            Ask::UpTo(n) => {
                let granted = room.floor().to_integer().clamp(0, n.into()) as u64;
                (granted > 0).then_some(granted)
            }
            Ask::Charge(n) | Ask::Refund(n) => Some(n),
        };
        let mut after = at;
        match (ask, should) {
            (Ask::Take(_) | Ask::UpTo(_) | Ask::Look(_), Some(n @ 1..)) => after.add(n, now, true),
            (Ask::Charge(n), _) => {
                let may_be_owed = room.floor().to_integer() + i128::from(self.max_debt);
                let may_be_owed = may_be_owed.clamp(0, u64::MAX.into()) as u64;
                let n = n.min(MOST_COUNTED - counts.current).min(may_be_owed);
                if n > 0 {
                    after.add(n, now, false);
                }
            }
            (Ask::Refund(n @ 1..), _) => after.give_back(n, now),
            _ => {}
        }
        assert_eq!((granted, then), (should, after.flow(now)), "{}", about());
        // A look writes only after the clock was set back, and so does a question that changes
        // nothing.
        let writes = !matches!(ask, Ask::Look(_)) && then != counts;
        if writes || self.written > at.written {
            *self = if writes { after } else { at };
        }
        counts
    }

    /// Every wait is enough, and a microsecond less is not.
    pub(super) fn hold_waits(&self, window: &Window, n: u64, now: u64) -> u64 {
        let counts = { *self }.flow(now);
        let wait = window.until(counts, n).unwrap();
        for (wait, n) in [(wait, n), (window.until_full(counts), self.limit)] {
            let about = || format!("{window:?}: {n} at {now} of {counts:?} after {wait}");
            let is_left = |at| {
                let mut then = *self;
                then.flow(now);
                then.flow(at);
                then.room(at) >= exact(n)
            };
            assert!(is_left(now + wait), "{}", about());
            assert!(wait == 0 || !is_left(now + wait - 1), "{}", about());
        }
        wait
    }

    pub(super) fn text(mut self) -> Option<String> {
        let written = self.written;
        let Counts { previous, current, known, .. } = self.flow(written * self.period);
        let text = match (self.sliding, known.mark()) {
            (false, _) => format!("{written}:{current}"),
            (true, 0) => format!("{written}:{current}:{previous}"),
            (true, mark) => format!("{written}:{current}:{previous}:{mark}"),
        };
        (previous + current + known.mark() > 0).then_some(text)
    }
}
