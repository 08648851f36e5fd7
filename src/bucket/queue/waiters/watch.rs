//! A line's alarms: one for each runtime that tasks wait on, all set to the moment of the first place.

use super::super::{Key, Queue, Queues, Told};
use super::told::{Call, Notify, Why};
use crate::clock::{Alarm, Instant, Rang, Runtime, instant};
use crate::timeline::Moment;
use alloc::sync::{Arc, Weak};
use alloc::task::Wake;
use alloc::vec::Vec;

/// The runtime on which a task waits; a thread has none.
pub(super) type Seat = Option<Runtime>;

/// What a timer knows of the limiter's clock, which it cannot reach, and the timers.
#[derive(Debug, Default)]
pub(in super::super) struct Watch {
    /// The reading of the limiter's clock that the alarms go by, and when that was.
    seen: Option<(Moment, Instant)>,
    /// The end of the place that all alarms are set for.
    armed: Option<u64>,
    /// One for each runtime that somebody waits on, and how many do.
    alarms: Vec<(Alarm, usize)>,
}

/// Looks at a line when its first place is due.
#[derive(Debug)]
struct Bell {
    queues: Weak<Queues>,
    key: Key,
    runtime: Runtime,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(queues) = self.queues.upgrade() {
            queues.with_queue_again(self.key, |queue, told| queue.ring(self.runtime, told));
        }
    }
}

impl Queue {
    /// An alarm has rung.
    fn ring(&mut self, runtime: Runtime, told: &mut Told) {
        match self.watch.rang(runtime) {
            Some(Rang::Due(at)) => {
                self.watch.disarm();
                let Some(now) = self.watch.moment(at) else { return };
                self.grant_due(&now, told);
                self.arm(None, told);
            }
            Some(Rang::Ended) => {
                // Those who waited on it may go on elsewhere, and then set an alarm there.
                for waiter in self.order.all() {
                    if waiter.seat == Some(runtime) {
                        waiter.seat = None;
                        told.calls.push(waiter.call(Why::Look));
                    }
                }
            }
            Some(Rang::NotYet) | None => {}
        }
    }
}

impl Watch {
    fn find(&mut self, runtime: Runtime) -> Option<&mut (Alarm, usize)> {
        self.alarms.iter_mut().find(|(alarm, _)| alarm.runtime() == runtime)
    }

    /// Places are due at other moments now.
    pub(in super::super) fn disarm(&mut self) {
        self.armed = None;
    }

    /// Whether tasks wait already on the caller's runtime, if it has one: then the line is of its process, since no
    /// runtime outlives a fork.
    pub(super) fn has_callers_here(&self) -> bool {
        let here = Runtime::try_current();
        let at = |(alarm, waiting): &(Alarm, usize)| *waiting > 0 && Some(alarm.runtime()) == here;
        here.is_some() && self.alarms.iter().any(at)
    }

    /// A task waits on the caller's runtime.
    ///
    /// # Panics
    ///
    /// Outside of a runtime with its time enabled.
    pub(super) fn sit_down(&mut self, queues: &Arc<Queues>, key: Key, who: &Notify) -> Seat {
        match who {
            Notify::Nobody | Notify::Thread(_) => None,
            Notify::Task(_) | Notify::Part(_) => Some(self.count(queues, key)),
        }
    }

    /// The task waits on the caller's runtime now, wherever it did before.
    pub(super) fn sit_here(&mut self, queues: &Arc<Queues>, key: Key, seat: &mut Seat) {
        if *seat != Some(Runtime::current()) {
            self.leave(*seat);
            *seat = Some(self.count(queues, key));
        }
    }

    fn count(&mut self, queues: &Arc<Queues>, key: Key) -> Runtime {
        let runtime = Runtime::current();
        match self.find(runtime) {
            Some((_, waiting)) if *waiting > 0 => *waiting += 1,
            Some((alarm, waiting)) => {
                alarm.renew();
                *waiting = 1;
                self.disarm();
            }
            None => {
                let queues = Arc::downgrade(queues);
                let bell = |runtime| Arc::new(Bell { queues, key, runtime }).into();
                self.alarms.push((Alarm::new(bell), 1));
                self.disarm();
            }
        }
        runtime
    }

    /// Somebody waits there no more.
    pub(super) fn leave(&mut self, seat: Seat) {
        if let Some((alarm, waiting)) = seat.and_then(|runtime| self.find(runtime)) {
            *waiting = waiting.saturating_sub(1);
            if *waiting == 0 {
                alarm.hush();
            }
        }
    }

    pub(super) fn hush(&mut self) {
        if self.armed.take().is_some() {
            self.alarms.iter_mut().for_each(|(alarm, _)| alarm.hush());
        }
    }

    /// Sets all alarms to the moment at which a place is due that ends there. `now` has just been read, if it was.
    pub(super) fn arm(&mut self, end: u64, now: Option<&Moment>, told: &mut Told) {
        // Two clocks drift apart, so the alarms go by a reading of the last second.
        let is_old = |seen| now.is_some_and(|now| now.is_long_after(seen));
        if self.armed == Some(end) && !self.seen.as_ref().is_some_and(|(seen, _)| is_old(seen)) {
            return;
        }
        if let Some(now) = now {
            // A little later than the reading, so that nobody is early.
            self.seen = Some((*now, instant()));
        }
        let Some((seen, at)) = self.seen else { return };
        self.armed = Some(end);
        let units = seen.rule().until_place(end, seen.units);
        // Beyond what a timer can say nobody waits.
        let Some(due) = at.checked_add(seen.figures(0).wait(units)) else { return };
        for (alarm, waiting) in &mut self.alarms {
            if *waiting > 0 && alarm.set(due) {
                let notify = Notify::Task(alarm.waker().clone());
                told.calls.push(Call { notify, why: Why::Look });
            }
        }
    }

    fn rang(&mut self, runtime: Runtime) -> Option<Rang> {
        let at = self.alarms.iter().position(|(alarm, _)| alarm.runtime() == runtime)?;
        let rang = self.alarms[at].0.rang();
        if rang == Rang::Ended {
            self.alarms.swap_remove(at);
        }
        Some(rang)
    }

    /// The limiter's time at that moment, as far as it was seen.
    fn moment(&self, at: Instant) -> Option<Moment> {
        let (seen, then) = self.seen?;
        Some(seen.after(at.saturating_duration_since(then)))
    }
}
