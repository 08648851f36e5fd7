//! Flow that Redis has granted to this process and that no caller has used yet. Pure.

use crate::redis::script::units::Units;
use alloc::collections::VecDeque;

/// The age, in nanoseconds since it was due, at which unused flow is forgotten. A caller that got
/// it later would act on it later than other processes know, by the difference.
pub(crate) const STALE: u64 = 10_000_000;

/// A stretch of flow, in parts since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) start: u128,
    pub(crate) end: u128,
    /// The server's time when it granted this, in parts, and the queue's time when the answer came,
    /// in nanoseconds. The answer comes later, so no caller acts early.
    pub(crate) seen: u128,
    pub(crate) at: u64,
    /// The parts missing from the bucket after it, if it was due at once.
    pub(crate) missing: Option<u128>,
}

impl Held {
    pub(crate) fn cost(&self) -> u128 {
        self.end - self.start
    }

    /// The server's time at which a place with this end is due.
    pub(crate) fn acts(&self, units: &Units, point: u128) -> u128 {
        point.saturating_sub(units.burst()).max(self.seen)
    }

    /// The moment at which all of it is due, by the queue's clock.
    pub(crate) fn due(&self, units: &Units) -> u64 {
        self.local(units, self.acts(units, self.end))
    }

    /// The queue's time at a time of the server.
    pub(crate) fn local(&self, units: &Units, time: u128) -> u64 {
        let nanos = time.saturating_sub(self.seen).saturating_mul(1_000);
        let nanos = nanos.div_ceil(units.parts().into());
        self.at.saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The server's time at a time of the queue.
    pub(crate) fn time(&self, units: &Units, local: u64) -> u128 {
        let nanos = u128::from(local.saturating_sub(self.at));
        self.seen + nanos * u128::from(units.parts()) / 1_000
    }
}

/// Stretches in the order of their ends. Other processes' places may lie between them.
#[derive(Debug)]
pub(crate) struct Stretches {
    units: Units,
    list: VecDeque<Held>,
    flow: u128,
    /// The number of stretches that do not begin where the previous one ends.
    gaps: usize,
}

impl Stretches {
    pub(crate) fn new(units: Units) -> Self {
        Self { units, list: VecDeque::new(), flow: 0, gaps: 0 }
    }

    /// The cost of all stretches.
    pub(crate) fn flow(&self) -> u128 {
        self.flow
    }

    pub(crate) fn has_gaps(&self) -> bool {
        self.gaps > 0
    }

    pub(crate) fn first(&self) -> Option<&Held> {
        self.list.front()
    }

    pub(crate) fn get(&self, at: usize) -> Option<&Held> {
        self.list.get(at)
    }

    pub(crate) fn insert(&mut self, held: Held) {
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

    /// The point `cost` after the beginning, and the stretch that it is in. There must be no gaps.
    pub(crate) fn after(&self, cost: u128) -> Option<(usize, u128)> {
        let end = self.list.front()?.start + cost;
        let at = self.list.partition_point(|held| held.end < end);
        (cost <= self.flow).then_some((at, end))
    }

    /// The end of the first place of that cost, from a point on, that has no gap in it.
    pub(crate) fn fit(&self, at: usize, from: u128, cost: u128) -> Option<(usize, u128)> {
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

    /// The cost of all flow behind a point of a stretch.
    pub(crate) fn behind(&self, at: usize, end: u128) -> u128 {
        let rest = self.list.get(at).map_or(0, |held| held.end.saturating_sub(end));
        rest + self.list.range((at + 1).min(self.list.len())..).map(Held::cost).sum::<u128>()
    }

    /// Removes all flow up to a point.
    pub(crate) fn consume(&mut self, at: usize, end: u128) {
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

    /// Removes flow from the end: `most` parts, or less if there is a gap.
    pub(crate) fn take_last(&mut self, mut most: u128) -> Option<Held> {
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

    /// Removes stale flow, in whole tokens.
    pub(crate) fn forget_stale(&mut self, now: u64) {
        let stale = now.saturating_sub(STALE);
        while let Some(first) = self.list.front().copied()
            && first.at < stale
        {
            let fresh = first.time(&self.units, stale) + self.units.burst();
            if first.end <= fresh {
                self.drop_first();
                continue;
            }
            let gone = fresh.saturating_sub(first.start);
            let gone = gone - gone % self.units.cost(1);
            if gone > 0 {
                self.consume(0, first.start + gone);
            }
            return;
        }
    }
}
