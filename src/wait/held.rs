//! The hold of a caller that waits: its tokens, or its number in a line.

use super::Of;
use crate::answer::{Denied, Grant};
use crate::bucket::queue::{self, Entered, Notify, Progress};
use crate::bucket::{Place, Whose};
use core::fmt;
use core::mem;
use core::time::Duration;

/// The caller that waits: a thread or a task.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker<'a> {
    Thread,
    #[cfg(feature = "tokio")]
    Task(&'a core::task::Waker),
    #[cfg(not(feature = "tokio"))]
    #[expect(dead_code, reason = "there are no tasks")]
    Task(&'a core::convert::Infallible),
}

/// A request that can wait: for tokens of a limiter, or of several.
pub(crate) trait Ask {
    type Holds: Holds;

    /// Takes the tokens, or a place in line. A place that is due only after `within` is denied.
    fn ask(&self, within: Option<Duration>, asker: Asker<'_>) -> Result<Self::Holds, Denied>;
}

/// The hold of a caller that waits. Dropping it hands its tokens on to the next caller.
pub(crate) trait Holds {
    /// Looks whether the hold is due. If it is not, the line tells the asker when that changes.
    fn progress(&mut self, asker: Asker<'_>) -> Progress;

    /// Tells whether the hold waits in a line that will tell its task when it is due.
    #[cfg(feature = "tokio")]
    fn will_be_told(&self) -> bool;

    /// Spends the tokens. The hold is empty afterwards.
    fn spend(&mut self) -> Grant;

    /// Gives up a hold that comes too late by that time. The hold is empty afterwards.
    fn late(&mut self, by: Duration) -> Denied;
}

/// A hold of one limiter's tokens.
pub(crate) struct Held<'a> {
    bucket: Of<'a>,
    has: Has,
    /// The place as it was taken, until the line replaces it.
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
    /// Takes `n` tokens now, or a place behind all callers that wait.
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

    /// The line of the hold. It is the key's own, even if the key has no slot and its tokens are
    /// those of the bucket that all such keys share.
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
