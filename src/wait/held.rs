//! The hold of a caller that waits: tokens that were there, or a number in a line.

use super::Of;
use crate::answer::{Denied, Grant};
use crate::bucket::queue::{self, Entered, Notify, Progress};
use crate::bucket::{Place, Whose};
use core::fmt;
use core::mem;
use core::time::Duration;

/// The caller that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker<'a> {
    Thread,
    #[cfg(feature = "tokio")]
    Task(&'a core::task::Waker),
    #[cfg(not(feature = "tokio"))]
    #[expect(dead_code, reason = "there are no tasks")]
    Task(&'a core::convert::Infallible),
}

/// A request that is waited for: tokens of a limiter, or of several.
pub(crate) trait Ask {
    type Holds: Holds;

    /// Takes the tokens, or stands in line, unless it were due only after `within`.
    fn ask(&self, within: Option<Duration>, asker: Asker<'_>) -> Result<Self::Holds, Denied>;
}

/// The hold meanwhile. Dropped, it is handed on to the next caller.
pub(crate) trait Holds {
    /// How it stands, and whom to tell when that changes.
    fn progress(&mut self, asker: Asker<'_>) -> Progress;

    /// Whether it waits, and its task will be told when it does no more.
    #[cfg(feature = "tokio")]
    fn will_be_told(&self) -> bool;

    /// Acts on it. Nothing is held after that.
    fn spend(&mut self) -> Grant;

    /// Gives it up, since it comes too late by that time. Nothing is held after that.
    fn late(&mut self, by: Duration) -> Denied;
}

/// Tokens of one limiter.
pub(crate) struct Held<'a> {
    bucket: Of<'a>,
    has: Has,
    /// As it was taken, until the line hands it over.
    place: Place,
}

#[derive(Clone, Copy)]
enum Has {
    Nothing,
    /// The tokens of the place.
    Tokens,
    /// A number in the line.
    Number(usize),
}

impl<'a> Held<'a> {
    /// Takes `n` tokens now, or a place behind everybody who waits.
    pub(crate) fn take(
        bucket: impl Into<Of<'a>>,
        whose: Whose,
        n: u64,
        within: Option<Duration>,
        notify: impl FnOnce() -> Notify,
    ) -> Result<Self, Denied> {
        let bucket = bucket.into();
        let (has, place) = match queue::enter(&*bucket, whose, n, within, notify)? {
            Entered::AtOnce(place) => (Has::Tokens, place),
            Entered::Waits(number, place) => (Has::Number(number), place),
        };
        Ok(Self { bucket, has, place })
    }

    /// Whose line it is: a key's own, also if its tokens are those of all keys without a slot.
    fn whose(&self) -> Whose {
        Whose { shared: false, ..self.place.whose }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.has, Has::Number(_))
    }
}

impl Asker<'_> {
    pub(crate) fn notify(self) -> Notify {
        match self {
            Self::Thread => Notify::Thread(std::thread::current()),
            #[cfg(feature = "tokio")]
            Self::Task(waker) => Notify::Task(waker.clone()),
            #[cfg(not(feature = "tokio"))]
            Self::Task(never) => match *never {},
        }
    }
}

impl Holds for Held<'_> {
    fn progress(&mut self, asker: Asker<'_>) -> Progress {
        let Has::Number(number) = self.has else { return Progress::Granted };
        match asker {
            Asker::Thread => queue::progress_as_thread(&*self.bucket, self.whose(), number),
            #[cfg(feature = "tokio")]
            Asker::Task(waker) => {
                let (whose, place) = (self.whose(), (number, &mut self.place));
                match queue::claim_as_task(&*self.bucket, whose, place, waker) {
                    Ok(()) => {
                        self.has = Has::Tokens;
                        Progress::Granted
                    }
                    Err(progress) => progress,
                }
            }
            #[cfg(not(feature = "tokio"))]
            Asker::Task(never) => match *never {},
        }
    }

    #[cfg(feature = "tokio")]
    fn will_be_told(&self) -> bool {
        self.is_waiting()
    }

    fn spend(&mut self) -> Grant {
        match mem::replace(&mut self.has, Has::Nothing) {
            Has::Tokens => self.place.grant(),
            Has::Number(number) => queue::act(&*self.bucket, self.whose(), number, &self.place),
            Has::Nothing => self.bucket.moment().grant(0, 0),
        }
    }

    fn late(&mut self, by: Duration) -> Denied {
        let place = match mem::replace(&mut self.has, Has::Nothing) {
            Has::Number(number) => queue::leave(&*self.bucket, self.whose(), number, &self.place),
            Has::Tokens | Has::Nothing => None,
        };
        match place {
            Some(place) => Denied::new(place.n, place.at.told(Some(by))),
            None => self.bucket.moment().denied(0, 0),
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        match mem::replace(&mut self.has, Has::Nothing) {
            Has::Tokens => queue::undo(&*self.bucket, &self.place, self.place.n),
            Has::Number(number) => {
                queue::leave(&*self.bucket, self.whose(), number, &self.place);
            }
            Has::Nothing => {}
        }
    }
}

impl fmt::Debug for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("waits", &self.is_waiting()).finish()
    }
}
