//! When the condition of a pod is written to the API server, and what: pure. A pod's status is
//! kubelet's; of its conditions one is ours, and nothing else is touched.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::Pod;
use mesh_api::{
    condition::{Condition, ConditionStatus, ENROLLED},
    crd::StatusCondition,
};
use serde_json::{Value, json};

use super::plan::dated;
use crate::{
    objects::{ObjectName, Observed},
    reports::Standings,
};

/// A pod's condition that is to be written, or taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) name: ObjectName,
    /// The pod that this is true of, and no later one of the same name.
    pub(super) uid: String,
    pub(super) before: Observed,
    pub(super) after: Observed,
}

/// Everything that is to be written.
pub(super) fn due(pods: &BTreeMap<ObjectName, Arc<Pod>>, standings: &Standings, now: &str) -> Vec<Due> {
    let due = pods.iter().filter_map(|(name, pod)| {
        // Its cgroup is gone before it is: what was true of it stays.
        if has_ended(pod) || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let before = ours(pod);
        let wanted = standings.conditions.get(name);
        let is_said = match wanted {
            Some(wanted) => before.0.len() == 1 && before.0[0].condition == *wanted,
            None => before.0.is_empty() || standings.later.contains(name),
        };
        let uid = pod.metadata.uid.clone().filter(|_| !is_said)?;
        let after = dated(wanted.cloned().into_iter().collect(), &before, now);
        Some(Due { name: name.clone(), uid, before, after })
    });
    due.collect()
}

/// Whether this says that a pod waits, and that was not said before. Every pod does for a moment, and so
/// does one whose processes have ended until the API server knows.
pub(super) fn is_new_wait(due: &Due) -> bool {
    let waits = |status: &StatusCondition| {
        status.condition.status == ConditionStatus::False && status.condition.reason == "Pending"
    };
    !due.before.0.iter().any(waits) && due.after.0.iter().any(waits)
}

/// What is applied: of the pod nothing but its name, whose it is, and our condition. Its
/// `observedGeneration` is not among it: before Kubernetes 1.33 a pod's conditions have none.
pub(super) fn body(due: &Due) -> Value {
    let conditions = due.after.0.iter().map(|status| {
        let Condition { kind, status: holds, reason, message, .. } = &status.condition;
        json!({
            "type": kind,
            "status": holds,
            "reason": reason,
            "message": message,
            "lastTransitionTime": status.last_transition_time,
        })
    });
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": due.name.name, "namespace": due.name.namespace, "uid": due.uid},
        "status": {"conditions": conditions.collect::<Vec<_>>()},
    })
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}

/// Our condition, if the pod has it.
fn ours(pod: &Pod) -> Observed {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ours = conditions.filter(|condition| condition.type_ == ENROLLED).map(|condition| {
        let status = match condition.status.as_str() {
            "True" => ConditionStatus::True,
            "False" => ConditionStatus::False,
            _ => ConditionStatus::Unknown,
        };
        let since = condition.last_transition_time.as_ref().map(|time| serde_json::to_value(time).ok());
        StatusCondition {
            condition: Condition {
                kind: ENROLLED.to_owned(),
                status,
                reason: condition.reason.clone().unwrap_or_default(),
                message: condition.message.clone().unwrap_or_default(),
                observed_generation: 0,
            },
            last_transition_time: since
                .flatten()
                .and_then(|time| time.as_str().map(str::to_owned))
                .unwrap_or_default(),
        }
    });
    Observed(ours.collect())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use k8s_openapi::api::core::v1::Pod;
    use mesh_api::condition::{Condition, ENROLLED};
    use serde_json::{Value, json};

    use super::{Due, body, due, is_new_wait};
    use crate::{objects::ObjectName, reports::Standings};

    fn name() -> ObjectName {
        ObjectName::new("shop", "a")
    }

    fn pods(status: &Value) -> BTreeMap<ObjectName, Arc<Pod>> {
        let pod = json!({"metadata": {"name": "a", "namespace": "shop", "uid": "u"}, "status": status});
        BTreeMap::from([(name(), Arc::new(serde_json::from_value(pod).unwrap()))])
    }

    fn standings(condition: Option<Condition>) -> Standings {
        let conditions = condition.map(|condition| (name(), condition)).into_iter().collect();
        Standings { conditions, ..Standings::default() }
    }

    fn enrolled() -> Condition {
        Condition::holds(ENROLLED, "Enrolled", "m")
    }

    /// What the API server has after the write.
    fn written(due: &Due) -> Value {
        let ready = json!({"type": "Ready", "status": "True"});
        let mut conditions = vec![ready];
        conditions.extend(body(due)["status"]["conditions"].as_array().unwrap().clone());
        json!({"phase": "Running", "conditions": conditions})
    }

    #[test]
    fn it_is_written_once_and_taken_away_once() {
        let first = due(&pods(&json!({})), &standings(Some(enrolled())), "2026-01-01T00:00:00Z");
        let [first] = first.as_slice() else { panic!("{first:?}") };
        let body = body(first);
        assert_eq!(body["metadata"], json!({"name": "a", "namespace": "shop", "uid": "u"}));
        let condition = json!({"type": "mesh.internal/Enrolled", "status": "True", "reason": "Enrolled",
            "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        assert_eq!(body["status"], json!({"conditions": [condition]}));
        let there = pods(&written(first));
        assert_eq!(due(&there, &standings(Some(enrolled())), "2026-01-02T00:00:00Z"), []);
        let gone = due(&there, &standings(None), "2026-01-02T00:00:00Z");
        assert_eq!((gone.len(), gone[0].after.0.len()), (1, 0));
        assert_eq!(due(&pods(&written(&gone[0])), &standings(None), "2026-01-03T00:00:00Z"), []);
    }

    #[test]
    fn since_when_moves_with_the_status_alone() {
        let first = due(&pods(&json!({})), &standings(Some(enrolled())), "2026-01-01T00:00:00Z");
        let there = pods(&written(&first[0]));
        let late = Condition::holds(ENROLLED, "LateEnrolled", "m");
        let next = due(&there, &standings(Some(late)), "2026-01-02T00:00:00Z");
        assert_eq!(next[0].after.0[0].last_transition_time, "2026-01-01T00:00:00Z");
        let failed = Condition::failed(ENROLLED, "HostNetwork", "m");
        let next = due(&there, &standings(Some(failed)), "2026-01-02T00:00:00Z");
        assert_eq!(next[0].after.0[0].last_transition_time, "2026-01-02T00:00:00Z");
    }

    #[test]
    fn what_cannot_be_told_and_what_has_ended_is_left_as_it_is() {
        let first = due(&pods(&json!({})), &standings(Some(enrolled())), "2026-01-01T00:00:00Z");
        let there = pods(&written(&first[0]));
        let later = Standings { later: [name()].into(), ..Standings::default() };
        assert_eq!(due(&there, &later, "t"), []);
        let mut ended = written(&first[0]);
        ended["phase"] = "Succeeded".into();
        assert_eq!(due(&pods(&ended), &standings(None), "t"), []);
        let mut terminating = there;
        let pod = Arc::make_mut(terminating.get_mut(&name()).unwrap());
        pod.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        let pending = Condition::failed(ENROLLED, "Pending", "m");
        assert_eq!(due(&terminating, &standings(Some(pending)), "t"), []);
    }

    #[test]
    fn a_wait_is_new_once() {
        let pending = |why| standings(Some(Condition::failed(ENROLLED, "Pending", why)));
        let now = "2026-01-01T00:00:00Z";
        let first = due(&pods(&json!({})), &pending("a"), now);
        assert!(is_new_wait(&first[0]));
        assert!(!is_new_wait(&due(&pods(&written(&first[0])), &pending("b"), now)[0]));
        let enrolled = due(&pods(&json!({})), &standings(Some(enrolled())), now);
        assert!(!is_new_wait(&enrolled[0]));
        assert!(is_new_wait(&due(&pods(&written(&enrolled[0])), &pending("a"), now)[0]));
    }
}
