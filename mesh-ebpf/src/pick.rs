//! Which endpoint of a Service a connection gets: weighted random in constant time.
//!
//! User space builds an alias table (M. D. Vose, "A linear algorithm for generating random numbers
//! with a given distribution", 1991): one slot per endpoint, each with a threshold and one other
//! slot. A pick takes one random slot and one random number, however many endpoints there are.

/// One slot of an alias table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Keep the slot's own endpoint when the random number is at most this.
    pub threshold: u32,
    /// The slot to take otherwise.
    pub alias: u32,
}

/// Where a random number lands among `slots` slots: uniform up to a bias of `slots / 2^32`
/// (D. Lemire, "Fast random integer generation in an interval", 2019).
#[inline(always)]
#[must_use]
pub const fn spread(random: u32, slots: u32) -> u32 {
    ((random as u64 * slots as u64) >> 32) as u32
}

/// The slot a pick ends at, given what slot `index` holds and a second random number.
#[inline(always)]
#[must_use]
pub const fn settle(index: u32, slot: Slot, random: u32) -> u32 {
    if random <= slot.threshold { index } else { slot.alias }
}

/// The alias table of `weights`. A weight of 0 is never picked unless all are 0, which makes them
/// equal.
#[cfg(any(test, feature = "user"))]
#[must_use]
pub fn table(weights: &[u32]) -> std::vec::Vec<Slot> {
    use std::vec::Vec;
    let count = weights.len() as u64;
    let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    let mut slots: Vec<Slot> =
        (0..weights.len() as u32).map(|own| Slot { threshold: u32::MAX, alias: own }).collect();
    if total == 0 {
        return slots;
    }
    // Shares scaled so that a full slot is `total`; kept in integers so that nothing drifts.
    let mut share: Vec<u64> = weights.iter().map(|&weight| u64::from(weight) * count).collect();
    let (mut poor, mut rich): (Vec<usize>, Vec<usize>) =
        (0..share.len()).partition(|&slot| share[slot] < total);
    while let (Some(&giver), Some(taker)) = (rich.last(), poor.pop()) {
        // `share` of 0 must never win: 0 / total * 2^32 - 1 saturates to threshold 0, which random
        // number 0 still passes once in 2^32; the giver then only misses that one pick.
        let scaled = (u128::from(share[taker]) << 32) / u128::from(total);
        slots[taker] = Slot {
            threshold: u32::try_from(scaled.saturating_sub(1)).unwrap_or(u32::MAX),
            alias: giver as u32,
        };
        share[giver] -= total - share[taker];
        if share[giver] < total {
            rich.pop();
            poor.push(giver);
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::{settle, spread, table};
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        /// The exact probability of every endpoint, summed over the slots that lead to it.
        #[test]
        fn shares_follow_the_weights(weights in prop::collection::vec(0u32..1000, 1..64)) {
            let slots = table(&weights);
            let full = 2f64.powi(32);
            let mut share = Vec::from_iter(weights.iter().map(|_| 0f64));
            for (own, slot) in slots.iter().enumerate() {
                let keep = (f64::from(slot.threshold) + 1.0) / full;
                share[own] += keep / slots.len() as f64;
                share[slot.alias as usize] += (1.0 - keep) / slots.len() as f64;
            }
            let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
            for (own, &weight) in weights.iter().enumerate() {
                let expected = if total == 0 {
                    1.0 / weights.len() as f64
                } else {
                    f64::from(weight) / total as f64
                };
                prop_assert!((share[own] - expected).abs() < 1e-6, "{own}: {} != {expected}", share[own]);
            }
        }

        #[test]
        fn a_pick_is_always_a_slot(weights in prop::collection::vec(0u32..9, 1..64), a: u32, b: u32) {
            let slots = table(&weights);
            let index = spread(a, slots.len() as u32);
            prop_assert!(settle(index, slots[index as usize], b) < slots.len() as u32);
        }
    }
}
