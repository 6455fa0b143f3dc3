//! Gives memory back after a burst: what many connections used is not kept for when they come
//! again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::relay::tunnel::counts::Counts;
use crate::sys::memory::give_back;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(10);
/// Fewer connections than this have not used anything worth the work.
const WORTH: u64 = 256;

/// Looks after which the start is over: discovery has told its state, certificates are there.
const STARTED: u32 = 3;

/// Watches the counts for as long as relay runs.
pub(crate) async fn watch(counts: Arc<Counts>) {
    let mut burst = Burst::default();
    let mut ticks = tokio::time::interval(EVERY);
    let mut looks = 0u32;
    loop {
        ticks.tick().await;
        looks = looks.saturating_add(1);
        let open = counts.outbound_open.load(Ordering::Relaxed) + counts.inbound_open.load(Ordering::Relaxed);
        let ended = counts.ended().map(|(_, count)| count).sum();
        if burst.is_over(open, ended) || looks == STARTED {
            give_back();
        }
    }
}

/// When a burst of connections is over.
#[derive(Debug, Default)]
struct Burst {
    peak: u64,
    ended: u64,
}

impl Burst {
    /// Takes how many connections are open and how many have ended ever; true once after many have
    /// ended and at most half of the most that were open still are.
    fn is_over(&mut self, open: u64, ended: u64) -> bool {
        self.peak = self.peak.max(open);
        let many = ended.saturating_sub(self.ended) >= WORTH;
        let fewer = open <= self.peak / 2 || open < WORTH;
        if many && fewer {
            *self = Self { peak: open, ended };
        }
        many && fewer
    }
}

#[cfg(test)]
mod tests {
    use super::Burst;

    #[test]
    fn memory_is_given_back_once_after_a_burst() {
        let mut burst = Burst::default();
        assert!(!burst.is_over(10_000, 0), "under way");
        assert!(!burst.is_over(9_000, 1_000), "most of it is in use");
        assert!(burst.is_over(100, 9_900));
        assert!(!burst.is_over(90, 9_910), "once");
        assert!(burst.is_over(0, 20_000), "many short ones");
        assert!(!burst.is_over(0, 20_000));
    }
}
