//! How often the log tells of what anybody can cause.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Lines in [`EVERY`], at most.
const LINES: u32 = 20;
/// A window.
const EVERY: Duration = Duration::from_secs(10);

/// Lets some lines through in every window of time, and counts the others.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Pace {
    /// Whether to log now: then how many lines were left out since the last one.
    pub(crate) fn take(&self, now: Instant) -> Option<u64> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if window.began.is_none_or(|began| now.saturating_duration_since(began) >= EVERY) {
            (window.began, window.lines) = (Some(now), 0);
        }
        if window.lines == LINES {
            window.left_out += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.left_out))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{EVERY, LINES, Pace};

    #[test]
    fn a_flood_is_counted_and_told_of_later() {
        let (pace, now) = (Pace::default(), Instant::now());
        assert!((0..LINES).all(|_| pace.take(now) == Some(0)));
        assert!((0..1000).all(|_| pace.take(now).is_none()));
        assert_eq!(pace.take(now + EVERY), Some(1000));
        assert_eq!(pace.take(now + EVERY), Some(0));
    }
}
