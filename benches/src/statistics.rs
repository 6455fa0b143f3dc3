//! Paired comparison. A machine's speed drifts over minutes far more than what is measured here; two measurements
//! that are made one after the other share that drift, so their ratio loses it. The median of the ratios is robust
//! against the odd disturbed pair, and the bootstrap says how far it can be trusted without assuming a distribution
//! (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13: the percentile interval).

#[cfg(test)]
mod tests;

use serde::Serialize;

/// Resamples of a bootstrap: the ends of a 95 % interval then rest on 500 of them each.
const RESAMPLES: usize = 20_000;

/// The median and what can be said of where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The median of the pairs' ratios.
    pub median: f64,
    /// Lower end of its 95 % bootstrap interval.
    pub low: f64,
    /// Upper end of its 95 % bootstrap interval.
    pub high: f64,
    /// The smallest ratio.
    pub least: f64,
    /// The largest ratio.
    pub greatest: f64,
    /// How many pairs it rests on.
    pub pairs: usize,
}

/// The median of `values`; the mean of the middle two of an even number, `None` of none.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.is_empty() {
        None
    } else if sorted.len() % 2 == 1 {
        Some(sorted[middle])
    } else {
        Some(f64::midpoint(sorted[middle - 1], sorted[middle]))
    }
}

/// The `quantile` (0 to 1) of `values` by linear interpolation, `None` of none.
#[must_use]
pub fn quantile(values: &[f64], quantile: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    Some(interpolated(&sorted, last, quantile))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a position within a list that fits in memory; quantile is within 0 to 1"
)]
fn interpolated(sorted: &[f64], last: usize, quantile: f64) -> f64 {
    let position = quantile.clamp(0.0, 1.0) * last as f64;
    let below = position.floor() as usize;
    let above = position.ceil() as usize;
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}

/// Compares pairs of (measured, baseline) by the median of their ratios measured / baseline. `seed` makes the
/// bootstrap repeatable. `None` without pairs, or when one of them is not positive.
#[must_use]
pub fn paired_ratio(pairs: &[(f64, f64)], seed: u64) -> Option<Estimate> {
    let positive = |value: f64| value.is_finite() && value > 0.0;
    if !pairs.iter().all(|(measured, baseline)| positive(*measured) && positive(*baseline)) {
        return None;
    }
    let ratios: Vec<f64> = pairs.iter().map(|(measured, baseline)| measured / baseline).collect();
    let middle = median(&ratios)?;
    let (low, high) = bootstrap(&ratios, seed)?;
    Some(Estimate {
        median: middle,
        low,
        high,
        least: ratios.iter().copied().fold(f64::INFINITY, f64::min),
        greatest: ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        pairs: ratios.len(),
    })
}

/// The 95 % percentile interval of the median of `values`.
fn bootstrap(values: &[f64], seed: u64) -> Option<(f64, f64)> {
    let mut random = SplitMix(seed);
    let mut sample = vec![0.0; values.len()];
    let mut medians = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        for place in &mut sample {
            *place = values[random.below(values.len())];
        }
        medians.push(median(&sample)?);
    }
    Some((quantile(&medians, 0.025)?, quantile(&medians, 0.975)?))
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): enough randomness to resample with, and repeatable.
#[derive(Debug)]
pub struct SplitMix(pub u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `limit`, which must not be 0 (by multiplication: Lemire, 2019; the bias is below 2^-32 here).
    pub fn below(&mut self, limit: usize) -> usize {
        let scaled = u128::from(self.next()) * limit as u128;
        usize::try_from(scaled >> 64).expect("below limit, which is a usize")
    }
}
