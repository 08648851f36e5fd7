//! The places of the callers that wait for one bucket, as spans of token time. No clock, no
//! atomics, no lock.
//!
//! A place of `n` tokens is the span `(end - n, end]` of the bucket's full times: the debit that
//! the word has seen. It is due when its end is no more than a burst ahead. In a queue that is
//! *paid afterwards*, it is due when its start has come, since the next caller waits for its cost.
//!
//! ```text
//!   full times:   ... | a a | b | c c c | R R | d | e |  <- the bucket's word
//!                     '---- a run ------' fixed '- run -'
//!
//!   b leaves:     ... | a a | c c c |   | R R | d | e |     c moves up, and leaves a gap before R
//!                 ... | a a | c c c | d | R R | e |         d fits the gap, e and the word move up
//! ```
//!
//! A *run* is places of waiters without anything between them. They move: when one leaves, those
//! behind it come earlier by its span. The things between runs do not move and are not known here:
//! places with a promised moment (reservations), debts, other processes' places. A *gap* is a span
//! that was given up in front of such a thing. The first waiter behind a gap moves into it if its
//! whole place fits. A gap with no waiter behind it goes to the next caller that comes.
//!
//! Why the law of the burst holds: spans never overlap, each is at most a burst long, and the
//! caller that has a span acts when it is due. In a window of length W that begins at t, the
//! callers that act have spans that end within `burst + W` after t and begin at t or later, so
//! together the spans are no longer than that. A span that has begun to flow by is worth only its
//! rest, `(now, end]`.

mod gaps;
mod span;

pub(crate) use span::Span;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use slab::Slab;
use span::is_after;

const NONE: usize = usize::MAX;

/// A waiter in a run, or one that has been granted its place and has not acted yet.
#[derive(Debug)]
struct Waiter<W> {
    units: u64,
    /// The span of the place that was granted.
    granted: Option<Span>,
    before: usize,
    behind: usize,
    caller: W,
}

/// Places without anything between them, from `start` on.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: u64,
    units: u64,
    first: usize,
    last: usize,
}

impl Run {
    fn end(&self) -> u64 {
        self.start.wrapping_add(self.units)
    }
}

/// The callers that wait, in their order.
#[derive(Debug)]
pub(crate) struct Order<W> {
    waiters: Slab<Waiter<W>>,
    runs: VecDeque<Run>,
    /// The gaps, in their order; none touches another.
    gaps: Vec<Span>,
    /// The bucket's burst, if the queue is paid afterwards: the end of a place then counts as that
    /// far behind its start.
    paid_after: Option<u64>,
}

impl<W> Order<W> {
    #[cfg(test)]
    pub(crate) const fn new() -> Self {
        Self::paid(None)
    }

    /// Makes an empty queue, which is paid afterwards if `after` has a burst.
    pub(crate) const fn paid(after: Option<u64>) -> Self {
        Self { waiters: Slab::new(), runs: VecDeque::new(), gaps: Vec::new(), paid_after: after }
    }

    /// Returns whether the queue is paid afterwards.
    pub(crate) fn is_paid_after(&self) -> bool {
        self.paid_after.is_some()
    }

    /// Returns the time that decides when the place of a span is due: its end, or the end that it
    /// would have if it were paid before.
    fn end_of(&self, span: Span) -> u64 {
        self.paid_after.map_or(span.end, |burst| span.start.wrapping_add(burst))
    }

    /// Returns whether there is no waiter and no gap.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiters.is_empty() && self.gaps.is_empty()
    }

    /// Returns whether a caller waits whose place is not granted yet.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.runs.is_empty()
    }

    /// Returns the start of the first waiter's place.
    pub(crate) fn first_start(&self) -> Option<u64> {
        self.runs.front().map(|run| run.start)
    }

    /// Returns the end of the first waiter's place.
    pub(crate) fn first_end(&self) -> Option<u64> {
        let run = self.runs.front()?;
        let end = run.start.wrapping_add(self.waiters[run.first].units);
        Some(self.end_of(Span { start: run.start, end }))
    }

    /// Adds the last waiter, in a span that no waiter is behind. Returns its number.
    pub(crate) fn push(&mut self, span: Span, caller: W) -> usize {
        let waiter =
            Waiter { units: span.units(), granted: None, before: NONE, behind: NONE, caller };
        let key = self.waiters.insert(waiter);
        self.append(self.runs.len(), span, key);
        key
    }

    /// Puts a waiter that is in no run into a span before run `at`.
    fn append(&mut self, at: usize, span: Span, key: usize) {
        if let Some(run) = at.checked_sub(1).and_then(|last| self.runs.get_mut(last))
            && run.end() == span.start
        {
            let last = run.last;
            (run.last, run.units) = (key, run.units.wrapping_add(span.units()));
            self.waiters[last].behind = key;
            self.waiters[key].before = last;
            return;
        }
        let run = Run { start: span.start, units: span.units(), first: key, last: key };
        self.runs.insert(at, run);
    }

    /// Takes a waiter out of its run, whose rest moves up. Returns the span at the end of the run
    /// that is free now.
    fn detach(&mut self, at: usize, key: usize) -> Span {
        let Waiter { before, behind, units, .. } = self.waiters[key];
        let run = &mut self.runs[at];
        let end = run.end();
        if before == NONE {
            run.first = behind
        } else {
            self.waiters[before].behind = behind
        }
        if behind == NONE {
            run.last = before
        } else {
            self.waiters[behind].before = before
        }
        run.units = run.units.wrapping_sub(units);
        if run.first == NONE {
            self.runs.remove(at);
        }
        let waiter = &mut self.waiters[key];
        (waiter.before, waiter.behind) = (NONE, NONE);
        Span::ending(end, units)
    }

    /// Returns the run that a waiter is in. One step if there is one run, else one for each waiter
    /// before it in its run.
    fn run_of(&self, key: usize) -> Option<usize> {
        if self.runs.len() <= 1 {
            return self.runs.len().checked_sub(1);
        }
        let mut first = key;
        while self.waiters[first].before != NONE {
            first = self.waiters[first].before;
        }
        self.runs.iter().position(|run| run.first == first)
    }

    /// Grants the first waiter its place, if `is_due` returns true for its end.
    pub(crate) fn grant_first(&mut self, is_due: impl Fn(u64) -> bool) -> Option<&mut W> {
        let run = *self.runs.front()?;
        let key = run.first;
        let end = run.start.wrapping_add(self.waiters[key].units);
        let span = Span { start: run.start, end };
        if !is_due(self.end_of(span)) {
            return None;
        }
        let run = self.runs.front_mut()?;
        let waiter = &mut self.waiters[key];
        waiter.granted = Some(span);
        let behind = core::mem::replace(&mut waiter.behind, NONE);
        (run.start, run.units) = (span.end, run.units.wrapping_sub(waiter.units));
        run.first = behind;
        if behind == NONE {
            self.runs.pop_front();
        } else {
            self.waiters[behind].before = NONE;
        }
        Some(&mut self.waiters[key].caller)
    }

    /// Returns whether a waiter has been granted its place.
    pub(crate) fn is_granted(&self, key: usize) -> bool {
        self.waiters.get(key).is_none_or(|waiter| waiter.granted.is_some())
    }

    /// Returns the first waiter.
    pub(crate) fn first(&mut self) -> Option<&mut W> {
        let first = self.runs.front()?.first;
        self.waiter(first)
    }

    pub(crate) fn is_first(&self, key: usize) -> bool {
        self.runs.front().is_some_and(|run| run.first == key)
    }

    /// Calls `look` with the number of each waiter, in their order, and the end of its place.
    pub(crate) fn each(&self, mut look: impl FnMut(usize, u64)) {
        for run in &self.runs {
            let (mut key, mut end) = (run.first, run.start);
            while key != NONE {
                let waiter = &self.waiters[key];
                let start = end;
                end = end.wrapping_add(waiter.units);
                look(key, self.end_of(Span { start, end }));
                key = waiter.behind;
            }
        }
    }

    /// Returns all waiters, including those that have been granted their places and have not acted
    /// yet.
    pub(crate) fn all(&mut self) -> impl Iterator<Item = &mut W> {
        self.waiters.iter_mut().map(|(_, waiter)| &mut waiter.caller)
    }

    /// Limits gaps, and granted places that were not acted on, to their rest at `now`.
    pub(crate) fn trim(&mut self, now: u64) {
        self.trim_gaps(now);
        for (_, waiter) in &mut self.waiters {
            if let Some(span) = &mut waiter.granted {
                *span = span.rest(now).unwrap_or(Span { start: span.end, end: span.end });
            }
        }
    }

    /// Takes all waiters out of the queue, and all gaps. Returns the waiters' numbers in their
    /// order.
    pub(crate) fn disperse(&mut self) -> Vec<usize> {
        let mut keys = Vec::new();
        self.each(|key, _| keys.push(key));
        for key in &keys {
            let waiter = &mut self.waiters[*key];
            (waiter.before, waiter.behind) = (NONE, NONE);
        }
        self.runs.clear();
        self.gaps.clear();
        keys
    }

    /// Adds a waiter as the last one again, after [`disperse`](Self::disperse).
    pub(crate) fn push_again(&mut self, key: usize, span: Span) {
        self.waiters[key].units = span.units();
        self.append(self.runs.len(), span, key);
    }

    /// Returns the waiter of that number.
    pub(crate) fn waiter(&mut self, key: usize) -> Option<&mut W> {
        self.waiters.get_mut(key).map(|waiter| &mut waiter.caller)
    }

    /// Forgets a waiter that acts on the place it was granted.
    pub(crate) fn act(&mut self, key: usize) -> Option<W> {
        self.claim(key).map(|(caller, _)| caller)
    }

    /// Forgets a waiter, and returns the place that it was granted.
    pub(crate) fn claim(&mut self, key: usize) -> Option<(W, Span)> {
        let granted = self.waiters.get(key)?.granted?;
        self.waiters.try_remove(key).map(|waiter| (waiter.caller, granted))
    }

    /// Takes a waiter out, wherever it is, and hands on its tokens.
    pub(crate) fn leave(
        &mut self,
        key: usize,
        now: u64,
        take_back: &mut impl FnMut(Span) -> bool,
    ) -> Option<W> {
        let granted = self.waiters.get(key)?.granted;
        let free = granted.or_else(|| self.run_of(key).map(|at| self.detach(at, key)));
        let caller = self.waiters.remove(key).caller;
        if let Some(span) = free {
            self.free(span, now, take_back);
            // The first waiter behind a gap may fit it now.
            for gap in core::mem::take(&mut self.gaps) {
                self.free(gap, now, take_back);
            }
        }
        Some(caller)
    }

    /// Hands a free span to the next waiter behind it; else to the bucket, which takes it if
    /// nothing follows it; else keeps it as a gap.
    pub(crate) fn free(&mut self, span: Span, now: u64, take_back: &mut impl FnMut(Span) -> bool) {
        let mut spans = Vec::new();
        let mut next = Some(span);
        while let Some(span) = next {
            self.free_one(span, now, take_back, &mut spans);
            next = spans.pop();
        }
    }

    fn free_one(
        &mut self,
        span: Span,
        now: u64,
        take_back: &mut impl FnMut(Span) -> bool,
        later: &mut Vec<Span>,
    ) {
        let whole = self.with_gaps_at(span);
        let Some(span) = whole.rest(now) else { return };
        let at = self.runs.iter().position(|run| !is_after(span.end, run.start));
        let Some(at) = at else {
            if !take_back(span) {
                self.keep(span);
            }
            return;
        };
        let run = &mut self.runs[at];
        if run.start == span.end {
            // All places of the run come earlier by the span.
            let end = run.end();
            run.start = span.start;
            self.join_with_previous(at);
            later.push(Span::ending(end, span.units()));
            return;
        }
        // Something that does not move is in between: the first waiter's whole place must fit.
        let (first, units) = (run.first, self.waiters[run.first].units);
        if units > span.units() {
            self.keep(span);
            return;
        }
        let freed = self.detach(at, first);
        let middle = span.start.wrapping_add(units);
        self.append(at, Span { start: span.start, end: middle }, first);
        later.push(freed);
        if middle != span.end {
            later.push(Span { start: middle, end: span.end });
        }
    }

    fn join_with_previous(&mut self, at: usize) {
        let Some(previous) = at.checked_sub(1) else { return };
        let (front, run) = (self.runs[previous], self.runs[at]);
        if front.end() != run.start {
            return;
        }
        self.waiters[front.last].behind = run.first;
        self.waiters[run.first].before = front.last;
        let units = front.units.wrapping_add(run.units);
        self.runs[previous] = Run { units, last: run.last, ..front };
        self.runs.remove(at);
    }
}

#[cfg(test)]
mod tests;
