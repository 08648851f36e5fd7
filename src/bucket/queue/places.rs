//! Places that are given up, and the waiting callers that get them.

use super::{Queue, Span, key};
use crate::bucket::{Bucket, Place, Whose};
use crate::timeline::Moment;
use core::time::Duration;

/// Gives up `n` tokens of a place that is not due yet, to the next caller. Returns the number of
/// tokens given up.
pub(crate) fn cancel(bucket: &dyn Bucket, place: &Place, n: u64) -> u64 {
    let now = bucket.moment();
    let Some(span) = bucket.span_of(place, n) else { return bucket.give_up(place, n) };
    if bucket.returned_since(place).is_none() || !now.is_due_later(place.place) {
        return 0;
    }
    let Some(rest) = span.rest(now.units) else { return 0 };
    let tokens = now.rule().whole(rest.units()).min(n);
    bucket.unspent(place, n);
    hand_on(bucket, place, span, &now);
    tokens
}

/// Undoes the debit of `n` tokens of a place, due or not, as far as the word can tell.
pub(crate) fn undo(bucket: &dyn Bucket, place: &Place, n: u64) {
    let now = bucket.moment();
    if now.is_due_later(place.place) {
        cancel(bucket, place, n);
        return;
    }
    let Some(span) = bucket.span_of(place, n) else {
        bucket.undo(place, n, &now);
        return;
    };
    // Gaps come back first: they move the word, and with it the worth of this place.
    ended(bucket, place.whose);
    if !bucket.undo(place, n, &now) {
        // A caller waits behind it.
        let Some(returned) = bucket.returned_since(place) else { return };
        if let Some(rest) = place.by_now(span, returned, &now).rest(now.units) {
            bucket.unspent(place, n);
            hand_on(bucket, place, rest, &now);
        }
    }
}

fn hand_on(bucket: &dyn Bucket, place: &Place, span: Span, now: &Moment) {
    let (whose, since) = (place.whose, Some(place.since));
    // Under the lock, so that of two callers that leave at once one sees the span that the other
    // has left.
    let take_back = || bucket.take_back(whose, span, since, now).then_some(());
    bucket.queues().with_queue_or(key(whose), take_back, |queue, told| {
        queue.free(bucket, (whose, since), span, now);
        queue.look(now, told);
    });
}

/// Gives back the places that were given up in front of a reservation that has ended, if no other
/// caller waits behind it.
pub(crate) fn ended(bucket: &dyn Bucket, whose: Whose) {
    if bucket.queues().is_busy(whose) {
        let now = bucket.moment();
        bucket.queues().with_queue(key(whose), |queue, told| {
            queue.settle(bucket, whose, &now);
            queue.look(&now, told);
        });
    }
}

/// Takes a gap in front of waiting callers as a place for `n`, if one fits.
pub(crate) fn from_gap(
    bucket: &dyn Bucket,
    whose: Whose,
    n: u64,
    within: Option<Duration>,
) -> Option<Place> {
    if n == 0 || !bucket.queues().is_busy(whose) {
        return None;
    }
    let now = bucket.moment();
    bucket
        .queues()
        .with_queue(key(whose), |queue, _| queue.gap(bucket, whose, n, within, &now))
        .flatten()
}

impl Queue {
    pub(super) fn gap(
        &mut self,
        bucket: &dyn Bucket,
        whose: Whose,
        n: u64,
        within: Option<Duration>,
        now: &Moment,
    ) -> Option<Place> {
        if !self.order.has_gaps() {
            return None;
        }
        self.settle(bucket, whose, now);
        // The cost of such a place is not known before it is taken.
        if self.order.is_paid_after() {
            return None;
        }
        if n > bucket.waiting().largest_place(now) {
            return None;
        }
        let units = now.rule().worth(n)?;
        let (longest, _) = now.figures(0).longest(u64::MAX, within);
        let suits = |end| now.rule().until_place(end, now.units) <= longest;
        let span = self.order.take_gap(units, now.units, suits)?;
        Some(bucket.place_at(whose, n, span.end, now))
    }
}

/// Gives `n` tokens to the waiting callers. Returns `false` if none waits.
pub(crate) fn refund(bucket: &dyn Bucket, whose: Whose, n: u64) -> bool {
    if n == 0 || !bucket.queues().is_busy(whose) {
        return false;
    }
    let now = bucket.moment();
    let Some(units) = now.rule().worth(n) else { return false };
    let given = bucket.queues().with_queue(key(whose), |queue, told| {
        queue.settle(bucket, whose, &now);
        let Some(start) = queue.order.first_start() else { return false };
        // The first place comes earlier by the tokens, and with it all others.
        queue.free(bucket, (whose, None), Span::ending(start, units), &now);
        queue.look(&now, told);
        true
    });
    given.unwrap_or(false)
}
