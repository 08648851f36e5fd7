//! The alarms of a queue: one for each runtime that tasks wait on, all set to the moment of the
//! first place.

use super::super::{Key, Queue, Queues, Told};
use super::told::{Call, Notify, Why};
use crate::clock::{Alarm, Instant, Rang, Runtime, instant};
use crate::timeline::Moment;
use alloc::sync::{Arc, Weak};
use alloc::task::Wake;
use alloc::vec::Vec;

/// The runtime on which a task waits; `None` for a thread.
pub(super) type Host = Option<Runtime>;

/// The alarms, and a reading of the limiter's clock, which a timer cannot reach.
#[derive(Debug, Default)]
pub(in super::super) struct Watch {
    /// The reading of the limiter's clock that the alarms follow, and the instant at which it was
    /// taken.
    seen: Option<(Moment, Instant)>,
    /// The end of the place that all alarms are set for.
    armed: Option<u64>,
    /// The alarm of each runtime that tasks wait on, and the number of these tasks.
    alarms: Vec<(Alarm, usize)>,
}

/// Looks at a queue when its first place is due.
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
    /// Handles an alarm that has rung.
    fn ring(&mut self, runtime: Runtime, told: &mut Told) {
        match self.watch.rang(runtime) {
            Some(Rang::Due(at)) => {
                self.watch.disarm();
                let Some(now) = self.watch.moment(at) else { return };
                self.grant_due(&now, told);
                self.arm(None, told);
            }
            Some(Rang::Ended) => {
                // Its tasks may go on elsewhere, and then set an alarm there.
                for waiter in self.order.all() {
                    if waiter.host == Some(runtime) {
                        waiter.host = None;
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

    /// Forgets the moment that the alarms are set for, since places are due at other moments now.
    pub(in super::super) fn disarm(&mut self) {
        self.armed = None;
    }

    /// Returns whether tasks already wait on the caller's runtime, if it has one. Then the queue is
    /// of this process, since no runtime outlives a fork.
    pub(super) fn has_callers_here(&self) -> bool {
        let here = Runtime::try_current();
        let at = |(alarm, waiting): &(Alarm, usize)| *waiting > 0 && Some(alarm.runtime()) == here;
        here.is_some() && self.alarms.iter().any(at)
    }

    /// Adds a task, which waits on the caller's runtime.
    ///
    /// # Panics
    ///
    /// Outside of a runtime with its time enabled.
    pub(super) fn join(&mut self, queues: &Arc<Queues>, key: Key, notify: &Notify) -> Host {
        match notify {
            Notify::Nobody | Notify::Thread(_) => None,
            Notify::Task(_) | Notify::Part(_) => Some(self.count(queues, key)),
        }
    }

    /// Moves a task to the caller's runtime, whichever it waited on before.
    pub(super) fn move_here(&mut self, queues: &Arc<Queues>, key: Key, host: &mut Host) {
        if *host != Some(Runtime::current()) {
            self.leave(*host);
            *host = Some(self.count(queues, key));
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

    /// Removes a task from its runtime.
    pub(super) fn leave(&mut self, host: Host) {
        if let Some((alarm, waiting)) = host.and_then(|runtime| self.find(runtime)) {
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

    /// Sets all alarms to the moment at which the place that ends at `end` is due. `now` has just
    /// been read, if there is a reading.
    pub(super) fn arm(&mut self, end: u64, now: Option<&Moment>, told: &mut Told) {
        // Two clocks drift apart, so the alarms follow a reading of the last second.
        let is_old = |seen| now.is_some_and(|now| now.is_long_after(seen));
        if self.armed == Some(end) && !self.seen.as_ref().is_some_and(|(seen, _)| is_old(seen)) {
            return;
        }
        if let Some(now) = now {
            // A little later than the reading, so that no task is early.
            self.seen = Some((*now, instant()));
        }
        let Some((seen, at)) = self.seen else { return };
        self.armed = Some(end);
        let units = seen.rule().until_place(end, seen.units);
        // No task waits longer than a timer can express.
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

    /// Returns the limiter's time at that moment, computed from the last reading.
    fn moment(&self, at: Instant) -> Option<Moment> {
        let (seen, then) = self.seen?;
        Some(seen.after(at.saturating_duration_since(then)))
    }
}
