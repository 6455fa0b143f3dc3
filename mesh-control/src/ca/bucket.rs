//! So many at once, and so many a second from then on: a bucket of tokens for each of whoever asks.
//!
//! A bucket is one number, when it will be full again; who has not asked for as long as that takes is forgotten.

use std::{collections::BTreeMap, time::Duration};

/// Buckets before the first look for those that are full again.
const FEW: usize = 1024;

/// How much one may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// So many at once.
    pub(super) burst: u32,
    /// So many a second.
    pub(super) per_second: u32,
}

impl Rate {
    /// How long one takes to come back.
    fn each(self) -> Duration {
        Duration::from_secs(1) / self.per_second.max(1)
    }

    /// How long an empty bucket takes to be full.
    pub(super) fn whole(self) -> Duration {
        self.each() * self.burst
    }
}

/// The buckets. Times are since some moment, the same one in every call.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    rate: Rate,
    /// When each is full; those that are may be missing.
    full: BTreeMap<K, Duration>,
    look_at: usize,
}

impl<K: Ord> Buckets<K> {
    /// Full ones.
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, full: BTreeMap::new(), look_at: FEW }
    }

    /// Whether there is a token to take.
    pub(super) fn has(&self, whose: &K, now: Duration) -> bool {
        self.after(whose, now).is_some()
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, whose: K, now: Duration) -> bool {
        if self.full.len() >= self.look_at {
            self.full.retain(|_, full| *full > now);
            self.look_at = FEW.max(self.full.len() * 2);
        }
        let (full, after) = (self.full_at(&whose, now), self.after(&whose, now));
        // A refusal costs nothing of what has come back since; written down is only that the clock went back, if it did.
        self.full.insert(whose, after.unwrap_or(full));
        after.is_some()
    }

    /// Forgets a bucket.
    pub(super) fn remove(&mut self, whose: &K) {
        self.full.remove(whose);
    }

    /// When it will be full if nothing is taken. A clock that goes back gives nothing, and takes away no more than there
    /// was.
    fn full_at(&self, whose: &K, now: Duration) -> Duration {
        self.full.get(whose).copied().unwrap_or_default().clamp(now, now + self.rate.whole())
    }

    /// When it will be full once a token is taken, if there is one.
    fn after(&self, whose: &K, now: Duration) -> Option<Duration> {
        Some(self.full_at(whose, now) + self.rate.each()).filter(|full| *full <= now + self.rate.whole())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.full.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{Buckets, FEW, Rate};

    const RATE: Rate = Rate { burst: 5, per_second: 10 };

    proptest! {
        /// Of whatever is asked when, no stretch of time has more than a burst and what comes back in it; and who was
        /// refused would have had more than that.
        #[test]
        fn in_no_stretch_of_time_more_is_taken_and_nothing_else_is_refused(
            steps in prop_oneof![
                prop::collection::vec((0_u64..400, 0_u8..3), 1..200),
                // One that asks much more often than a token comes back.
                prop::collection::vec((0_u64..40, 0_u8..1), 1..400),
            ],
        ) {
            let (mut buckets, mut now) = (Buckets::new(RATE), Duration::ZERO);
            let mut taken: Vec<(u8, Duration)> = Vec::new();
            for (pause, whose) in steps {
                now += Duration::from_millis(pause);
                let own = || taken.iter().filter(|(key, _)| *key == whose).map(|(_, at)| *at);
                // With this one.
                let room = own().enumerate().all(|(index, from)| {
                    let count = own().count() - index + 1;
                    count as u128 <= u128::from(RATE.burst) + (now - from).as_millis() / 100
                });
                prop_assert_eq!(buckets.has(&whose, now), room);
                prop_assert_eq!(buckets.take(whose, now), room);
                if room {
                    taken.push((whose, now));
                }
            }
        }

        #[test]
        fn a_clock_that_goes_back_costs_no_more_than_a_bucket(jump in 0_u64..10_000_000) {
            let mut buckets = Buckets::new(RATE);
            prop_assert!(buckets.take("a", Duration::from_secs(jump)));
            let back = Duration::from_secs(1);
            let taken = (0..10).filter(|_| buckets.take("a", back)).count();
            prop_assert!(taken <= 5);
            prop_assert!(buckets.take("a", back + RATE.each()));
        }
    }

    #[test]
    fn who_asks_too_often_has_what_comes_back_all_the_same() {
        let (mut buckets, mut taken) = (Buckets::new(RATE), 0);
        for at in 0..=10_000 {
            taken += u32::from(buckets.take((), Duration::from_millis(at)));
        }
        assert_eq!(taken, RATE.burst + 10 * RATE.per_second);
    }

    #[test]
    fn who_has_not_asked_for_long_is_forgotten() {
        let mut buckets = Buckets::new(RATE);
        for at in 0..u64::try_from(FEW).unwrap() * 4 {
            assert!(buckets.take(at, Duration::from_millis(at)));
        }
        assert!(buckets.len() <= FEW, "{}", buckets.len());
    }
}
