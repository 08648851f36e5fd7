//! Tasks and threads in a line: how they come, how they are told, and how they leave.

use super::{Key, Queue, Queues, Span, Told, bucket, key};
use crate::clock::{Instant, instant};
#[cfg(feature = "tokio")]
use crate::clock::{Alarm, Rang, Runtime};
use crate::error::Denied;
use crate::figures::Grant;
use crate::line::{Line, Place, Whose};
use crate::live::Moment;
use alloc::sync::Arc;
#[cfg(feature = "tokio")]
use alloc::sync::Weak;
#[cfg(feature = "tokio")]
use alloc::task::Wake;
use alloc::vec::Vec;
use core::time::Duration;
use std::thread::Thread;

#[cfg(feature = "tokio")]
mod together;

#[cfg(feature = "tokio")]
pub(crate) use together::Together;

/// How a waiter is told.
#[derive(Clone, Debug)]
pub(crate) enum Notify {
    /// A thread sleeps until the place ends that it knows of.
    Thread(Thread),
    #[cfg(feature = "tokio")]
    Task(core::task::Waker),
    /// A task that waits for places in other lines as well.
    #[cfg(feature = "tokio")]
    Part(Arc<Together>),
}

/// Why a waiter is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Granted,
    /// To look at the line by itself.
    Look,
}

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Waiter {
    place: Place,
    notify: Notify,
    /// The last moment at which the caller still wants its tokens.
    latest: Option<Instant>,
    /// By how much the place would come too late, since a lower quota is in force.
    late: Option<Duration>,
    /// The end of the place that a thread sleeps for.
    sleeps_for: u64,
    #[cfg(feature = "tokio")]
    runtime: Option<Runtime>,
}

/// A call that is made when the lock has been given back.
#[derive(Debug)]
pub(super) struct Call(Notify, Why);

impl Call {
    pub(super) fn call(self) {
        match self.0 {
            Notify::Thread(thread) => thread.unpark(),
            #[cfg(feature = "tokio")]
            Notify::Task(waker) => waker.wake(),
            #[cfg(feature = "tokio")]
            Notify::Part(together) => {
                if self.1 == Why::Look || together.remove() {
                    together.call();
                }
            }
        }
    }
}

/// A line's time: what a timer knows of the limiter's clock, which it cannot reach.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// A reading of the limiter's clock, and when that was.
    #[cfg(feature = "tokio")]
    seen: Option<(Moment, Instant)>,
    /// One for each runtime that somebody waits on, and how many do.
    #[cfg(feature = "tokio")]
    alarms: Vec<(Alarm, usize)>,
}

/// Calls a line when its first place is due.
#[cfg(feature = "tokio")]
#[derive(Debug)]
struct Bell {
    queues: Weak<Queues>,
    key: Key,
    runtime: Runtime,
}

#[cfg(feature = "tokio")]
impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(queues) = self.queues.upgrade() {
            queues.line(self.key, |queue, told| queue.ring(self.runtime, told));
        }
    }
}

/// How an [`enter`] ends.
pub(crate) enum Entered {
    /// The tokens were there.
    AtOnce(Place),
    /// The caller stands in line, with this number.
    Waits(usize),
}

/// What a waiter finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    /// It is granted its place.
    Granted,
    /// It comes too late for the caller by that time.
    Late(Duration),
    /// It is due in that time, or earlier.
    Waits(Duration),
}

impl Stand {
    /// That of several places, all of which are wanted.
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

/// Takes `n` tokens now, or a place behind everybody who waits.
pub(crate) fn enter(
    line: &dyn Line,
    whose: Whose,
    n: u64,
    within: Option<Duration>,
    notify: impl FnOnce() -> Notify,
) -> Result<Entered, Denied> {
    match line.place(whose, n, Some(Duration::ZERO)) {
        Ok(place) => return Ok(Entered::AtOnce(place)),
        Err(denied) if denied.is_never() || within == Some(Duration::ZERO) => return Err(denied),
        Err(_) => {}
    }
    let (queues, key) = (line.queues(), key(whose));
    queues.line_or(key, || None, |queue, told| {
        let now = line.moment();
        queue.see(&now);
        queue.serve(&now, told);
        let notify = notify();
        // It panics outside of a runtime, before anything is taken.
        #[cfg(feature = "tokio")]
        let runtime = match notify {
            Notify::Thread(_) => None,
            _ => Some(queue.watch.count(queues, key)),
        };
        let place = match queue.gap(line, whose, n, within, &now) {
            Some(place) => Ok(place),
            None => line.place(whose, n, within),
        };
        let place = match place {
            Ok(place) if now.is_due_later(place.place) => place,
            answer => {
                #[cfg(feature = "tokio")]
                queue.watch.uncount(runtime);
                return answer.map(Entered::AtOnce);
            }
        };
        let span = place.span_of(n).unwrap_or(Span::ending(place.place, 0));
        let sleeps_for = place.place;
        let latest = within.and_then(|within| instant().checked_add(within));
        let waiter = Waiter {
            place,
            notify,
            latest,
            late: None,
            sleeps_for,
            #[cfg(feature = "tokio")]
            runtime,
        };
        let number = queue.order.push(span, waiter);
        queue.arm(told);
        Ok(Entered::Waits(number))
    })
}

/// The caller's runtime may have changed, or its task: whom to tell from now on.
#[cfg(feature = "tokio")]
pub(crate) fn stand_as_task(
    line: &dyn Line,
    whose: Whose,
    number: usize,
    waker: &core::task::Waker,
) -> Stand {
    let key = key(whose);
    let stand = line.queues().line(key, |queue, told| {
        if queue.order.is_granted(number) {
            return Stand::Granted;
        }
        let now = line.moment();
        queue.see(&now);
        queue.serve(&now, told);
        let runtime = Runtime::current();
        if let Some(waiter) = queue.order.who(number) {
            match &mut waiter.notify {
                Notify::Task(known) if !known.will_wake(waker) => known.clone_from(waker),
                Notify::Part(together) => together.follow(waker),
                _ => {}
            }
            if waiter.runtime != Some(runtime) {
                let before = waiter.runtime.replace(runtime);
                queue.watch.uncount(before);
                queue.watch.count(line.queues(), key);
            }
        }
        queue.stand(number, &now, told)
    });
    stand.unwrap_or(Stand::Granted)
}

/// How a thread stands, before it sleeps.
pub(crate) fn stand_as_thread(line: &dyn Line, whose: Whose, number: usize) -> Stand {
    let stand = line.queues().line(key(whose), |queue, told| {
        let now = line.moment();
        queue.see(&now);
        queue.serve(&now, told);
        queue.stand(number, &now, told)
    });
    stand.unwrap_or(Stand::Granted)
}

/// Acts on a place that was granted: the answer.
pub(crate) fn act(line: &dyn Line, whose: Whose, number: usize) -> Grant {
    let waiter = line.queues().line(key(whose), |queue, _| queue.remove(number));
    match waiter.flatten() {
        Some(waiter) => waiter.place.grant(),
        // Nobody has that number.
        None => line.moment().grant(0, 0),
    }
}

/// Leaves the line, from wherever: hands on what the caller had, and says what that was.
pub(crate) fn leave(line: &dyn Line, whose: Whose, number: usize) -> Option<Place> {
    let left = line.queues().line(key(whose), |queue, told| {
        let now = line.moment();
        queue.see(&now);
        let granted = queue.order.is_granted(number);
        let since = queue.order.who(number)?.place.since;
        let mut bucket = bucket(line, whose, Some(since), &now);
        let waiter = queue.order.leave(number, now.units, &mut bucket)?;
        #[cfg(feature = "tokio")]
        queue.watch.uncount(waiter.runtime);
        let place = waiter.place;
        if place.span_of(place.n).is_none() {
            if granted {
                line.undo(&place, place.n, &now);
            } else {
                line.give_up(&place, place.n);
            }
        }
        queue.settle(line, whose, &now);
        queue.serve(&now, told);
        Some(place)
    });
    left.flatten()
}

impl Queue {
    /// Remembers the limiter's time for whoever looks at the line without it.
    #[cfg_attr(not(feature = "tokio"), allow(unused_variables, reason = "threads have the limiter"))]
    fn see(&mut self, now: &Moment) {
        #[cfg(feature = "tokio")]
        {
            self.watch.seen = Some((*now, instant()));
        }
    }

    /// Lets those who wait stand in line once more, after the bucket has been filled by `reset`.
    pub(super) fn start_again(
        &mut self,
        line: &dyn Line,
        whose: Whose,
        reset: impl FnOnce(),
        told: &mut Told,
    ) {
        let waiting = self.order.disperse();
        reset();
        let now = line.moment();
        self.see(&now);
        for number in waiting {
            let Some(waiter) = self.order.who(number) else { continue };
            let n = waiter.place.n;
            // A bucket that has been filled has a place for everybody who had one before.
            let span = match line.place(whose, n, None) {
                Ok(place) => {
                    waiter.place = place;
                    place.span_of(n).unwrap_or(Span::ending(place.place, 0))
                }
                Err(_) => Span::ending(now.units, 0),
            };
            self.order.push_again(number, span);
        }
        self.serve(&now, told);
    }

    /// Grants those places that are due, and arms the alarms for the next one.
    pub(super) fn serve(&mut self, now: &Moment, told: &mut Told) {
        let rule = now.rule();
        while let Some(waiter) =
            self.order.grant_first(|end| rule.until_place(end, now.units) == 0)
        {
            told.calls.push(Call(waiter.notify.clone(), Why::Granted));
        }
        self.arm(told);
    }

    /// Has the first one told when its place is due.
    fn arm(&mut self, told: &mut Told) {
        let Some(end) = self.order.first_end() else {
            #[cfg(feature = "tokio")]
            self.watch.hush();
            return;
        };
        if let Some(first) = self.order.first()
            && let Notify::Thread(thread) = &first.notify
            && first.sleeps_for != end
        {
            // It has come earlier, and sleeps too long.
            first.sleeps_for = end;
            told.calls.push(Call(Notify::Thread(thread.clone()), Why::Look));
        }
        #[cfg(feature = "tokio")]
        self.watch.arm(end, told);
    }

    fn stand(&mut self, number: usize, now: &Moment, told: &mut Told) -> Stand {
        self.arm(told);
        let first = self.order.first_end().filter(|_| self.order.is_first(number));
        if self.order.is_granted(number) {
            return Stand::Granted;
        }
        let Some(waiter) = self.order.who(number) else { return Stand::Granted };
        if let Some(by) = waiter.late {
            return Stand::Late(by);
        }
        // Whoever stands in front has an earlier moment; the end can only have come earlier.
        waiter.sleeps_for = first.unwrap_or(waiter.sleeps_for);
        let units = now.rule().until_place(waiter.sleeps_for, now.units);
        Stand::Waits(now.figures(0).wait(units))
    }

    fn remove(&mut self, number: usize) -> Option<Waiter> {
        let waiter = self.order.act(number)?;
        #[cfg(feature = "tokio")]
        self.watch.uncount(waiter.runtime);
        Some(waiter)
    }

    /// After another quota has been put in force.
    pub(super) fn requote(&mut self, now: &Moment, told: &mut Told) {
        self.see(now);
        let (rule, at) = (now.rule(), instant());
        let mut ends = Vec::new();
        self.order.each(|number, end| ends.push((number, end)));
        for (number, end) in ends {
            let Some(waiter) = self.order.who(number) else { continue };
            // A thread that sleeps for a later moment than this is told if it comes first.
            waiter.late = waiter.latest.and_then(|latest| {
                let due = at.checked_add(now.figures(0).wait(rule.until_place(end, now.units)))?;
                due.checked_duration_since(latest).filter(|by| !by.is_zero())
            });
            let sleeps_for_less = matches!(waiter.notify, Notify::Thread(_));
            if waiter.late.is_some() || sleeps_for_less {
                told.calls.push(Call(waiter.notify.clone(), Why::Look));
            }
        }
        self.serve(now, told);
    }

    /// An alarm has rung.
    #[cfg(feature = "tokio")]
    fn ring(&mut self, runtime: Runtime, told: &mut Told) {
        match self.watch.rang(runtime) {
            Some(Rang::Due(at)) => {
                let Some(now) = self.watch.moment(at) else { return };
                self.serve(&now, told);
            }
            Some(Rang::Ended) => {
                // Those who waited on it may go on elsewhere, and then set an alarm there.
                for waiter in self.order.all() {
                    if waiter.runtime == Some(runtime) {
                        waiter.runtime = None;
                        told.calls.push(Call(waiter.notify.clone(), Why::Look));
                    }
                }
            }
            Some(Rang::NotYet) | None => {}
        }
    }
}

#[cfg(feature = "tokio")]
impl Watch {
    fn find(&mut self, runtime: Runtime) -> Option<&mut (Alarm, usize)> {
        self.alarms.iter_mut().find(|(alarm, _)| alarm.runtime() == runtime)
    }

    /// Somebody waits on the caller's runtime.
    fn count(&mut self, queues: &Arc<Queues>, key: Key) -> Runtime {
        let runtime = Runtime::current();
        match self.find(runtime) {
            Some((alarm, waiting)) => {
                if *waiting == 0 {
                    alarm.renew();
                }
                *waiting += 1;
            }
            None => {
                let queues = Arc::downgrade(queues);
                let bell = |runtime| Arc::new(Bell { queues, key, runtime }).into();
                self.alarms.push((Alarm::new(bell), 1));
            }
        }
        runtime
    }

    /// Somebody waits there no more.
    fn uncount(&mut self, runtime: Option<Runtime>) {
        if let Some((alarm, waiting)) = runtime.and_then(|runtime| self.find(runtime)) {
            *waiting = waiting.saturating_sub(1);
            if *waiting == 0 {
                alarm.hush();
            }
        }
    }

    fn hush(&mut self) {
        self.alarms.iter_mut().for_each(|(alarm, _)| alarm.hush());
    }

    /// Sets all alarms to the moment at which a place is due that ends there.
    fn arm(&mut self, end: u64, told: &mut Told) {
        let Some((seen, at)) = self.seen else { return };
        let units = seen.rule().until_place(end, seen.units);
        // Beyond what a timer can say nobody waits.
        let Some(due) = at.checked_add(seen.figures(0).wait(units)) else { return };
        for (alarm, waiting) in &mut self.alarms {
            if *waiting > 0 && alarm.set(due) {
                told.calls.push(Call(Notify::Task(alarm.waker().clone()), Why::Look));
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
