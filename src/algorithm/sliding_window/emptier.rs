//! The state that stands for two buckets, if only one can be remembered.

use super::{Even, Kept, Paced, SlidingWindow};

impl SlidingWindow {
    /// See [`Rule::emptier`](crate::algorithm::Rule::emptier). Keeps the larger one of both counts.
    pub(in super::super) fn emptier(&self, a: u64, b: u64, now: u64) -> u64 {
        let index = self.unpack(a).0.max(self.unpack(b).0);
        let now = now.max(index.wrapping_shl(self.fraction.into()));
        let (one, other) = (self.at(a, now), self.at(b, now));
        let kept = match (one.kept, other.kept) {
            // At later moments both are empty; a clock that lags may read an earlier one.
            _ if self.level(one) == 0 && self.level(other) == 0 => return a.max(b),
            (one, kept) if self.level(other) == 0 || one == kept => one,
            (_, other) if self.level(one) == 0 => other,
            (Paced { sum: one }, Paced { sum: other }) => Paced { sum: one.max(other) },
            (one, other) => self.larger_counts(self.counts(one), self.counts(other)),
        };
        self.pack(one.index, kept)
    }

    /// Joins both counts, evenly spread: a paced state falls faster, in this window or the next
    /// one.
    fn larger_counts(&self, one: (u64, u64), other: (u64, u64)) -> Kept {
        let (mut previous, mut current) = (one.0.max(other.0), one.1.max(other.1));
        // The previous count of a paced state.
        if previous == self.limit && current > 0 {
            if previous < self.most() { previous += 1 } else { current = current.max(self.limit) }
        }
        // It would be paced from the next window on.
        if current > 0 && current + 1 == self.limit {
            current = self.limit;
        }
        Even { previous, current, reached: false }
    }

    /// Returns two counts that weigh no less than the state does, at any time.
    fn counts(&self, kept: Kept) -> (u64, u64) {
        match kept {
            Even { previous, current, .. } => (previous, current),
            Paced { sum } => {
                let limit = self.weight(self.limit);
                (self.whole(sum.min(limit)), self.whole((sum - limit).max(0)))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::panic, reason = "a test that cannot go on has failed")]
mod tests {
    use super::super::super::{Algorithm, Rule, Terms};
    use super::SlidingWindow;
    use crate::quota::Quota;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn rule(count: u64) -> SlidingWindow {
        let terms = Terms::new(Quota::per_second(count), Algorithm::SlidingWindow, 56);
        match terms.map(|terms| terms.rule()) {
            Ok(Rule::Sliding(rule)) => rule,
            other => panic!("{other:?}"),
        }
    }

    /// Eighths of a window, and how much is asked for then, admitted or charged.
    fn history() -> impl Strategy<Value = Vec<(u64, u64, bool)>> {
        prop::collection::vec((0..12_u64, 1..9_u64, prop::bool::weighted(0.8)), 0..20)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn nothing_forgotten_weighs_less_later(
            count in prop_oneof![1..9_u64, Just(8_000), Just(8_191)],
            histories in (history(), history()),
            later in prop::collection::vec(0..40_u64, 1..10),
        ) {
            let rule = rule(count);
            let part = rule.window() as u64 / 8;
            let (mut last, mut state) = (8 * part, [0; 2]);
            for (state, history) in state.iter_mut().zip([histories.0, histories.1]) {
                let mut now = 8 * part;
                for (parts, n, admitted) in history {
                    now += parts * part;
                    let n = if count > 9 { n * 1_000 } else { n }.min(count);
                    *state = match rule.take(*state, now, n) {
                        Some(taken) if admitted => taken,
                        None if !admitted => rule.charge(*state, now, n),
                        _ => *state,
                    };
                }
                last = last.max(now);
            }
            let both = rule.emptier(state[0], state[1], last);
            let level = |state, now| rule.level(rule.at(state, now));
            for parts in later {
                let now = last + parts * part;
                for state in state {
                    prop_assert!(level(both, now) >= level(state, now), "{parts} later");
                }
            }
            prop_assert_eq!(rule.emptier(both, state[0], last), both);
        }
    }
}
