//! The word's layout: plain numbers in and out, no atomics.
//!
//! ```text
//!     63         56 55                                               0
//!     +------------+--------------------------------------------------+
//!     | tokens (8) | full time (56), in fixed-point tokens            |   batched limiter
//!     +------------+--------------------------------------------------+
//!     | st | epoch | value (56): full time, or a window's packing     |   keyed slot
//!     +------------+--------------------------------------------------+
//!     | value (64): full time, the upper 8 bits 0 unless it is wide   |   exact limiter
//!     +---------------------------------------------------------------+
//! ```
//!
//! Shifts and masks are derived from the field lengths; no other file types them.

/// The bits of the value: full time, or a window's packing.
pub(crate) const VALUE_BITS: u32 = 56;
/// The bits of the tokens field, or of state and epoch together.
pub(crate) const TOKENS_BITS: u32 = u64::BITS - VALUE_BITS;

const VALUE_MASK: u64 = (1 << VALUE_BITS) - 1;

/// The largest number of tokens that the word can hold drawn and unspent.
pub(crate) const TOKENS_MAX: u64 = (1 << TOKENS_BITS) - 1;

/// Returns the value: the lower 56 bits.
#[inline(always)]
pub(crate) const fn value(word: u64) -> u64 {
    word & VALUE_MASK
}

/// Returns the tokens field: the upper 8 bits.
#[inline(always)]
pub(crate) const fn tokens(word: u64) -> u64 {
    word >> VALUE_BITS
}

/// Makes a word of both fields, each within its bits.
#[inline(always)]
pub(crate) const fn pack(tokens: u64, value: u64) -> u64 {
    debug_assert!(tokens <= TOKENS_MAX && value <= VALUE_MASK);
    tokens << VALUE_BITS | value
}
