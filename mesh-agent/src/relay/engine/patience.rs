//! How long a client is borne with that gives up what it asked for.

use std::cell::Cell;
use std::time::Instant;

use tokio::sync::Notify;

/// How many requests a client's connection may give up before they were answered: a bucket of
/// [`Patience::MOST`] that fills again by [`Patience::PER_SECOND`]. A browser that leaves a page, or
/// a caller that cancels what it hedged, has use for many; an attack needs many more.
#[derive(Debug)]
pub(crate) struct Patience {
    left: Cell<(f64, Option<Instant>)>,
    gone: Notify,
}

impl Default for Patience {
    fn default() -> Self {
        Self { left: Cell::new((Self::MOST, None)), gone: Notify::new() }
    }
}

impl Patience {
    /// As many as a connection may have open at once.
    const MOST: f64 = 1024.0;
    const PER_SECOND: f64 = 100.0;

    /// A request was given up.
    pub(crate) fn spend(&self, now: Instant) {
        let (left, then) = self.left.get();
        let since = then.map_or(0.0, |then| now.saturating_duration_since(then).as_secs_f64());
        let left = (left + since * Self::PER_SECOND).min(Self::MOST) - 1.0;
        self.left.set((left, Some(now)));
        if left < 0.0 {
            self.gone.notify_one();
        }
    }

    /// Waits until it is at its end.
    pub(crate) async fn lost(&self) {
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
        assert!(!gives_up(1024, Duration::ZERO));
        assert!(!gives_up(90, Duration::from_secs(1)));
        assert!(gives_up(90, Duration::from_millis(1001)));
    }
}
