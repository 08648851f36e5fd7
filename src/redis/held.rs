//! Flow that Redis has granted to a process, and that nobody has used yet. Pure.

use super::units::Units;
use alloc::collections::VecDeque;

/// In nanoseconds of the line's clock: flow that nobody wanted when it was due is nobody's any more so much later.
pub(super) const STALE: u64 = 10_000_000;

/// A stretch of token time, in parts since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) start: u128,
    pub(super) end: u128,
    /// The server's time as it was seen, in parts, and when that was, in nanoseconds of the line's clock: not sooner than
    /// it was so, so that nobody is early.
    pub(super) seen: u128,
    pub(super) at: u64,
    /// What was missing from the bucket with it, if it was due at once.
    pub(super) missing: Option<u128>,
}

impl Held {
    pub(super) fn cost(&self) -> u128 {
        self.end - self.start
    }

    /// The server's time when a point of it may be acted on.
    pub(super) fn acts(&self, units: &Units, point: u128) -> u128 {
        point.saturating_sub(units.burst()).max(self.seen)
    }

    /// When its end may be acted on.
    pub(super) fn due(&self, units: &Units) -> u64 {
        self.local(units, self.acts(units, self.end))
    }

    /// When it is that time, by the line's clock.
    pub(super) fn local(&self, units: &Units, time: u128) -> u64 {
        let nanos = time.saturating_sub(self.seen).saturating_mul(1_000);
        let nanos = nanos.div_ceil(units.parts().into());
        self.at.saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The server's time, as far as is known.
    pub(super) fn time(&self, units: &Units, local: u64) -> u128 {
        let nanos = u128::from(local.saturating_sub(self.at));
        self.seen + nanos * u128::from(units.parts()) / 1_000
    }
}

/// Stretches in the order of their ends. Others' places may be between them.
#[derive(Debug)]
pub(super) struct Stretches {
    units: Units,
    list: VecDeque<Held>,
    flow: u128,
    /// How many do not begin where the one before ends.
    gaps: usize,
}

impl Stretches {
    pub(super) fn new(units: Units) -> Self {
        Self { units, list: VecDeque::new(), flow: 0, gaps: 0 }
    }

    /// All of it.
    pub(super) fn flow(&self) -> u128 {
        self.flow
    }

    pub(super) fn has_gaps(&self) -> bool {
        self.gaps > 0
    }

    pub(super) fn first(&self) -> Option<&Held> {
        self.list.front()
    }

    pub(super) fn last(&self) -> Option<&Held> {
        self.list.back()
    }

    pub(super) fn get(&self, at: usize) -> Option<&Held> {
        self.list.get(at)
    }

    pub(super) fn insert(&mut self, held: Held) {
        let at = self.list.partition_point(|other| other.end <= held.end);
        let before = at.checked_sub(1).and_then(|before| self.list.get(before)).copied();
        let after = self.list.get(at).copied();
        let gap = |one: Option<Held>, two: Option<Held>| {
            usize::from(one.zip(two).is_some_and(|(one, two)| one.end != two.start))
        };
        self.gaps -= gap(before, after);
        self.gaps += gap(before, Some(held)) + gap(Some(held), after);
        self.flow += held.cost();
        self.list.insert(at, held);
    }

    /// So much after the beginning, if there are no gaps: where that is, and in which stretch.
    pub(super) fn after(&self, cost: u128) -> Option<(usize, u128)> {
        let end = self.list.front()?.start + cost;
        let at = self.list.partition_point(|held| held.end < end);
        (cost <= self.flow).then_some((at, end))
    }

    /// The first that is so long, without gaps, from there on: in which stretch it ends, and where.
    pub(super) fn fit(&self, at: usize, from: u128, cost: u128) -> Option<(usize, u128)> {
        let (mut have, mut before) = (0, None);
        for (at, held) in self.list.iter().enumerate().skip(at) {
            let start = if before.is_none() { held.start.max(from) } else { held.start };
            if before.is_some_and(|before| before != held.start) {
                have = 0;
            }
            have += held.end.saturating_sub(start);
            if have >= cost {
                return Some((at, held.end - (have - cost)));
            }
            before = Some(held.end);
        }
        None
    }

    /// What is after a point of that stretch.
    pub(super) fn behind(&self, at: usize, end: u128) -> u128 {
        let rest = self.list.get(at).map_or(0, |held| held.end.saturating_sub(end));
        rest + self.list.range((at + 1).min(self.list.len())..).map(Held::cost).sum::<u128>()
    }

    /// Takes all up to there out of the front.
    pub(super) fn consume(&mut self, at: usize, end: u128) {
        for _ in 0..at {
            self.drop_first();
        }
        let Some(held) = self.list.front_mut() else { return };
        if held.end == end {
            self.drop_first();
        } else {
            self.flow -= end - held.start;
            held.start = end;
        }
    }

    fn drop_first(&mut self) {
        let Some(first) = self.list.pop_front() else { return };
        self.flow -= first.cost();
        if let Some(next) = self.list.front() {
            self.gaps -= usize::from(next.start != first.end);
        }
    }

    /// Takes so much out of the end, or less, up to a gap.
    pub(super) fn take_last(&mut self, mut most: u128) -> Option<Held> {
        let last = *self.list.back()?;
        let mut start = last.end;
        while most > 0
            && let Some(held) = self.list.back().copied()
            && held.end == start
        {
            self.list.pop_back();
            self.gaps -= usize::from(self.list.back().is_some_and(|one| one.end != held.start));
            self.flow -= held.cost();
            if held.cost() > most {
                start -= most;
                self.insert(Held { end: start, missing: None, ..held });
                break;
            }
            most -= held.cost();
            start = held.start;
        }
        (start < last.end).then_some(Held { start, ..last })
    }

    /// Nobody was there for what was due so long ago.
    pub(super) fn forget_stale(&mut self, now: u64) {
        let stale = now.saturating_sub(STALE);
        while let Some(first) = self.list.front().copied()
            && first.at < stale
        {
            let fresh = first.time(&self.units, stale) + self.units.burst();
            if first.end <= fresh {
                self.drop_first();
                continue;
            }
            // Whole tokens of it.
            let gone = fresh.saturating_sub(first.start);
            let gone = gone - gone % self.units.cost(1);
            if gone > 0 {
                self.consume(0, first.start + gone);
            }
            return;
        }
    }
}
