//! How long to wait before trying again: doubling, with jitter so that the nodes of a cluster do
//! not come back at once.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The waits of one thing that is tried again and again.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits from `first` up to `longest`.
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// It worked: the next wait is the first again.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    /// How long to wait now; `random` picks between half and all of it.
    fn wait(&mut self, random: u64) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(self.longest);
        let share = u32::try_from(random % 1000).unwrap_or(0);
        full / 2 + full / 2 * share / 1000
    }

    /// Waits.
    pub(crate) async fn pause(&mut self) {
        // The standard library seeds every `RandomState` differently: random enough for jitter.
        let random = RandomState::new().build_hasher().finish();
        tokio::time::sleep(self.wait(random)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use std::time::Duration;

    #[test]
    fn waits_double_up_to_the_longest_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(400));
        let bounds = [(50, 100), (100, 200), (200, 400), (200, 400)];
        for (least, most) in bounds {
            let mut other = backoff.clone();
            assert_eq!(backoff.wait(0), Duration::from_millis(least));
            assert!(other.wait(999) < Duration::from_millis(most));
        }
        backoff.reset();
        assert_eq!(backoff.wait(0), Duration::from_millis(50));
    }
}
