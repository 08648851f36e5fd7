//! The middle of a sample, and its spread.

/// The middle of a sample, and its spread.
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) quartiles: (f64, f64),
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(sample: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = sample.into_iter().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let last = sorted.len() - 1;
        // Interpolate between neighbours.
        let at = |share: f64| {
            let place = share * last as f64;
            let (low, rest) = (place as usize, place.fract());
            sorted[low] + (sorted[(low + 1).min(last)] - sorted[low]) * rest
        };
        Self {
            median: at(0.5),
            quartiles: (at(0.25), at(0.75)),
            least: sorted[0],
            most: sorted[last],
        }
    }
}
