//! Conditions that the build writes.

use mesh_api::condition::{ACCEPTED, Condition};

use super::fields::Problem;

/// `Accepted`, with every problem there is, or with what holds.
pub(super) fn accepted(problems: &[Problem], holds: impl FnOnce() -> String) -> Condition {
    match problems.first() {
        None => Condition::holds(ACCEPTED, ACCEPTED, holds()),
        Some(first) => {
            let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
            Condition::failed(ACCEPTED, first.reason, messages.join("; "))
        }
    }
}
