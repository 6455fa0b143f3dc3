//! What follows from the states of a pod's containers: its phase, its readiness, whether one is started again. Pure.

use std::time::{Duration, Instant};

/// Longest time between two starts of a container that keeps ending, as the kubelet has it.
const BACK_OFF_LIMIT: Duration = Duration::from_secs(300);

/// The first wait; the first restart of all has none.
const BACK_OFF_FIRST: Duration = Duration::from_secs(10);

/// What part a container has in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container that goes on running (`restartPolicy: Always`).
    Sidecar,
    /// One of `spec.containers`.
    Main,
}

/// What became of a container so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Not started; not before then, if a time is given.
    Waiting(Option<Instant>),
    /// Running; `started` once its startup probe has succeeded, `ready` as its readiness probe says.
    Running { started: bool, ready: bool },
    /// Ended for good with this status.
    Ended(i32),
}

/// `spec.restartPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

impl RestartPolicy {
    pub(super) fn of(field: Option<&str>) -> Self {
        match field {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            _ => Self::Always,
        }
    }

    /// Whether a container that ended with `status` is started again.
    pub(super) fn restarts(self, role: Role, status: i32) -> bool {
        match (self, role) {
            (_, Role::Sidecar) => true,
            (Self::Always, Role::Main) => true,
            (Self::Always | Self::OnFailure, _) => status != 0,
            (Self::Never, _) => false,
        }
    }
}

/// How long a container waits that has been restarted `restarts` times already.
pub(super) fn back_off(restarts: u32) -> Duration {
    match restarts {
        0 => Duration::ZERO,
        count => BACK_OFF_FIRST.saturating_mul(2_u32.saturating_pow(count - 1)).min(BACK_OFF_LIMIT),
    }
}

/// The pod's phase (`PodStatus.phase`).
pub(super) fn phase(containers: &[(Role, State)], ever_ran: bool) -> &'static str {
    let init_failed = containers
        .iter()
        .any(|(role, state)| *role == Role::Init && matches!(state, State::Ended(status) if *status != 0));
    if init_failed {
        return "Failed";
    }
    let main = || containers.iter().filter(|(role, _)| *role == Role::Main).map(|(_, state)| *state);
    if main().all(|state| matches!(state, State::Ended(_))) {
        return if main().all(|state| state == State::Ended(0)) { "Succeeded" } else { "Failed" };
    }
    // A container that waits to be started again has run.
    if ever_ran { "Running" } else { "Pending" }
}

/// Whether the pod is ready: every main container is.
pub(super) fn is_ready(containers: &[(Role, State)]) -> bool {
    let ready = |state: &State| matches!(state, State::Running { ready: true, .. });
    containers.iter().all(|(role, state)| *role == Role::Init || ready(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: State = State::Running { started: true, ready: true };

    #[test]
    fn phases() {
        let init = |state| (Role::Init, state);
        let main = |state| (Role::Main, state);
        assert_eq!(phase(&[init(RUNNING), main(State::Waiting(None))], false), "Pending");
        assert_eq!(phase(&[init(State::Ended(1)), main(State::Waiting(None))], false), "Failed");
        assert_eq!(phase(&[init(State::Ended(0)), main(RUNNING)], true), "Running");
        assert_eq!(phase(&[main(State::Waiting(None)), main(RUNNING)], true), "Running");
        assert_eq!(phase(&[main(State::Ended(0)), main(State::Ended(0))], true), "Succeeded");
        assert_eq!(phase(&[main(State::Ended(0)), main(State::Ended(3))], true), "Failed");
        assert!(is_ready(&[init(State::Ended(0)), main(RUNNING)]));
        assert!(!is_ready(&[main(State::Running { started: true, ready: false })]));
    }

    #[test]
    fn restarts_and_their_back_off() {
        use RestartPolicy::{Always, Never, OnFailure};
        assert!(
            Always.restarts(Role::Main, 0)
                && !Always.restarts(Role::Init, 0)
                && Always.restarts(Role::Init, 1)
        );
        assert!(!OnFailure.restarts(Role::Main, 0) && OnFailure.restarts(Role::Main, 1));
        assert!(!Never.restarts(Role::Main, 1) && Never.restarts(Role::Sidecar, 0));
        let seconds: Vec<u64> = (0..8).map(|count| back_off(count).as_secs()).collect();
        assert_eq!(seconds, [0, 10, 20, 40, 80, 160, 300, 300]);
    }
}
