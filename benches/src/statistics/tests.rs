use proptest::prelude::*;

use super::*;

#[test]
fn the_median_is_the_middle_or_the_mean_of_the_middle_two() {
    assert_eq!(median(&[]), None);
    assert_eq!(median(&[3.0]), Some(3.0));
    assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
    assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
}

#[test]
fn quantiles_interpolate() {
    let values = [0.0, 10.0, 20.0, 30.0, 40.0];
    assert_eq!(quantile(&values, 0.0), Some(0.0));
    assert_eq!(quantile(&values, 1.0), Some(40.0));
    assert_eq!(quantile(&values, 0.5), Some(20.0));
    assert_eq!(quantile(&values, 0.625), Some(25.0));
    assert_eq!(quantile(&[], 0.5), None);
}

#[test]
fn pairing_takes_out_drift_that_is_larger_than_the_effect() {
    // The machine gets up to five times slower; the measured side is 2 % slower throughout.
    let base = (1..=15).map(|round| 100.0 / f64::from(round % 5 + 1));
    let pairs: Vec<(f64, f64)> = base.map(|base| (base * 0.98, base)).collect();
    let estimate = paired_ratio(&pairs, 1).unwrap();
    for value in [estimate.median, estimate.low, estimate.high] {
        assert!((value - 0.98).abs() < 1e-9, "{estimate:?}");
    }
}

#[test]
fn a_single_disturbed_pair_moves_neither_median_nor_interval() {
    let mut pairs = vec![(1.0, 1.0); 20];
    pairs[7] = (0.1, 1.0);
    let estimate = paired_ratio(&pairs, 1).unwrap();
    assert_eq!((estimate.median, estimate.low, estimate.high, estimate.least), (1.0, 1.0, 1.0, 0.1));
}

#[test]
fn the_interval_agrees_with_the_exact_one_of_order_statistics() {
    // For 15 distinct values P(X(4) <= median <= X(12)) = 0.9648 by the binomial distribution; the bootstrap's
    // percentiles land on those order statistics or on the ones next to them.
    let pairs: Vec<(f64, f64)> = (1..=15).map(|value| (f64::from(value), 1.0)).collect();
    let estimate = paired_ratio(&pairs, 7).unwrap();
    assert_eq!((estimate.median, estimate.pairs), (8.0, 15));
    assert!((4.0..=5.0).contains(&estimate.low), "{estimate:?}");
    assert!((11.0..=12.0).contains(&estimate.high), "{estimate:?}");
}

#[test]
fn the_same_seed_gives_the_same_interval() {
    let pairs: Vec<(f64, f64)> = (0..17).map(|value| (f64::from(value * 7 % 17) + 50.0, 60.0)).collect();
    assert_eq!(paired_ratio(&pairs, 3), paired_ratio(&pairs, 3));
}

#[test]
fn what_is_no_measurement_gives_no_estimate() {
    assert_eq!(paired_ratio(&[], 1), None);
    assert_eq!(paired_ratio(&[(1.0, 0.0)], 1), None);
    assert_eq!(paired_ratio(&[(f64::NAN, 1.0)], 1), None);
}

/// Of many samples of a known population, about 95 in 100 intervals hold its median. Simulated, so no timing.
#[test]
fn the_interval_covers_the_true_median_about_as_often_as_it_says() {
    let mut random = SplitMix(42);
    let (mut covered, runs) = (0, 60);
    for run in 0..runs {
        let mut value = || f64::from(u32::try_from(random.below(2001)).unwrap()) / 10_000.0;
        let pairs: Vec<(f64, f64)> = (0..21).map(|_| (1.0 + value(), 1.0)).collect();
        let estimate = paired_ratio(&pairs, run).unwrap();
        covered += usize::from(estimate.low <= 1.1 && 1.1 <= estimate.high);
    }
    assert!(covered >= 52, "{covered} of {runs} intervals hold the median");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_median_lies_in_its_interval_and_the_interval_within_the_range(
        ratios in proptest::collection::vec(0.01_f64..100.0, 1..40), seed: u64
    ) {
        let pairs: Vec<(f64, f64)> = ratios.iter().map(|ratio| (*ratio, 1.0)).collect();
        let estimate = paired_ratio(&pairs, seed).unwrap();
        prop_assert!(estimate.least <= estimate.low && estimate.low <= estimate.high);
        prop_assert!(estimate.high <= estimate.greatest);
        prop_assert!(estimate.least <= estimate.median && estimate.median <= estimate.greatest);
    }
}
