use proptest::prelude::*;

use super::Weighted;

fn weights() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(prop_oneof![Just(0u32), Just(1), 1..20u32, Just(u32::MAX)], 0..12)
}

proptest! {
    /// Every place on the line belongs to the one whose weight covers it, the excluded cut out.
    #[test]
    fn shares_follow_the_weights(
        weights in prop::collection::vec(0..5u32, 0..8),
        except in prop::collection::vec(0..10usize, 0..4),
    ) {
        let expected: Vec<usize> = (0..weights.len())
            .filter(|index| !except.contains(index))
            .flat_map(|index| std::iter::repeat_n(index, weights[index] as usize))
            .collect();
        let weighted = Weighted::new(weights);
        let total = expected.len() as u64;
        prop_assert_eq!(weighted.pick(0, &except).is_none(), total == 0);
        for place in 0..total {
            // The smallest number that lands there.
            let random = (u128::from(place) << 64).div_ceil(u128::from(total)) as u64;
            prop_assert_eq!(weighted.pick(random, &except), Some(expected[place as usize]));
        }
    }

    #[test]
    fn nothing_without_weight_is_picked(
        weights in weights(),
        random: [u64; 2],
        except in prop::collection::vec(0..14usize, 0..3),
        turn: u64,
    ) {
        let weighted = Weighted::new(weights.clone());
        let any = weights.iter().any(|&weight| weight > 0);
        let others = weights.iter().enumerate().any(|(index, &weight)| weight > 0 && !except.contains(&index));
        let picked = [
            weighted.least_requests(random, |index| index as u32, &except),
            weighted.round_robin(turn, &except),
        ];
        for picked in picked {
            prop_assert_eq!(picked.is_some(), any);
            if let Some(index) = picked {
                prop_assert!(weights[index] > 0);
                prop_assert!(!others || !except.contains(&index));
            }
        }
    }

    /// The lesser of two, and of two alone always the lesser.
    #[test]
    fn the_less_loaded_wins(requests: [u32; 2], random: [u64; 2], weights in [1..100u32, 1..100u32]) {
        let weighted = Weighted::new(weights);
        let picked = weighted.least_requests(random, |index| requests[index], &[]).unwrap();
        let load = |index: usize| (u64::from(requests[index]) + 1) as f64 / f64::from(weights[index]);
        prop_assert!(load(picked) <= load(1 - picked) * (1.0 + 1e-9));
    }

    #[test]
    fn everyone_has_its_turns(weights in prop::collection::vec(0..6u32, 1..10), start in 0..1_000_000u64) {
        let weighted = Weighted::new(weights.clone());
        let total: u32 = weights.iter().sum();
        let mut turns = vec![0; weights.len()];
        for turn in 0..u64::from(total) {
            turns[weighted.round_robin(start + turn, &[]).unwrap()] += 1;
        }
        prop_assert_eq!(turns, weights);
    }
}

#[test]
fn turns_are_spread() {
    let weighted = Weighted::new([3, 1]);
    let turns: Vec<usize> = (0..8).map(|turn| weighted.round_robin(turn, &[]).unwrap()).collect();
    assert!(!turns.windows(4).any(|four| four == [0, 0, 0, 0]), "{turns:?}");
}

/// What two choices are for: the most loaded of many stays close to the mean.
#[test]
fn two_choices_balance() {
    let mut requests = vec![0u32; 100];
    let weighted = Weighted::new(vec![1; 100]);
    let mut random = 1u64;
    let mut next = || {
        // xorshift64 (G. Marsaglia, 2003).
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for _ in 0..100_000 {
        let picked = weighted.least_requests([next(), next()], |index| requests[index], &[]).unwrap();
        requests[picked] += 1;
    }
    let most = requests.iter().max().unwrap();
    assert!(*most <= 1000 + 10, "{most}");
}
