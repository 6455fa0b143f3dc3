//! What a pod's condition [`ENROLLED`] says: pure over what the model wants and what its node told.

use std::time::Duration;

use mesh_api::{
    condition::{Condition, ENROLLED},
    reports::{PodReport, PodReportState},
};

use crate::ca::Timestamp;

/// How long a node may be silent before nobody claims to know its pods: an agent that is replaced is
/// away for a few seconds.
pub(super) const GRACE: Duration = Duration::from_secs(30);

/// The longest message of a condition, characters: one for each pod is kept in the API server.
const MESSAGE: usize = 1024;

/// What is known of a pod's node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<'a> {
    pub(super) name: &'a str,
    /// It has told of every pod that it has.
    pub(super) whole: bool,
    /// For how long it has told nothing; nothing while it has a stream.
    pub(super) silent: Option<Duration>,
    /// What it told of the pod last.
    pub(super) told: Option<&'a PodReport>,
}

/// How a pod stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has nothing to do with the mesh.
    Nothing,
    /// That cannot be told yet: whatever was said of it stays.
    Later,
    /// So.
    Is(Condition),
}

/// How a pod stands that is in the mesh (`enrolled`), or is not or no longer.
pub(super) fn standing(enrolled: bool, node: Node<'_>) -> Standing {
    let name = node.name;
    let state = node.told.map(|told| (told, told.state()));
    if !enrolled {
        return match state {
            Some((_, PodReportState::Wired)) if node.silent.is_none() => is(Condition::failed(
                ENROLLED,
                "Leaving",
                format!("it is to leave the mesh; node {name} has not let go of it yet"),
            )),
            _ => Standing::Nothing,
        };
    }
    match node.silent {
        Some(silent) if silent >= GRACE => {
            return is(Condition::unknown(
                ENROLLED,
                "AgentAway",
                format!(
                    "the agent of node {name} tells nothing; what was in force stays in force: check the pod mesh-agent on that node"
                ),
            ));
        }
        Some(_) if state.is_none() => return Standing::Later,
        Some(_) | None => {}
    }
    match state {
        Some((told, PodReportState::Wired)) => is(wired(name, told)),
        Some((told, PodReportState::Pending | PodReportState::Unspecified)) => is(pending(name, told)),
        None if node.whole => is(Condition::failed(
            ENROLLED,
            "Pending",
            format!("node {name} has not found the pod's cgroup yet; its traffic is not enforced until then"),
        )),
        None => Standing::Later,
    }
}

fn is(mut condition: Condition) -> Standing {
    if let Some((end, _)) = condition.message.char_indices().nth(MESSAGE) {
        condition.message.truncate(end);
    }
    Standing::Is(condition)
}

fn wired(node: &str, told: &PodReport) -> Condition {
    let but = if told.reason.is_empty() { String::new() } else { format!("; {}", told.reason) };
    if !told.late {
        return Condition::holds(ENROLLED, "Enrolled", format!("node {node} enforces it{but}"));
    }
    let older = if told.older_connections {
        "; connections from before are open and outside the mesh until they end, or `meshctl enroll --reset` of the pod ends them"
    } else {
        ""
    };
    let since = Timestamp::from_unix(told.since);
    let message =
        format!("node {node} enforces it, and it ran before that began (seen since {since}){older}{but}");
    Condition::holds(ENROLLED, "LateEnrolled", message)
}

fn pending(node: &str, told: &PodReport) -> Condition {
    let why = if told.reason.is_empty() { "the node is about to wire it" } else { &told.reason };
    let since = Timestamp::from_unix(told.since);
    let message = format!("pending on node {node} since {since}, its traffic is refused: {why}");
    Condition::failed(ENROLLED, "Pending", message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mesh_api::{
        condition::ConditionStatus,
        reports::{PodReport, PodReportState},
    };

    use super::{GRACE, Node, Standing, standing};

    fn told(state: PodReportState) -> PodReport {
        PodReport { uid: "u".into(), state: state.into(), since: 60, ..PodReport::default() }
    }

    fn node(told: Option<&PodReport>, whole: bool, silent: Option<Duration>) -> Node<'_> {
        Node { name: "n1", whole, silent, told }
    }

    /// Status, reason and message.
    fn said(standing: Standing) -> (ConditionStatus, String, String) {
        let Standing::Is(condition) = standing else { panic!("{standing:?}") };
        (condition.status, condition.reason, condition.message)
    }

    #[test]
    fn what_the_node_says_is_said() {
        let wired = told(PodReportState::Wired);
        let (status, reason, message) = said(standing(true, node(Some(&wired), true, None)));
        assert_eq!((status, reason.as_str()), (ConditionStatus::True, "Enrolled"));
        assert_eq!(message, "node n1 enforces it");
        let late = PodReport { late: true, older_connections: true, reason: "x".into(), ..wired };
        let (status, reason, message) = said(standing(true, node(Some(&late), true, None)));
        assert_eq!((status, reason.as_str()), (ConditionStatus::True, "LateEnrolled"));
        assert!(message.contains("seen since 1970-01-01T00:01:00Z") && message.contains("until they end"));
        assert!(message.contains("meshctl enroll --reset"), "{message}");
        assert!(message.ends_with("; x"), "{message}");
        let pending = PodReport { reason: "no network yet".into(), ..told(PodReportState::Pending) };
        let (status, reason, message) = said(standing(true, node(Some(&pending), true, None)));
        assert_eq!((status, reason.as_str()), (ConditionStatus::False, "Pending"));
        assert!(message.ends_with("its traffic is refused: no network yet"), "{message}");
    }

    #[test]
    fn a_pod_that_the_node_has_not_found_is_pending_once_the_node_told_the_whole() {
        assert_eq!(standing(true, node(None, false, None)), Standing::Later);
        let (status, _, message) = said(standing(true, node(None, true, None)));
        assert_eq!(status, ConditionStatus::False);
        assert!(message.contains("has not found the pod's cgroup"), "{message}");
    }

    #[test]
    fn of_a_silent_node_nobody_claims_to_know() {
        let wired = told(PodReportState::Wired);
        let short = GRACE - Duration::from_millis(1);
        assert_eq!(standing(true, node(None, false, Some(short))), Standing::Later);
        assert_eq!(
            said(standing(true, node(Some(&wired), true, Some(short)))).0,
            ConditionStatus::True,
            "an agent is away for a moment when it is replaced"
        );
        for told in [None, Some(&wired)] {
            let (status, reason, _) = said(standing(true, node(told, true, Some(GRACE))));
            assert_eq!((status, reason.as_str()), (ConditionStatus::Unknown, "AgentAway"));
        }
    }

    #[test]
    fn who_leaves_is_leaving_until_the_node_lets_go() {
        let (wired, pending) = (told(PodReportState::Wired), told(PodReportState::Pending));
        let (status, reason, _) = said(standing(false, node(Some(&wired), true, None)));
        assert_eq!((status, reason.as_str()), (ConditionStatus::False, "Leaving"));
        for node in [node(None, true, None), node(Some(&pending), true, None), node(None, false, None)] {
            assert_eq!(standing(false, node), Standing::Nothing);
        }
        assert_eq!(standing(false, node(Some(&wired), true, Some(Duration::ZERO))), Standing::Nothing);
    }

    #[test]
    fn messages_are_bounded() {
        let long = PodReport { reason: "ä".repeat(100_000), ..told(PodReportState::Pending) };
        assert_eq!(said(standing(true, node(Some(&long), true, None))).2.chars().count(), super::MESSAGE);
    }
}
