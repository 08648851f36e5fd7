//! A place in line, held by whoever waits.

#[cfg(feature = "std")]
use super::Held;
use super::Of;
use crate::error::Denied;
use crate::figures::Grant;
use crate::line::{Place, Whose};
use core::fmt;
use core::time::Duration;

/// A place in a limiter's line: tokens that are there already, or will be at a known moment.
///
/// Wait for [`ready_in`](Self::ready_in), then act. Once it is due the tokens are spent, whatever becomes of
/// the reservation; dropped before, it gives them back as [`cancel`](Self::cancel) does.
///
/// For a cost that is known only afterwards, reserve an estimate and [`settle`](Self::settle):
///
/// ```
/// use sluicegate::{Quota, RateLimiter};
///
/// let tokens = RateLimiter::new(Quota::per_minute(10_000));
/// let call = tokens.reserve(2_000)?;
/// // ... wait for it, ask the model, count what it used:
/// call.settle(350);
/// assert_eq!(tokens.available(), 9_650);
/// # Ok::<(), sluicegate::Denied>(())
/// ```
#[must_use = "a reservation that is dropped before it is due is given up"]
pub struct Reservation<'a> {
    line: Of<'a>,
    place: Place,
    #[cfg(feature = "std")]
    generation: u64,
    /// Used, given up or settled: nothing is to be given back.
    closed: bool,
}

impl<'a> Reservation<'a> {
    pub(crate) fn take(
        line: Of<'a>,
        whose: Whose,
        n: u64,
        within: Option<Duration>,
    ) -> Result<Self, Denied> {
        // Before the place is taken: a change in between is then noticed.
        #[cfg(feature = "std")]
        let generation = line.generation();
        let place = line.place(whose, n, within)?;
        Ok(Self {
            line,
            place,
            #[cfg(feature = "std")]
            generation,
            closed: false,
        })
    }

    /// How long from now until the place is due; zero if it is. Reads the clock once.
    ///
    /// It follows the quota: when that changes, so does the time.
    #[must_use]
    pub fn ready_in(&self) -> Duration {
        if self.place.wait == 0 { Duration::ZERO } else { self.line.until(&self.place) }
    }

    /// How long it was when the place was taken.
    #[must_use]
    pub fn waits(&self) -> Duration {
        self.place.waits()
    }

    /// The tokens reserved.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.place.n
    }

    /// The limiter's answer as it will be when the place is due, by the quota as it was when it was taken.
    pub fn grant(&self) -> Grant {
        let Place { n, at, wait, .. } = self.place;
        Grant::new(n, at.after(wait, self.place.waits()))
    }

    /// Gives the place up: how many tokens come back.
    ///
    /// All of them, if nobody has reserved behind it. Otherwise as many as it had more than those behind it
    /// together, since what they reserved stays promised to them: they keep their places, to the nanosecond. None if it is
    /// due already. Of a limiter that [warms up](crate::Builder::warm_up), all or none. Of a window, all of them, unless places in a later window have been taken since (of a sliding
    /// one, in the one after the next).
    #[must_use = "some tokens may not come back; to ignore that, drop the reservation"]
    pub fn cancel(mut self) -> u64 {
        self.give_up()
    }

    /// Sets the cost right: gives back what is left of the reserved tokens, or takes the rest, into debt if they are
    /// not there. Says how long until the debt is paid: zero if there is none.
    ///
    /// What is given back may be taken again, as with [`refund`](crate::RateLimiter::refund). Before the place is due, it
    /// is given up like a [cancelled](Self::cancel) place.
    pub fn settle(mut self, actual: u64) -> Duration {
        self.closed = true;
        let reserved = self.place.n;
        if actual > reserved {
            return self.line.charge(self.place.whose, actual - reserved);
        }
        if self.is_due() {
            self.line.refund(&self.place, reserved - actual);
        } else {
            self.line.give_up(&self.place, reserved - actual);
        }
        Duration::ZERO
    }

    fn is_due(&self) -> bool {
        self.ready_in().is_zero()
    }

    fn give_up(&mut self) -> u64 {
        if self.closed || self.place.wait == 0 {
            return 0;
        }
        self.closed = true;
        self.line.give_up(&self.place, self.place.n)
    }

    /// The tokens are spent, also if the limiter's clock is a little behind the one that was waited by.
    pub(crate) fn spend(&mut self) {
        self.closed = true;
    }

    /// Nobody acts on it, whether it is due or not.
    pub(crate) fn undo(&mut self) {
        if !self.closed {
            self.closed = true;
            self.line.undo(&self.place);
        }
    }
}

#[cfg(feature = "std")]
impl Held for Reservation<'_> {
    fn waits(&self) -> Duration {
        self.place.waits()
    }

    fn moved(&mut self) -> Option<Duration> {
        let generation = self.line.generation();
        if generation == self.generation {
            return None;
        }
        self.generation = generation;
        Some(self.ready_in()).filter(|left| !left.is_zero())
    }

    fn late(&mut self, by: Duration) -> Denied {
        self.give_up();
        Denied::new(self.place.n, self.place.at.told(Some(by)))
    }

    fn used(&mut self) -> Grant {
        self.spend();
        self.grant()
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("tokens", &self.tokens())
            .field("ready_in", &self.ready_in())
            .finish_non_exhaustive()
    }
}
