//! The word of one stripe, and how it changes.
//!
//! ```text
//!     63     62     61                                0
//!     +------+------+---------------------------------+
//!     | OPEN | VOID | tokens                          |
//!     +------+------+---------------------------------+
//!
//!     0 0 t   --- open --->   1 0 t   --- fill l --->   0 0 t + l
//!                               |
//!                               +- empty, by a change -->   1 1 0   --- fill l --->   0 0 0, void
//! ```
//!
//! Any thread may take tokens in any of these states. The flags stay as they are then.

use crate::cell::{Cell, Step};
use crate::sync::Ordering::{Acquire, Release};
use crate::sync::fence;
use crate::sync::plain::AtomicU64;

/// The flag of a stripe that a thread is leasing tokens for.
const OPEN: u64 = 1 << 63;
/// The flag of an open stripe when the quota has changed. The lease was sized under the old quota,
/// so its tokens go back to the centre.
const VOID: u64 = 1 << 62;
/// The bits of a word that count tokens.
const TOKENS: u64 = VOID - 1;

/// The tokens of one thread, or of the few that share the stripe.
#[derive(Debug)]
pub(super) struct Stripe {
    /// The tokens, and the flags of a lease that is on its way.
    pub(super) cell: Cell,
    /// The leases so far. Only the thread that has opened the stripe writes it.
    pub(super) leases: AtomicU64,
    /// A neighbour's figures at the last look. Only the thread that has opened the stripe writes
    /// it.
    pub(super) neighbour: AtomicU64,
}

impl Stripe {
    pub(super) fn new() -> Self {
        Self { cell: Cell::new(0), leases: AtomicU64::new(0), neighbour: AtomicU64::new(0) }
    }

    /// The tokens that a word of a stripe holds.
    #[inline(always)]
    pub(super) fn tokens(word: u64) -> u64 {
        word & TOKENS
    }

    /// The tokens of the stripe. One load.
    pub(super) fn held(&self) -> u64 {
        Self::tokens(self.cell.load())
    }

    /// Takes up to `n` of the tokens. Returns how many.
    pub(super) fn take_up_to(&self, n: u64) -> u64 {
        self.cell.update(|word| match (word & TOKENS).min(n) {
            0 => Step::Keep(0),
            taken => Step::Put(word - taken, taken),
        })
    }

    /// Opens the stripe for a lease. Returns how many tokens it has room for, or `None` if it has
    /// no room or another thread has opened it.
    pub(super) fn open(&self, lease_max: u64) -> Option<u64> {
        // The word of an open stripe exceeds `lease_max`, by its flag.
        self.cell.update(|word| match lease_max.checked_sub(word) {
            None | Some(0) => Step::Keep(None),
            Some(room) => Step::Put(word | OPEN, Some(room)),
        })
    }

    /// Closes the stripe without a lease.
    pub(super) fn close(&self) {
        self.cell.update(|word| Step::Put(word & TOKENS, ()));
    }

    /// Closes the stripe and adds the `leased` tokens. Returns `false`, and adds none, if a change
    /// of the quota has made the lease void.
    #[must_use = "the tokens of a void lease must go back"]
    pub(super) fn fill(&self, leased: u64) -> bool {
        // ORDERING: pairs with the Acquire fence of `empty`. A thread that finds the lease in the
        // stripe finds the centre without it.
        fence(Release);
        self.cell.update(|word| match word & VOID {
            0 => Step::Put((word & TOKENS) + leased, true),
            _ => Step::Put(word & TOKENS, false),
        })
    }

    /// Takes all tokens, and makes a lease that is on its way void. Returns a word of the centre
    /// and the number of tokens. The centre had that word after the tokens were leased and before
    /// they were taken.
    pub(super) fn empty(&self, centre: &Cell) -> (u64, u64) {
        loop {
            let seen = self.cell.load();
            // ORDERING: pairs with the Release fence of `fill`.
            fence(Acquire);
            let before = centre.load();
            let taken = self.cell.update(|word| match word {
                _ if word != seen => Step::Keep(None),
                0 => Step::Keep(Some(0)),
                word if word & OPEN == 0 => Step::Put(0, Some(word & TOKENS)),
                word => Step::Put(OPEN | VOID, Some(word & TOKENS)),
            });
            if let Some(taken) = taken {
                return (before, taken);
            }
        }
    }
}
