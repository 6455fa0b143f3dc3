//! How long a request may take (`HTTPRouteTimeouts` of Gateway API; GEP-1742).
//!
//! `request` bounds everything from the first byte of the request until the response is over, its
//! retries and their pauses included; `backendRequest` bounds each attempt. Once a response has
//! switched protocols (RFC 9110, 15.2.2) there is no request any more, and no timeout.

use std::time::{Duration, Instant};

/// The timeouts of a rule. A zero duration is none, as Gateway API has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// Of the whole request.
    request: Option<Duration>,
    /// Of one attempt at a backend.
    attempt: Option<Duration>,
}

/// Such as `request 10s, backend request 2s`; nothing for none.
impl std::fmt::Display for Timeouts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = [("request", self.request), ("backend request", self.attempt)];
        let set = named.iter().filter_map(|(name, timeout)| Some(format!("{name} {:?}", (*timeout)?)));
        f.write_str(&set.collect::<Vec<_>>().join(", "))
    }
}

impl Timeouts {
    /// Of `timeouts.request` and `timeouts.backendRequest`.
    #[must_use]
    pub fn new(request: Option<Duration>, attempt: Option<Duration>) -> Self {
        let set = |timeout: &Duration| !timeout.is_zero();
        Self { request: request.filter(set), attempt: attempt.filter(set) }
    }

    /// When a request that began at `began` is over.
    #[must_use]
    pub fn request_ends(&self, began: Instant) -> Option<Instant> {
        // What is past the end of time is no deadline.
        began.checked_add(self.request?)
    }

    /// When an attempt that begins `now` is over, and by which timeout.
    #[must_use]
    pub fn attempt_ends(&self, began: Instant, now: Instant) -> Option<Deadline> {
        let request = self.request_ends(began).map(|at| Deadline { at, whole: true });
        let attempt = self.attempt.and_then(|timeout| now.checked_add(timeout));
        let attempt = attempt.map(|at| Deadline { at, whole: false });
        match (request, attempt) {
            // At the same time nothing is left for another attempt.
            (Some(request), Some(attempt)) => Some(if attempt.at < request.at { attempt } else { request }),
            (request, attempt) => request.or(attempt),
        }
    }
}

/// The end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Instant,
    /// It ends the whole request, which is then answered 504; else only this attempt, which may be
    /// tried again.
    pub whole: bool,
}

#[cfg(test)]
mod tests {
    use super::{Deadline, Timeouts};
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    proptest! {
        #[test]
        fn the_earlier_one_ends_it(
            request in prop::option::of(0..1000u64),
            attempt in prop::option::of(0..1000u64),
            waited in 0..1000u64,
        ) {
            let began = Instant::now();
            let (millis, after) = (Duration::from_millis, |millis| began + Duration::from_millis(millis));
            let timeouts = Timeouts::new(request.map(millis), attempt.map(millis));
            let whole = request.filter(|&millis| millis != 0);
            prop_assert_eq!(timeouts.request_ends(began), whole.map(after));
            let part = attempt.filter(|&millis| millis != 0).map(|millis| waited + millis);
            let expected = match (whole, part) {
                (Some(whole), Some(part)) => Some((whole.min(part), whole <= part)),
                (Some(whole), None) => Some((whole, true)),
                (None, Some(part)) => Some((part, false)),
                (None, None) => None,
            };
            let expected = expected.map(|(at, whole)| Deadline { at: after(at), whole });
            prop_assert_eq!(timeouts.attempt_ends(began, after(waited)), expected);
        }
    }

    #[test]
    fn forever_is_no_deadline() {
        let timeouts = Timeouts::new(Some(Duration::MAX), Some(Duration::MAX));
        assert_eq!(timeouts.attempt_ends(Instant::now(), Instant::now()), None);
    }
}
