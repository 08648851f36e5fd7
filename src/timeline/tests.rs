//! A thread that changes the quota is stopped after the moment that it computes with.

#![allow(clippy::panic, reason = "a test that cannot go on has failed")]

use super::{Announced, Begin, Moment, Timeline};
use crate::algorithm::{Algorithm, Terms};
use crate::clock::{Clock, ManualClock, Timer};
use crate::quota::Quota;
use core::time::Duration;

const FAST: Quota = Quota::per_second(1_000_000).burst(100);
const SLOW: Quota = Quota::per_second(1_000).burst(100);

struct Changing {
    clock: ManualClock,
    announced: Announced,
    /// The timelines of two processes.
    processes: [Timeline; 2],
}

impl Changing {
    fn new(terms: Terms) -> Self {
        let clock = ManualClock::new();
        let timeline = || Timeline::new(terms, Timer::new(clock.clone().into_source()));
        let (announced, processes) = (Announced::new(), [timeline(), timeline()]);
        clock.advance(Duration::from_millis(1_234));
        Self { clock, announced, processes }
    }

    fn now(&self) -> Moment {
        let [here, there] = self.processes.each_ref().map(|timeline| timeline.now(&self.announced));
        assert_eq!((here.units, here.segment), (there.units, there.segment));
        here
    }

    /// Changes the quota, and stops for `stop` nanoseconds in between. Returns the moment read at
    /// the end of the stop.
    fn change(
        &self,
        quota: Quota,
        stop: u64,
        begin: impl FnOnce(&Moment, &Terms) -> Begin,
    ) -> Moment {
        let mut last = None;
        let changed = self.processes[0].change(&self.announced, quota, |now, next| {
            let begin = begin(now, next);
            self.clock.advance(Duration::from_nanos(stop));
            last = Some(self.now());
            Ok(begin)
        });
        assert_eq!(changed, Ok(()));
        last.unwrap_or_else(|| self.now())
    }
}

fn as_is(now: &Moment, next: &Terms) -> Begin {
    Begin::as_is(now, next).unwrap_or(Begin::at(0))
}

/// The new quota goes on from any reading of the old one.
#[test]
fn segment_begins_where_the_last_one_was_read() {
    let bucket = |bits| Terms::bucket(FAST, Algorithm::TokenBucket, bits);
    let [narrow, roomy] = [56, 64].map(bucket);
    let stepped = |terms: Terms| terms.at_intervals().unwrap_or(terms);
    for terms in [narrow, roomy, stepped(narrow), stepped(roomy)] {
        let changing = Changing::new(terms);
        for (quota, shift) in [(SLOW, 0), (FAST, 0), (SLOW.burst(20), 80), (FAST, -80)] {
            let last = changing.change(quota, 300_000, as_is).units;
            let shift = terms.scale().units(80).cast_signed() * shift / 80;
            let now = changing.now();
            assert_eq!((now.quota(), now.units), (quota, last.wrapping_add_signed(shift)));
            changing.clock.advance(Duration::from_secs(1));
            let flowed = changing.now().units - now.units;
            let second = terms.scale().units(quota.count());
            assert!(flowed.abs_diff(second) <= 1, "{flowed} of {second} by {quota}");
        }
    }
}

#[test]
fn window_begins_where_the_last_one_was_read() {
    let [fast, slow] = [1, 1_000].map(|ms| Quota::new(100, Duration::from_millis(ms)));
    let (Ok(fast), Ok(slow)) = (fast, slow) else { panic!("quotas that can be") };
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let Ok(terms) = Terms::new(fast, algorithm, 64) else { panic!("a window that can be") };
        let changing = Changing::new(terms);
        for quota in [slow, fast, slow] {
            let last = changing.change(quota, 300_000, as_is).units;
            assert_eq!(changing.now().units, last, "{algorithm} {quota}");
        }
    }
}

/// A bucket keeps its share of the moment at which the share was computed. What flows while the
/// change is stopped, parts of a unit included, is added, and no more.
#[test]
fn share_is_what_it_was_and_what_has_flowed() {
    let quota = Quota::per_second(7).burst(100);
    let next = Quota::per_second(7).burst(30);
    let terms = Terms::bucket(quota, Algorithm::TokenBucket, 64);
    for stop in 0..200_u64 {
        let changing = Changing::new(terms);
        // Half of the burst is missing.
        let state = changing.now().units + terms.scale().units(50);
        changing.change(next, stop * 7, |now, next| {
            Begin::proportional(now, next, state).unwrap_or(Begin::at(0))
        });
        changing.clock.advance(Duration::from_secs(2));
        let units = terms.scale().units(15);
        let flow = 7 * (2_000_000_000 + stop * 7);
        let flowed = (u128::from(flow) << terms.scale().fraction) / 1_000_000_000;
        let missing = state.wrapping_sub(changing.now().units);
        let exact = units - flowed as u64;
        assert!((exact..=exact + 1).contains(&missing), "{missing} of {exact} after {stop}");
    }
}
