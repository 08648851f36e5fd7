//! A line of reservations, in rational numbers.

#![allow(unreachable_pub, reason = "a module of tests")]

use super::models::{Exact, Model, exact, rate};
use num_traits::Signed;
use sluicegate::{Carry, Quota};

/// A line of reservations in rational numbers: the token bucket's model, and what was given up in
/// front of somebody.
pub struct Line {
    pub model: Model,
    /// Token time at the model's last moment.
    pub flowed: Exact,
    /// Spans of token time that were given up, in their order.
    pub gaps: Vec<(Exact, Exact)>,
    /// All that has been given back to the bucket.
    pub returned: Exact,
    pub now: u64,
    /// Ends that differ by no more are the same.
    pub same: Exact,
}

/// A place: its end in token time, and its cost.
#[derive(Clone)]
pub struct Held {
    pub place: Exact,
    pub n: u64,
    pub at_once: bool,
    /// What had been given back by then.
    pub returned: Exact,
    pub burst: Exact,
}

impl Line {
    pub fn new(quota: &Quota) -> Self {
        let (model, zero) = (Model::new(quota), || exact(0));
        let same = exact(1) / exact(1_000);
        Self { model, flowed: zero(), gaps: Vec::new(), returned: zero(), now: 0, same }
    }

    pub fn flow(&mut self, now: u64) {
        self.model.flow(now);
        self.flowed += exact(now - self.now) * &self.model.rate;
        self.now = now;
    }

    /// Another quota from now on: places keep their token time, and the line goes on at another
    /// one.
    pub fn set(&mut self, quota: &Quota, carry: Carry) {
        // What has flowed by, has.
        self.trim();
        let Model { burst, tokens, .. } = &self.model;
        let (missing, next) = (burst - tokens, exact(quota.burst_size()));
        let (shift, there) = match carry {
            Carry::Full => (missing, next.clone()),
            Carry::Proportional => {
                let scaled = &missing * &next / burst;
                (missing - &scaled, &next - scaled)
            }
            _ => (burst - &next, tokens.clone().min(next.clone())),
        };
        self.flowed += shift;
        (self.model.burst, self.model.tokens, self.model.rate) = (next, there, rate(quota));
    }

    /// The bucket's full time: where the line ends.
    pub fn full(&self) -> Exact {
        &self.flowed + (&self.model.burst - &self.model.tokens)
    }

    pub fn trim(&mut self) {
        let flowed = &self.flowed;
        for (start, _) in &mut self.gaps {
            *start = start.clone().max(flowed.clone());
        }
        self.gaps.retain(|(start, end)| start < end);
    }

    pub fn give_back(&mut self, back: Exact) {
        let back = back.max(exact(0)).min(&self.model.burst - &self.model.tokens);
        self.model.tokens += &back;
        self.returned += back;
    }

    /// Gaps come back when nobody waits.
    pub fn settle_gaps(&mut self) {
        self.trim();
        while let Some((start, end)) = self.gaps.last().cloned()
            && self.take_back(&start, &end)
        {
            self.gaps.pop();
        }
        if !self.model.tokens.is_negative() {
            let all = self.gaps.drain(..).fold(exact(0), |all, (start, end)| all + (end - start));
            self.give_back(all);
        }
    }

    pub fn is_due(&self, end: &Exact) -> bool {
        end - &self.model.burst <= self.flowed
    }

    /// Where a place for `n` would end: in the first gap that it fits, or behind all others. And
    /// how far from that size the gaps are.
    pub fn place(&mut self, n: u64) -> (Option<usize>, Exact, Exact) {
        self.settle_gaps();
        let n = exact(n);
        let sizes = self.gaps.iter().map(|(start, end)| (end - start - &n).abs());
        let near = sizes.min().unwrap_or(exact(1_000));
        match self.gaps.iter().position(|(start, end)| end - start >= n) {
            Some(at) => (Some(at), &self.gaps[at].0 + n, near),
            None => (None, self.full() + n, near),
        }
    }

    pub fn reserve(&mut self, n: u64) -> Held {
        let (gap, place, _) = self.place(n);
        match gap {
            Some(at) => self.gaps[at].0 = place.clone(),
            None => self.model.charge(n),
        }
        self.trim();
        let (at_once, returned) = (self.is_due(&place), self.returned.clone());
        Held { place, n, at_once, returned, burst: self.model.burst.clone() }
    }

    pub fn left(&self, held: &Held) -> Exact {
        if held.at_once { exact(0) } else { &held.place - &self.model.burst - &self.flowed }
    }

    /// A span that is free: with the gaps that touch it, the bucket's if it is the last.
    pub fn free(&mut self, start: Exact, end: Exact) {
        let (mut start, mut end) = (start.max(self.flowed.clone()), end);
        let same = self.same.clone();
        self.gaps.retain(|gap| {
            if (&gap.1 - &start).abs() <= same {
                start = gap.0.clone();
            } else if (&gap.0 - &end).abs() <= same {
                end = gap.1.clone();
            } else {
                return true;
            }
            false
        });
        if start >= end {
            return;
        }
        if !self.take_back(&start, &end) {
            self.gaps.push((start, end));
            self.gaps.sort();
        }
        self.settle_gaps();
    }

    /// Gives a span back to the bucket, if the line goes no further.
    pub fn take_back(&mut self, start: &Exact, end: &Exact) -> bool {
        let (full, before) = (self.full(), self.returned.clone());
        if full > end + &self.same {
            return false;
        }
        self.give_back(end - start);
        if (full - end).abs() <= self.same {
            self.returned = before;
        }
        true
    }

    /// The last `n` tokens of a place are given up before it is due: how many are somebody else's.
    pub fn cancel(&mut self, held: &Held, n: u64) -> Exact {
        if !self.left(held).is_positive() {
            if !held.at_once {
                self.settle_gaps();
            }
            return exact(0);
        }
        let start = (&held.place - exact(n)).max(self.flowed.clone());
        let back = (&held.place - &start).max(exact(0));
        self.free(start, held.place.clone());
        back
    }

    /// They are given back after it was due: as many as the bucket would have more without them.
    pub fn undo(&mut self, held: &Held, n: u64) {
        self.settle_gaps();
        let returned = &self.returned - &held.returned;
        let grown = (&self.model.burst - &held.burst).max(exact(0));
        let place = &held.place - grown;
        let last = &self.full() - &self.same <= held.place && returned <= self.same;
        if self.model.tokens.is_negative() {
            let end = place - returned;
            return self.free(&end - exact(n), end);
        }
        let lacks = place - &self.flowed - returned;
        let (before, back) = (self.returned.clone(), exact(n).min(lacks));
        self.give_back(back);
        if last {
            self.returned = before;
        }
    }
}
