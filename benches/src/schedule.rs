//! In which order the arms are measured. In every round each arm has one turn, and the order rotates: whatever the
//! machine does over the minutes, and whatever a measurement leaves behind for the next one, falls on all alike.

use crate::statistics::SplitMix;

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Turn {
    /// The pods with the mesh.
    Mesh,
    /// The pods without it: the baseline of this round's pair.
    Plain,
    /// The same pods without it again: against [`Turn::Plain`] it tells how far two measurements of the same thing
    /// differ here.
    PlainAgain,
}

impl Turn {
    const ALL: [Self; 3] = [Self::Mesh, Self::Plain, Self::PlainAgain];
}

/// The order of one round: every one of the six orders is used once before one is used again, in an order that
/// `seed` decides.
#[must_use]
pub fn order(round: usize, seed: u64) -> [Turn; 3] {
    const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1], [2, 1, 0], [1, 0, 2]];
    let mut deck: Vec<usize> = (0..ORDERS.len()).collect();
    let mut random = SplitMix(seed ^ (round / ORDERS.len()) as u64);
    for place in (1..deck.len()).rev() {
        deck.swap(place, random.below(place + 1));
    }
    ORDERS[deck[round % ORDERS.len()]].map(|index| Turn::ALL[index])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_six_rounds_use_every_order_once() {
        for start in [0, 6, 12] {
            let orders: BTreeSet<[Turn; 3]> = (start..start + 6).map(|round| order(round, 5)).collect();
            assert_eq!(orders.len(), 6);
        }
    }

    #[test]
    fn every_round_measures_every_arm() {
        for round in 0..20 {
            let turns: BTreeSet<Turn> = order(round, 9).into_iter().collect();
            assert_eq!(turns.len(), 3);
        }
    }
}
