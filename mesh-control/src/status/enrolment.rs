//! Whether each pod is in the mesh: what the build refuses, what nodes say of their pods, and what they
//! refused of what was to be enforced there.

use std::time::Instant;

use mesh_api::condition::{Condition, ENROLLED};

use super::report::refused_of_objects;
use crate::{
    ads::Acks,
    objects::{Conditions, ObjectName, ObjectRef},
    reports::{Reports, Standings},
};

/// How every pod stands of which there is something to say.
pub fn enrolments(conditions: &Conditions, reports: &Reports, acks: &Acks, now: Instant) -> Standings {
    let mut standings = reports.standings(now);
    let pods = conditions.iter().filter(|(object, _)| is_pod(object));
    for (object, refused) in
        pods.filter_map(|(object, conditions)| Some((object, conditions.iter().find(is_enrolled)?)))
    {
        // An ended pod keeps what was said of it.
        if !standings.later.contains(&object.name) {
            standings.conditions.insert(object.name.clone(), refused.clone());
        }
    }
    for (object, message) in refused_of_objects(&acks.snapshot()) {
        if let Some(condition) = standings.conditions.get_mut(&object.name).filter(|_| is_pod(&object)) {
            condition.message = format!("{}; {message}", condition.message);
        }
    }
    standings
}

/// Puts them beside the other conditions of objects.
pub fn with_enrolments(mut conditions: Conditions, standings: Standings) -> Conditions {
    for (name, condition) in standings.conditions {
        let of_pod = conditions.entry(pod(name)).or_default();
        of_pod.retain(|other| !is_enrolled(&other));
        of_pod.push(condition);
    }
    conditions
}

/// How a pod is named.
pub(super) fn pod(name: ObjectName) -> ObjectRef {
    ObjectRef { api_version: "v1".to_owned(), kind: "Pod".to_owned(), name }
}

fn is_pod(object: &ObjectRef) -> bool {
    object.kind == "Pod" && object.api_version == "v1"
}

fn is_enrolled(condition: &&Condition) -> bool {
    condition.kind == ENROLLED
}
