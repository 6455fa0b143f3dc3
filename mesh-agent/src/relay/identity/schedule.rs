//! When to ask for a certificate: a function of what happened and of the time, which is passed in.

use std::time::{Duration, SystemTime};

/// The first wait after a failure.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// The longest wait between attempts.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// Renewals for a new issuer are spread over this time.
const ISSUER_SPREAD: Duration = Duration::from_secs(3);
/// However short a certificate's life or wrong the clock, it is not asked for more often.
const LEAST_WAIT: Duration = Duration::from_secs(1);

/// How long to leave a certificate alone that was just issued by another issuer than the bundle names:
/// the controller is in the middle of a rotation.
pub(crate) const ISSUER_SETTLES: Duration = Duration::from_secs(15);
/// The longest sleep of whoever waits for a certificate to come due, so that a clock that was set is
/// noticed.
pub(crate) const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// When one certificate is to be asked for, again or at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule {
    due: SystemTime,
    asking: bool,
    attempts: u32,
    trouble: String,
}

impl Schedule {
    /// Due at once.
    pub(crate) const fn new(now: SystemTime) -> Self {
        Self { due: now, asking: false, attempts: 0, trouble: String::new() }
    }

    /// When to ask next. While an attempt is under way that is not before it has ended.
    pub(crate) const fn due(&self) -> SystemTime {
        self.due
    }

    /// Whether it is time to ask.
    pub(crate) fn is_due(&self, now: SystemTime) -> bool {
        !self.asking && self.due <= now
    }

    /// Whether an attempt is under way.
    pub(crate) const fn is_asking(&self) -> bool {
        self.asking
    }

    /// Attempts that failed since the last one that did not.
    pub(crate) const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Why the last attempt failed; empty when it did not.
    pub(crate) fn trouble(&self) -> &str {
        &self.trouble
    }

    /// An attempt begins.
    pub(crate) const fn asked(&mut self) {
        self.asking = true;
    }

    /// It brought a certificate: the next is due at half of its life, up to a tenth of the life
    /// earlier, `random` says how much.
    pub(crate) fn issued(
        &mut self,
        not_before: SystemTime,
        not_after: SystemTime,
        now: SystemTime,
        random: u64,
    ) {
        // Certificates begin in the past, for clocks that differ: half of what is to come counts,
        // or one of a minute would be renewed without end.
        let begins = not_before.max(now);
        let life = not_after.duration_since(begins).unwrap_or_default();
        self.asking = false;
        self.attempts = 0;
        self.trouble.clear();
        self.due = (begins + life / 2 - share(life / 10, random)).max(now + LEAST_WAIT);
    }

    /// It failed: the wait doubles, `random` picks between half and all of it.
    pub(crate) fn failed(&mut self, why: String, now: SystemTime, random: u64) {
        let doublings = self.attempts.min(16);
        let full = FIRST_RETRY.saturating_mul(1 << doublings).min(LONGEST_RETRY);
        self.asking = false;
        self.attempts = self.attempts.saturating_add(1);
        self.trouble = why;
        self.due = now + full / 2 + share(full / 2, random);
    }

    /// The mesh has another issuer than the one that signed: due within seconds.
    pub(crate) fn reissue(&mut self, now: SystemTime, random: u64) {
        self.due = self.due.min(now + share(ISSUER_SPREAD, random));
    }

    /// What failed may work now, since the controller is there again: due at once, after a moment
    /// that differs between nodes.
    pub(crate) fn hurry(&mut self, now: SystemTime, random: u64) {
        if self.attempts > 0 {
            self.due = self.due.min(now + share(FIRST_RETRY, random));
        }
    }
}

/// Some part of a duration, in thousandths.
fn share(whole: Duration, random: u64) -> Duration {
    whole / 1000 * u32::try_from(random % 1000).unwrap_or(0)
}
