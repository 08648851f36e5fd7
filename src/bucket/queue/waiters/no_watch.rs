//! No alarms: threads sleep by timers of their own.

use super::super::{Key, Queues, Told};
use super::told::Notify;
use crate::timeline::Moment;
use alloc::sync::Arc;

/// No runtime: without tokio, no task waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Host;

#[derive(Debug, Default)]
pub(in super::super) struct Watch {}

impl Watch {
    pub(in super::super) fn disarm(&mut self) {}

    pub(super) fn has_callers_here(&self) -> bool {
        false
    }

    pub(super) fn join(&mut self, _: &Arc<Queues>, _: Key, _: &Notify) -> Host {
        Host
    }

    pub(super) fn leave(&mut self, _: Host) {}

    pub(super) fn hush(&mut self) {}

    pub(super) fn arm(&mut self, _: u64, _: Option<&Moment>, _: &mut Told) {}
}
