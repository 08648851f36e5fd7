//! The stripe of a thread.

use crate::sync::plain::{AtomicU64, Ordering::Relaxed};
use core::cell::Cell;

std::thread_local! {
    static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The number of this thread's stripe, before it is reduced to the number of stripes.
#[inline(always)]
pub(crate) fn mine() -> usize {
    let mine = MINE.get();
    if mine == usize::MAX { first() } else { mine }
}

/// Gives this thread the next stripe in turn.
#[cold]
fn first() -> usize {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mine = NEXT.fetch_add(1, Relaxed) as usize & (usize::MAX >> 1);
    MINE.set(mine);
    mine
}

/// Moves this thread from stripe `mine` to the next.
#[cold]
pub(super) fn move_on(mine: usize) {
    MINE.set(mine.wrapping_add(1) & (usize::MAX >> 1));
}
