//! The value of a bucket as the script keeps it.

use crate::redis::script::place::{End, ServerQueue};
use crate::redis::script::units::{Flow, Units};
use alloc::format;
use alloc::string::String;

#[derive(Clone, Copy, Debug)]
struct Value {
    full: End,
    /// The debt when it was written, if it was over the burst or something is promised.
    noted: Option<u64>,
    /// The furthest end that is promised, if the line is shorter than that.
    promised: Option<End>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kept(Option<Value>);

impl Kept {
    /// What is missing at this time.
    pub(super) fn debt(&self, units: &Units, now: u64) -> u128 {
        let Some(Value { full, noted, .. }) = self.0 else { return 0 };
        let Some(us) = full.us.checked_sub(now) else { return 0 };
        match noted {
            Some(noted) => units.in_parts(Flow { us: us.min(noted), part: full.part }),
            None => units.in_parts(Flow { us, part: full.part }).min(units.burst()),
        }
    }

    /// Corrects a value of which more is missing than can be, since the clock was set back.
    pub(super) fn heal(&mut self, units: &Units, now: u64) {
        let debt = self.debt(units, now);
        if self.0.is_some_and(|value| value.full > units.end(debt, now)) {
            self.keep(units, now, debt);
        }
    }

    pub(super) fn line(&self, units: &Units, now: u64) -> ServerQueue {
        let debt = self.debt(units, now);
        let promised = self.0.and_then(|value| value.promised).unwrap_or_default();
        ServerQueue { debt, now, last: units.end(debt, now).max(promised) }
    }

    /// Keeps a debt. A full bucket is not kept, unless a place is promised.
    pub(super) fn keep(&mut self, units: &Units, now: u64, debt: u128) {
        let promised = self.0.and_then(|value| value.promised);
        self.promise(units, now, debt, promised);
    }

    pub(super) fn promise(&mut self, units: &Units, now: u64, debt: u128, promised: Option<End>) {
        let (flow, full) = (units.flow(debt), units.end(debt, now));
        let promised = promised.filter(|promised| *promised > End { us: now, part: 0 });
        let is_kept = debt > 0 || promised.is_some();
        let noted = (promised.is_some() || debt > units.burst()).then_some(flow.us);
        self.0 = is_kept.then_some(Value { full, noted, promised });
    }

    pub(super) fn give_up(&mut self, units: &Units, line: ServerQueue, end: End, back: u128) {
        let promised = if line.last > end { Some(line.last) } else { None };
        let promised = promised.or(self.0.and_then(|value| value.promised));
        self.promise(units, line.now, line.debt - back, promised);
    }

    /// Resets the bucket, whose places cost at most `most`.
    pub(super) fn reset(&mut self, units: &Units, now: u64, most: u128) {
        let ServerQueue { last, .. } = self.line(units, now);
        let promised = (!units.is_due(last, now)).then(|| {
            let Flow { us, part } = units.flow(units.in_parts(last) + most);
            End { us: us.min((1 << 53) - 1), part }
        });
        self.promise(units, now, 0, promised);
    }

    pub(super) fn text(&self) -> Option<String> {
        let Value { full, noted, promised } = self.0?;
        let End { us, part } = full;
        Some(match (noted, promised, part) {
            (Some(noted), Some(far), _) => format!("{us}:{part}:{noted}:{}:{}", far.us, far.part),
            (Some(noted), None, _) => format!("{us}:{part}:{noted}"),
            (None, _, 0) => format!("{us}"),
            (None, ..) => format!("{us}:{part}"),
        })
    }
}
