//! Tasks and threads in a waiting queue: how they come, how they are woken, and how they leave.

use super::{Queue, Span, Told, key, taking_back};
use crate::answer::{Denied, Grant};
use crate::bucket::{Bucket, Place, Whose};
use crate::clock::{Instant, instant};
use crate::timeline::Moment;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;
use told::Why;
use watch::Host;

mod counted;
#[cfg(feature = "tokio")]
mod together;
mod told;
#[cfg(feature = "tokio")]
mod watch;
/// Threads have timers of their own.
#[cfg(not(feature = "tokio"))]
#[path = "waiters/no_watch.rs"]
mod watch;

#[cfg(feature = "tokio")]
pub(crate) use together::Together;
pub(super) use told::Call;
pub(crate) use told::Notify;
pub(super) use watch::Watch;

/// A caller that waits. The caller keeps the place that it took, so that little is read here for
/// each wait.
#[derive(Debug)]
pub(super) struct Waiter {
    /// The tokens of the place.
    n: u64,
    /// The current place, if the queue has taken it anew, or may do so, since it has no span.
    anew: Option<Box<Place>>,
    notify: Notify,
    /// The caller's patience, if it does not wait for ever.
    patience: Option<Box<Patience>>,
    /// The end of the place that a thread sleeps for.
    sleeps_for: u64,
    /// The runtime whose alarm wakes it.
    host: Host,
}

/// A caller's longest wait. A type of its own, since few callers have one.
#[derive(Debug)]
struct Patience {
    /// The last moment at which the caller still wants its tokens.
    latest: Instant,
    /// The time by which the place would come too late, since a lower quota is in force.
    late: Option<Duration>,
}

impl Waiter {
    fn call(&self, why: Why) -> Call {
        Call { notify: self.notify.clone(), why }
    }

    /// Returns the caller's place, which it took as `taken`.
    fn place(&self, taken: &Place) -> Place {
        self.anew.as_deref().copied().unwrap_or(*taken)
    }
}

/// The result of [`enter`].
pub(crate) enum Entered {
    /// The tokens were there.
    AtOnce(Place),
    /// The caller waits in the queue, with this number and place.
    Waits(usize, Place),
}

/// The progress of a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It is granted its place.
    Granted,
    /// Its place comes too late for the caller, by that time.
    Late(Duration),
    /// Its place is due in that time, or earlier.
    Waits(Duration),
}

impl Progress {
    /// Joins the progress of several places, all of which the caller wants.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Late(by), Self::Late(other)) => Self::Late(by.max(other)),
            (Self::Late(by), _) | (_, Self::Late(by)) => Self::Late(by),
            (Self::Waits(time), Self::Waits(other)) => Self::Waits(time.max(other)),
            (Self::Waits(time), Self::Granted) | (Self::Granted, Self::Waits(time)) => {
                Self::Waits(time)
            }
            (Self::Granted, Self::Granted) => Self::Granted,
        }
    }
}

/// Takes `n` tokens now, or a place behind all waiting callers.
pub(crate) fn enter(
    bucket: &dyn Bucket,
    whose: Whose,
    n: u64,
    within: Option<Duration>,
    notify: impl FnOnce() -> Notify,
) -> Result<Entered, Denied> {
    let (queues, key) = (bucket.queues(), key(whose));
    // While a caller waits, no other one is granted at once.
    if !queues.is_busy(whose) {
        match bucket.place(whose, n, Some(Duration::ZERO)) {
            Ok(place) => return Ok(Entered::AtOnce(place)),
            Err(denied) if within == Some(Duration::ZERO) => return Err(denied),
            // A cost that is never there at once may be paid in instalments.
            Err(denied)
                if denied.is_never() && n > bucket.waiting().largest_place(&bucket.moment()) =>
            {
                return Err(denied);
            }
            Err(_) => {}
        }
    }
    queues.with_known_queue(
        key,
        |queue| queue.watch.has_callers_here(),
        |queue, told| {
            let now = bucket.moment();
            let notify = notify();
            // It panics outside of a runtime, before anything is granted or taken.
            let host = queue.watch.join(queues, key, &notify);
            queue.grant_due(&now, told);
            let place = match queue.gap(bucket, whose, n, within, &now) {
                Some(place) => Ok(place),
                None => bucket.place_by(&now, whose, n, within),
            };
            let place = match place {
                Ok(place) if now.is_due_later(place.place) => place,
                answer => {
                    queue.watch.leave(host);
                    queue.arm(Some(&now), told);
                    return answer.map(Entered::AtOnce);
                }
            };
            let span = bucket.span_of(&place, n);
            let anew = if span.is_none() { Some(Box::new(place)) } else { None };
            let sleeps_for = place.place;
            let latest = within.and_then(|within| instant().checked_add(within));
            let patience = latest.map(|latest| Box::new(Patience { latest, late: None }));
            let waiter = Waiter { n, anew, notify, patience, sleeps_for, host };
            let span = span.unwrap_or(Span::ending(place.place, 0));
            let number = queue.order.push(span, waiter);
            queue.arm(Some(&now), told);
            Ok(Entered::Waits(number, place))
        },
    )
}

/// Hands a task the place that it has been granted; otherwise returns its progress. The runtime of
/// the task, or its waker, may have changed: the alarm rings there from now on.
#[cfg(feature = "tokio")]
pub(crate) fn claim_as_task(
    bucket: &dyn Bucket,
    whose: Whose,
    (number, place): (usize, &mut Place),
    waker: &core::task::Waker,
) -> Result<(), Progress> {
    let key = key(whose);
    let progress = bucket.queues().with_queue_again(key, |queue, told| {
        if queue.order.is_granted(number) {
            return queue.claim(bucket, number, place);
        }
        let now = bucket.moment();
        queue.serve(&now, told);
        if let Some(waiter) = queue.order.waiter(number) {
            match &mut waiter.notify {
                Notify::Task(known) if !known.will_wake(waker) => known.clone_from(waker),
                Notify::Part(together) => together.follow(waker),
                _ => {}
            }
            queue.watch.move_here(bucket.queues(), key, &mut waiter.host);
        }
        match queue.progress(number, &now, told) {
            Progress::Granted => queue.claim(bucket, number, place),
            progress => Err(progress),
        }
    });
    progress.unwrap_or(Err(Progress::Granted))
}

/// Returns the progress of a thread, before it sleeps.
pub(crate) fn progress_as_thread(bucket: &dyn Bucket, whose: Whose, number: usize) -> Progress {
    let progress = bucket.queues().with_queue_again(key(whose), |queue, told| {
        let now = bucket.moment();
        queue.serve(&now, told);
        queue.progress(number, &now, told)
    });
    progress.unwrap_or(Progress::Granted)
}

/// Acts on a place that was granted, and was taken as `place`. Returns the answer.
pub(crate) fn act(bucket: &dyn Bucket, whose: Whose, number: usize, place: &Place) -> Grant {
    let waiter = bucket.queues().with_queue_again(key(whose), |queue, _| queue.remove(number));
    match waiter.flatten() {
        Some(waiter) => waiter.place(place).grant(),
        // No waiter has that number.
        None => bucket.moment().grant(0, 0),
    }
}

/// Leaves the queue in any state: hands on the caller's tokens, and returns it. It was taken as
/// `place`.
pub(crate) fn leave(
    bucket: &dyn Bucket,
    whose: Whose,
    number: usize,
    place: &Place,
) -> Option<Place> {
    let left = bucket.queues().with_queue_again(key(whose), |queue, told| {
        let now = bucket.moment();
        let place = queue.order.waiter(number)?.place(place);
        let waiter = if bucket.span_of(&place, place.n).is_some() {
            bucket.unspent(&place, place.n);
            let mut take_back = taking_back(bucket, whose, Some(place.since), &now);
            queue.order.leave(number, now.units, &mut take_back)?
        } else {
            queue.leave_counted(bucket, (number, &place), &now)?
        };
        queue.watch.leave(waiter.host);
        queue.settle(bucket, whose, &now);
        queue.serve(&now, told);
        Some(place)
    });
    left.flatten()
}

impl Queue {
    /// Lets the waiters take places once more, after `reset` has filled the bucket.
    pub(super) fn restart(
        &mut self,
        bucket: &dyn Bucket,
        whose: Whose,
        reset: impl FnOnce(),
        told: &mut Told,
    ) {
        self.watch.disarm();
        let waiting = self.order.disperse();
        reset();
        let now = bucket.moment();
        for number in waiting {
            let Some(waiter) = self.order.waiter(number) else { continue };
            // A bucket that has been filled has a place for every caller that had one before.
            let span = match bucket.place(whose, waiter.n, None) {
                Ok(place) => {
                    waiter.anew = Some(Box::new(place));
                    bucket.span_of(&place, waiter.n).unwrap_or(Span::ending(place.place, 0))
                }
                Err(_) => Span::ending(now.units, 0),
            };
            self.order.push_again(number, span);
        }
        self.serve(&now, told);
    }

    /// Grants the places that are due, and sets the alarms for the next one, by a reading of the
    /// limiter's clock.
    pub(super) fn serve(&mut self, now: &Moment, told: &mut Told) {
        self.grant_due(now, told);
        self.arm(Some(now), told);
    }

    fn grant_due(&mut self, now: &Moment, told: &mut Told) {
        let rule = now.rule();
        while let Some(waiter) = self.order.grant_first(|end| rule.until_place(end, now.units) == 0)
        {
            let notify = core::mem::replace(&mut waiter.notify, Notify::Nobody);
            told.calls.push(Call { notify, why: Why::Granted });
        }
    }

    /// Sets the alarms to wake the first waiter when its place is due. `now` is a reading of the
    /// limiter's clock, if there is one.
    fn arm(&mut self, now: Option<&Moment>, told: &mut Told) {
        let Some(end) = self.order.first_end() else {
            self.watch.hush();
            return;
        };
        if let Some(first) = self.order.first()
            && matches!(first.notify, Notify::Thread(_))
            && first.sleeps_for != end
        {
            // The place has come earlier, and the thread sleeps too long.
            first.sleeps_for = end;
            told.calls.push(first.call(Why::Look));
        }
        self.watch.arm(end, now, told);
    }

    fn progress(&mut self, number: usize, now: &Moment, told: &mut Told) -> Progress {
        self.arm(Some(now), told);
        let first = self.order.first_end().filter(|_| self.order.is_first(number));
        if self.order.is_granted(number) {
            return Progress::Granted;
        }
        let Some(waiter) = self.order.waiter(number) else { return Progress::Granted };
        if let Some(by) = waiter.patience.as_ref().and_then(|patience| patience.late) {
            return Progress::Late(by);
        }
        // A place can only have come earlier, so this is the latest moment to look at.
        waiter.sleeps_for = first.unwrap_or(waiter.sleeps_for);
        let units = now.rule().until_place(waiter.sleeps_for, now.units);
        Progress::Waits(now.figures(0).wait(units))
    }

    /// Takes a waiter out with the place it was granted. In a queue that is paid afterwards it
    /// stays until it acts, since its cost is behind its place.
    #[cfg(feature = "tokio")]
    fn claim(
        &mut self,
        bucket: &dyn Bucket,
        number: usize,
        place: &mut Place,
    ) -> Result<(), Progress> {
        if self.order.is_paid_after() {
            return Err(Progress::Granted);
        }
        let (waiter, span) = self.order.claim(number).ok_or(Progress::Granted)?;
        self.watch.leave(waiter.host);
        let moves = waiter.anew.is_none_or(|anew| {
            *place = *anew;
            bucket.span_of(place, place.n).is_some()
        });
        if moves {
            (place.place, place.made) = (span.end, span.end);
        }
        Ok(())
    }

    fn remove(&mut self, number: usize) -> Option<Waiter> {
        let waiter = self.order.act(number)?;
        self.watch.leave(waiter.host);
        Some(waiter)
    }

    /// Computes when places are due, after another quota has been put in force.
    pub(super) fn requote(&mut self, now: &Moment, told: &mut Told) {
        self.watch.disarm();
        let (rule, at) = (now.rule(), instant());
        let mut ends = Vec::new();
        self.order.each(|number, end| ends.push((number, end)));
        for (number, end) in ends {
            let Some(waiter) = self.order.waiter(number) else { continue };
            let mut is_late = false;
            if let Some(patience) = &mut waiter.patience {
                let due = at.checked_add(now.figures(0).wait(rule.until_place(end, now.units)));
                let by = due.and_then(|due| due.checked_duration_since(patience.latest));
                patience.late = by.filter(|by| !by.is_zero());
                is_late = patience.late.is_some();
            }
            // A thread that sleeps for a later moment than this is woken if it comes first.
            let sleeps_for_less = matches!(waiter.notify, Notify::Thread(_));
            if is_late || sleeps_for_less {
                told.calls.push(waiter.call(Why::Look));
            }
        }
        self.serve(now, told);
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::Waiter;

    /// It is not in the cache when its turn comes, so what few waits need is kept apart.
    #[test]
    fn a_waiter_is_no_more_than_a_cache_line() {
        assert!(size_of::<Waiter>() <= 64);
    }
}
