//! The layout that both windows have in common: the window's number, and the bits that are left for
//! counts.

use crate::error::QuotaError;
use crate::quota::Quota;
use crate::time::HORIZON_NS;

/// Returns the bits for a window's index: 30 years of windows.
pub(super) fn window_bits(quota: &Quota) -> u32 {
    let windows = HORIZON_NS.div_ceil(u128::from(quota.period_ns()));
    u128::BITS - windows.leading_zeros()
}

/// Returns the fraction bits of a window's time and the bits of a count, if a window's count fits
/// in `count_bits`.
pub(super) fn layout(quota: &Quota, count_bits: u32) -> Result<(i8, u8), QuotaError> {
    if quota.burst_size() != quota.count() {
        return Err(QuotaError::WINDOW_BURST);
    }
    let count_bits = count_bits.min(48);
    let most = (1 << count_bits) - 1;
    if quota.count() > most {
        return Err(QuotaError::window_count(most));
    }
    // One bit is spared, so that the end of the last window is still a number.
    let fraction = u64::BITS - 2 - window_bits(quota);
    Ok((fraction as i8, count_bits as u8))
}
