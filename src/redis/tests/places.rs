//! Places that are given up never break the law of the burst.

use super::kept::Kept;
use super::support::{WindowLaw, exact, quota};
use super::{Random, START, long};
use crate::redis::script::Ask;
use crate::redis::script::place::End;
use crate::redis::script::units::Units;
use alloc::vec::Vec;

/// The tokens spent and when, in the order of time: at once, or when a place is due. First places
/// are taken and given up; then all tokens are taken as soon as they are there.
fn spends(random: &mut Random, units: &Units) -> Vec<(u64, u64)> {
    let (mut now, mut kept) = (START, Kept::default());
    let (mut spent, mut places) = (Vec::new(), Vec::<(u64, End, u64)>::new());
    for step in 0..60 {
        let pause = if step < 20 { random.below(8) / 7 } else { 1 };
        now += pause * units.until_full(units.cost(1)) / 2;
        let n = random.below(units.limit()) + 1;
        let line = kept.line(units, now);
        match random.below(3) {
            _ if step == 0 || step >= 20 => {
                let settled = units.settle(line.debt, Ask::UpTo(units.limit()));
                if let Some(n @ 1..) = settled.granted {
                    kept.keep(units, now, settled.debt);
                    spent.push((now, n));
                }
            }
            0 if !places.is_empty() => {
                let (due, end, n) = places.swap_remove(random.below(places.len() as u64) as usize);
                let back = units.give_up(line, end, n);
                if back > 0 {
                    kept.give_up(units, line, end, back);
                }
                // A place that is due has been spent.
                if due <= now {
                    spent.push((due, n));
                }
            }
            _ => {
                let after = units.reserve(line.debt, n, units.longest_debt()).unwrap();
                kept.keep(units, now, after);
                places.push((now + units.until_due(after), units.end(after, now), n));
            }
        }
    }
    spent.extend(places.into_iter().map(|(due, _, n)| (due, n)));
    spent.sort_unstable();
    spent
}

/// Without the promised end (as in Go's x/time/rate) a window would admit more.
#[test]
fn whatever_is_given_up_no_window_admits_more_than_the_burst_and_what_has_flowed() {
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    for burst in [2, 3, 5] {
        let quota = quota(10, 1_000_000_000, burst);
        let units = Units::new(&quota).unwrap();
        for _ in 0..5_000 * long() {
            let mut law = WindowLaw::new(&quota, burst, &exact(0));
            for (at, n) in spends(&mut random, &units) {
                law.admit((at - START) * 1_000, n).unwrap();
            }
        }
    }
}
