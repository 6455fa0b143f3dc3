//! Whether a request is tried again (`HTTPRouteRetry` of Gateway API; GEP-1731).
//!
//! | what happened | tried again |
//! |---|---|
//! | nothing of it reached the backend: no connection, or a stream refused (RFC 9113, 8.7) | yes, whatever its method |
//! | the connection broke, or the attempt's time ran out, and the backend may have begun | only if its method is idempotent (RFC 9110, 9.2.2) |
//! | a status that the rule names | yes: whoever named it knows the backend |
//! | any other response | no |
//!
//! And only while attempts are left, the body is there still, and the pause before the next attempt
//! ends before the request's own deadline.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use crate::pick::spread;

/// Retries where the rule does not say how many.
pub const DEFAULT_ATTEMPTS: u32 = 1;
/// The first pause where the rule does not say how long: Envoy's.
pub const DEFAULT_BACKOFF: Duration = Duration::from_millis(25);
/// How many times the first pause the longest may be: Envoy's.
const GROWTH_LIMIT: u32 = 10;

/// The `retry` of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Statuses of responses that are tried again.
    codes: Vec<StatusCode>,
    /// How often at most, after the first attempt.
    attempts: u32,
    /// The shortest pause.
    backoff: Duration,
}

/// A code that no response to be retried has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no code to retry: 400 to 599")]
pub struct CodeError(u16);

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The head of a response.
    Status(StatusCode),
    /// It failed before the backend can have seen any of it.
    NotSent,
    /// It failed after that, before the head of a response.
    Broken,
    /// Its time ran out.
    TimedOut,
}

/// What the engine knows of a request when an attempt has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempted<'a> {
    /// How often it has been retried already.
    pub retries: u32,
    /// What became of the last attempt.
    pub outcome: Outcome,
    /// Its method.
    pub method: &'a Method,
    /// Its body can be sent again, whole.
    pub replayable: bool,
    /// The time.
    pub now: Instant,
    /// When the whole request ends.
    pub deadline: Option<Instant>,
}

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another attempt after this pause; a response is dropped.
    After(Duration),
    /// No further attempt: the response is passed on, or the failure answered.
    GiveUp,
    /// There would be another attempt, but the request's deadline comes first: 504 now.
    OutOfTime,
}

/// Such as `3 times after 25ms, also on 500, 503`.
impl std::fmt::Display for Retry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} times after {:?}", self.attempts, self.backoff)?;
        let codes: Vec<&str> = self.codes.iter().map(StatusCode::as_str).collect();
        if codes.is_empty() { Ok(()) } else { write!(f, ", also on {}", codes.join(", ")) }
    }
}

impl Retry {
    /// Of `codes`, `attempts` and `backoff`.
    ///
    /// # Errors
    /// When a code is none of 400 to 599.
    pub fn new(codes: &[u16], attempts: Option<u32>, backoff: Option<Duration>) -> Result<Self, CodeError> {
        let known = |&code: &u16| {
            let status = StatusCode::from_u16(code).ok().filter(|_| (400..600).contains(&code));
            status.ok_or(CodeError(code))
        };
        Ok(Self {
            codes: codes.iter().map(known).collect::<Result<_, _>>()?,
            attempts: attempts.unwrap_or(DEFAULT_ATTEMPTS),
            backoff: backoff.unwrap_or(DEFAULT_BACKOFF),
        })
    }

    /// How many attempts there are at most after the first.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// What is done after an attempt.
    #[must_use]
    pub fn next(&self, attempted: &Attempted<'_>, random: u64) -> Next {
        let wanted = match attempted.outcome {
            Outcome::Status(status) => self.codes.contains(&status),
            Outcome::NotSent => true,
            Outcome::Broken | Outcome::TimedOut => attempted.method.is_idempotent(),
        };
        if !wanted || !attempted.replayable || attempted.retries >= self.attempts {
            return Next::GiveUp;
        }
        let pause = self.pause(attempted.retries, random);
        let begins = attempted.now.checked_add(pause);
        match attempted.deadline {
            Some(deadline) if begins.is_none_or(|begins| begins >= deadline) => Next::OutOfTime,
            _ => Next::After(pause),
        }
    }

    /// The pause before retry `retries`, counted from 0: at least `backoff`, the first one at most
    /// half longer, later ones up to twice as long each time, ten times it in the end; random between,
    /// so that requests which failed together do not come back together.
    fn pause(&self, retries: u32, random: u64) -> Duration {
        let growth = 1u32.checked_shl(retries).map_or(GROWTH_LIMIT, |growth| growth.min(GROWTH_LIMIT));
        let spare = self.backoff.saturating_mul(growth) - self.backoff
            + if retries == 0 { self.backoff / 2 } else { Duration::ZERO };
        let spare = u64::try_from(spare.as_nanos()).unwrap_or(u64::MAX);
        self.backoff.saturating_add(Duration::from_nanos(spread(random, spare)))
    }
}
