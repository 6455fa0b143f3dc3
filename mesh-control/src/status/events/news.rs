//! Which change of an object's conditions is worth an event: pure.

use mesh_api::{
    condition::{
        ACCEPTED, CA_READY, CONFLICTED, Condition, ConditionStatus, ENROLLED, PROGRAMMED, RESOLVED_REFS,
        SHADOWED,
    },
    crd::StatusCondition,
};

/// How much an event weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::status) enum Weight {
    /// Something is well, or well again.
    Normal,
    /// Somebody should look.
    Warning,
}

/// What is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::status) struct News {
    pub(in crate::status) weight: Weight,
    /// What the controller was about.
    pub(in crate::status) action: &'static str,
    /// One word for programs.
    pub(in crate::status) reason: &'static str,
    /// For people.
    pub(in crate::status) note: String,
}

/// What is worth telling of a change from `before` to `after`.
pub(in crate::status) fn news(before: &[StatusCondition], after: &[StatusCondition]) -> Vec<News> {
    let mut all = Vec::new();
    for StatusCondition { condition, .. } in after {
        let was = before.iter().map(|status| &status.condition).find(|was| was.kind == condition.kind);
        if let Some(trouble) = trouble(condition) {
            let told_before = was.is_some_and(|was| self::trouble(was).as_ref() == Some(&trouble));
            if !told_before {
                all.push(trouble);
            }
        } else if was.is_some_and(|was| trouble(was).is_some()) {
            all.extend(relief(condition));
        }
    }
    all
}

/// What is wrong, if a condition says so.
fn trouble(condition: &Condition) -> Option<News> {
    let Condition { status, reason, message, .. } = condition;
    let (action, told): (_, &'static str) = match (condition.kind.as_str(), status, reason.as_str()) {
        (ACCEPTED, ConditionStatus::False, _) => ("Accept", "NotAccepted"),
        (CONFLICTED, ConditionStatus::True, _) => ("Accept", "Conflicted"),
        (SHADOWED, ConditionStatus::True, _) => ("Accept", "Shadowed"),
        (RESOLVED_REFS, ConditionStatus::False, _) => ("Accept", "ReferenceNotFound"),
        (PROGRAMMED, ConditionStatus::False, "Refused") => ("Program", "NotProgrammed"),
        (CA_READY, ConditionStatus::False, _) => ("Sign", "CANotReady"),
        (ENROLLED, ConditionStatus::False, "Pending") => ("Enrol", "EnrolmentPending"),
        (ENROLLED, ConditionStatus::False, "Leaving") => return None,
        (ENROLLED, ConditionStatus::False, _) => ("Enrol", "NotEnrolled"),
        (ENROLLED, ConditionStatus::True, "LateEnrolled") => ("Enrol", "LateEnrolled"),
        _ => return None,
    };
    let note = if reason == told { message.clone() } else { format!("{reason}: {message}") };
    Some(News { weight: Weight::Warning, action, reason: told, note })
}

/// What is well again.
fn relief(condition: &Condition) -> Option<News> {
    let (action, reason) = match (condition.kind.as_str(), condition.status) {
        (ACCEPTED, ConditionStatus::True) => ("Accept", "Accepted"),
        (PROGRAMMED, ConditionStatus::True) => ("Program", "Programmed"),
        (CA_READY, ConditionStatus::True) => ("Sign", "CAReady"),
        (ENROLLED, ConditionStatus::True) => ("Enrol", "Enrolled"),
        _ => return None,
    };
    Some(News { weight: Weight::Normal, action, reason, note: condition.message.clone() })
}

#[cfg(test)]
mod tests {
    use mesh_api::{
        condition::{ACCEPTED, CONFLICTED, Condition, ENROLLED, PROGRAMMED},
        crd::StatusCondition,
    };

    use super::{Weight, news};

    fn status(condition: Condition) -> Vec<StatusCondition> {
        vec![StatusCondition { condition, last_transition_time: "t".to_owned() }]
    }

    fn told(before: &[StatusCondition], after: &[StatusCondition]) -> Vec<(Weight, &'static str, String)> {
        news(before, after).into_iter().map(|news| (news.weight, news.reason, news.note)).collect()
    }

    #[test]
    fn trouble_is_told_once_and_its_end_too() {
        let good = status(Condition::holds(ACCEPTED, "Accepted", "the policy is in force"));
        let bad = status(Condition::failed(ACCEPTED, "Invalid", "spec.x: no"));
        let worse = status(Condition::failed(ACCEPTED, "Invalid", "spec.y: no"));
        assert_eq!(told(&[], &good), []);
        let warning = [(Weight::Warning, "NotAccepted", "Invalid: spec.x: no".to_owned())];
        assert_eq!(told(&[], &bad), warning);
        assert_eq!(told(&good, &bad), warning);
        assert_eq!(told(&bad, &bad), []);
        assert_eq!(told(&bad, &worse)[0].2, "Invalid: spec.y: no");
        assert_eq!(told(&bad, &good), [(Weight::Normal, "Accepted", "the policy is in force".to_owned())]);
    }

    #[test]
    fn what_only_waits_for_nodes_is_no_trouble() {
        let pending = status(Condition::failed(PROGRAMMED, "Pending", "0/2 nodes"));
        let refused = status(Condition::failed(PROGRAMMED, "Refused", "node n1 refused"));
        let done = status(Condition::holds(PROGRAMMED, "Programmed", "2/2 nodes"));
        assert_eq!(told(&[], &pending), []);
        assert_eq!(told(&pending, &done), []);
        assert_eq!(told(&pending, &refused)[0].1, "NotProgrammed");
        assert_eq!(told(&refused, &done)[0].1, "Programmed");
    }

    #[test]
    fn conflicts_that_come_are_told_and_that_they_went_is_not() {
        let conflict = status(Condition::holds(CONFLICTED, "EqualPriority", "against x"));
        assert_eq!(told(&[], &conflict)[0].1, "Conflicted");
        assert_eq!(told(&conflict, &[]), []);
    }

    #[test]
    fn of_pods_it_is_told_that_they_are_not_in_the_mesh_or_late() {
        let of = |condition: Condition| told(&[], &status(condition)).pop().map(|told| told.1);
        assert_eq!(of(Condition::failed(ENROLLED, "HostNetwork", "m")), Some("NotEnrolled"));
        assert_eq!(of(Condition::failed(ENROLLED, "Pending", "m")), Some("EnrolmentPending"));
        assert_eq!(of(Condition::holds(ENROLLED, "LateEnrolled", "m")), Some("LateEnrolled"));
        assert_eq!(of(Condition::holds(ENROLLED, "Enrolled", "m")), None);
        assert_eq!(of(Condition::failed(ENROLLED, "Leaving", "m")), None);
        assert_eq!(of(Condition::unknown(ENROLLED, "AgentAway", "m")), None);
        let pending = status(Condition::failed(ENROLLED, "Pending", "m"));
        let enrolled = status(Condition::holds(ENROLLED, "Enrolled", "m"));
        assert_eq!(told(&pending, &enrolled)[0].1, "Enrolled");
    }
}
