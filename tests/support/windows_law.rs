//! The checker of the window law: it proves it, or not, from a log of admissions.

#![allow(unreachable_pub, reason = "a module of tests")]

/// An admission: it happened between two nanoseconds.
#[derive(Clone, Copy)]
pub struct Admission {
    pub before: u64,
    pub after: u64,
    pub granted: u64,
}

/// By how many tokens the worst window exceeds `rate` tokens a nanosecond times its length.
///
/// What certainly lies between the beginning of one admission and the end of another is at least
/// all that had ended by then, less all that had begun before. So one pass does: in the order of
/// time, keep the lowest of "begun before, less flow" over the beginnings so far.
pub fn worst_window(log: &[Admission], rate: f64) -> f64 {
    let (mut begins, mut ends) = (log.to_vec(), log.to_vec());
    begins.sort_unstable_by_key(|admission| admission.before);
    ends.sort_unstable_by_key(|admission| admission.after);
    let (mut begun, mut ended, mut next) = (0, 0, 0);
    let (mut lowest, mut worst) = (f64::MAX, 0.0_f64);
    for end in &ends {
        while let Some(begin) = begins.get(next).filter(|begin| begin.before <= end.after) {
            lowest = lowest.min(begun as f64 - rate * begin.before as f64);
            begun += begin.granted;
            next += 1;
        }
        ended += end.granted;
        worst = worst.max(ended as f64 - rate * end.after as f64 - lowest);
    }
    worst
}

/// The checker itself: it must see one token too many.
#[test]
fn checker_of_windows_sees_one_token_too_many() {
    let at = |before, granted| Admission { before, after: before + 1, granted };
    let log = [at(0, 10), at(1_000, 1), at(2_000, 1), at(2_000, 1)];
    assert!((9.99..10.0).contains(&worst_window(&log[..3], 1e-3)));
    assert!((10.99..11.0).contains(&worst_window(&log, 1e-3)));
}
