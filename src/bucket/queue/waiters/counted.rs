//! Queues of limiters that count, and have no spans: windows.
//!
//! A caller that leaves gives its tokens to those behind as if it had never come: their places are
//! taken anew, in their order, on the state that was before it. That is done in one step, so no
//! check comes between, and only if the word is exactly the result of these places. Otherwise a
//! reservation, a debt or another process's place lies among them, and only the last place's tokens
//! come back.

use super::super::{Queue, Span};
use super::Waiter;
use crate::bucket::{Bucket, Place};
use crate::timeline::Moment;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::RefCell;

impl Queue {
    /// Takes a waiter out, and moves those behind it up.
    pub(super) fn leave_counted(
        &mut self,
        bucket: &dyn Bucket,
        (number, left): (usize, &Place),
        now: &Moment,
    ) -> Option<Waiter> {
        let granted = self.order.is_granted(number);
        let mut behind = Vec::new();
        let mut is_behind = granted;
        self.order.each(|other, _| {
            if is_behind {
                behind.push(other);
            }
            is_behind |= other == number;
        });
        let waiter = self.order.leave(number, now.units, &mut |_| true)?;
        let places = behind.iter().map(|other| self.order.waiter(*other)?.anew.as_deref().copied());
        let places: Option<Vec<Place>> = places.collect();
        match places.and_then(|places| moved_up(bucket, left, granted, &places, now)) {
            Some(places) => self.place_anew(&behind, places),
            None if granted => {
                bucket.undo(left, left.n, now);
            }
            None => {
                bucket.give_up(left, left.n);
            }
        }
        Some(waiter)
    }

    fn place_anew(&mut self, behind: &[usize], places: Vec<Place>) {
        let mut ends = Vec::new();
        self.order.each(|number, end| ends.push((number, end)));
        self.order.disperse();
        for (other, place) in behind.iter().zip(places) {
            if let Some(waiter) = self.order.waiter(*other) {
                waiter.anew = Some(Box::new(place));
            }
        }
        for (number, end) in ends {
            let anew = self.order.waiter(number).and_then(|waiter| waiter.anew.as_deref());
            let end = anew.map_or(end, |place| place.place);
            self.order.push_again(number, Span::ending(end, 0));
        }
    }
}

/// Takes the places behind a caller that leaves anew, without its place. `None` if that cannot be,
/// and nothing changes.
fn moved_up(
    bucket: &dyn Bucket,
    left: &Place,
    granted: bool,
    behind: &[Place],
    now: &Moment,
) -> Option<Vec<Place>> {
    let rule = now.rule();
    let reserve = |state, n| rule.reserve(state, now.units, n, u64::MAX);
    let given = left.given(left.place, left.n, 0);
    let moved = RefCell::new(Vec::new());
    let rework = |state| {
        // The states that the places made, one after the other.
        let made = behind.iter().try_fold(left.made, |state, place| {
            let (made, _) = reserve(state, place.n)?;
            (made == place.made).then_some(made)
        })?;
        if made != state {
            return None;
        }
        let back = if granted {
            rule.undo(left.made, now.units, given)
        } else {
            rule.give_up(left.made, now.units, given)
        };
        let (mut state, _) = back?;
        let mut moved = moved.borrow_mut();
        moved.clear();
        for place in behind {
            let before = state;
            let (made, wait) = reserve(before, place.n)?;
            state = made;
            let remembered = rule.place(before, made, now.units, wait);
            let at = now.figures(made);
            moved.push(Place { place: remembered, made, wait, told: 0, at, ..*place });
        }
        Some(state)
    };
    bucket.rework(left.whose, left.since, now, &rework).then(|| moved.into_inner())
}
