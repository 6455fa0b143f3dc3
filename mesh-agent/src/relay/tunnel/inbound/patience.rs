//! How long a tunnel's peer is borne with.

use std::cell::Cell;
use std::time::Instant;

use tokio::sync::Notify;

/// How many streams a peer may give up before they were answered: a bucket of [`Patience::MOST`]
/// that fills again by [`Patience::PER_SECOND`]. h2 bounds those that are reset before relay has
/// seen them; these cost a connect to the application each (CVE-2023-44487).
#[derive(Debug)]
pub(super) struct Patience {
    left: Cell<(f64, Instant)>,
    gone: Notify,
}

impl Default for Patience {
    fn default() -> Self {
        Self { left: Cell::new((Self::MOST, Instant::now())), gone: Notify::new() }
    }
}

impl Patience {
    const MOST: f64 = 256.0;
    const PER_SECOND: f64 = 64.0;

    /// A stream was given up.
    pub(super) fn spend(&self, now: Instant) {
        let (left, then) = self.left.get();
        let regained = now.saturating_duration_since(then).as_secs_f64() * Self::PER_SECOND;
        let left = (left + regained).min(Self::MOST) - 1.0;
        self.left.set((left, now));
        if left < 0.0 {
            self.gone.notify_one();
        }
    }

    /// Waits until it is at its end.
    pub(super) async fn lost(&self) {
        self.gone.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::Patience;
    use std::time::{Duration, Instant};

    #[test]
    fn patience_runs_out_and_comes_back() {
        let patience = Patience::default();
        let start = Instant::now();
        let gives_up = |times: u32, at: Duration| {
            (0..times).for_each(|_| patience.spend(start + at));
            patience.left.get().0 < 0.0
        };
        assert!(!gives_up(256, Duration::ZERO));
        assert!(!gives_up(60, Duration::from_secs(1)));
        assert!(gives_up(60, Duration::from_millis(1001)));
    }
}
