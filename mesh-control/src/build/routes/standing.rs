//! What a route's status says of each of its parents, and of the whole of them.

use std::collections::{BTreeMap, BTreeSet};

use mesh_api::condition::{ACCEPTED, Condition, ConditionStatus, PARTIALLY_INVALID, RESOLVED_REFS};
use serde_json::Value;

use super::{
    filters::{Filter, INCOMPATIBLE},
    parents::{NotAttached, Parent},
    read::Draft,
    reference::{Services, Unresolved},
};

/// What is said of one parent of a route.
#[derive(Debug, Clone, PartialEq)]
pub struct ParentStatus {
    /// The parent, as the route's spec has it.
    pub parent: Value,
    /// The conditions.
    pub conditions: Vec<Condition>,
}

/// What is said of every parent of a route that is a Service. `attached` tells of a parent by its place; `last` is the generation
/// as which a route that is refused stays in force, if it does.
pub(super) fn of_parents(
    draft: &Draft,
    services: &Services<'_>,
    last: Option<i64>,
    attached: impl Fn(usize) -> Option<Result<(), NotAttached>>,
) -> Vec<ParentStatus> {
    let resolved = resolved(draft, services);
    let partial = partially_invalid(draft);
    let status = |(place, parent): (usize, &Parent)| {
        let accepted = accepted(draft, parent, last, attached(place));
        let holds = accepted.status == ConditionStatus::True;
        let partial = partial.clone().filter(|_| holds);
        let conditions = [Some(accepted), Some(resolved.clone()), partial].into_iter().flatten();
        let conditions = conditions.map(|condition| condition.at(draft.generation)).collect();
        ParentStatus { parent: parent.written.clone(), conditions }
    };
    draft.parents.iter().enumerate().map(status).collect()
}

fn accepted(
    draft: &Draft,
    parent: &Parent,
    last: Option<i64>,
    attached: Option<Result<(), NotAttached>>,
) -> Condition {
    if draft.refused {
        let incompatible = draft.problems.iter().all(|problem| problem.reason == INCOMPATIBLE);
        let reason = if incompatible { INCOMPATIBLE } else { UNSUPPORTED };
        let effect = match last {
            Some(generation) => {
                format!("until then the route stays in force as it was at generation {generation}")
            }
            None => "until then the route has no effect".to_owned(),
        };
        return Condition::failed(ACCEPTED, reason, format!("{}; {effect}", problems(draft)));
    }
    match (&parent.target, attached) {
        (Err(fault), _) => Condition::failed(ACCEPTED, UNSUPPORTED, fault),
        (Ok(_), Some(Err((reason, message)))) => Condition::failed(ACCEPTED, reason, message),
        (Ok(target), Some(Ok(()))) if draft.name.name.namespace == target.service.namespace => {
            Condition::holds(
                ACCEPTED,
                ACCEPTED,
                "the route is in force for every caller without one of its own",
            )
        }
        (Ok(_), Some(Ok(()))) => {
            let namespace = &draft.name.name.namespace;
            Condition::holds(
                ACCEPTED,
                ACCEPTED,
                format!("the route is in force for callers in namespace {namespace}"),
            )
        }
        (Ok(_), None) => Condition::unknown(ACCEPTED, "Pending", "the parent was not looked at yet"),
    }
}

/// The reason of what is not valid or not known.
const UNSUPPORTED: &str = "UnsupportedValue";

fn problems(draft: &Draft) -> String {
    draft.problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ")
}

/// The specification wants the message to begin so.
fn partially_invalid(draft: &Draft) -> Option<Condition> {
    if draft.problems.is_empty() || draft.refused {
        return None;
    }
    let failing: Vec<&str> =
        draft.rules.iter().filter(|rule| rule.fails).map(|rule| rule.name.as_str()).collect();
    let effect = if failing.is_empty() {
        String::new()
    } else {
        format!("; requests of {} are answered 500", failing.join(", "))
    };
    let message = format!("Dropped Rule: {}{effect}", problems(draft));
    Some(Condition::holds(PARTIALLY_INVALID, UNSUPPORTED, message))
}

fn resolved(draft: &Draft, services: &Services<'_>) -> Condition {
    let mut wrong: Vec<Unresolved> = Vec::new();
    for rule in &draft.rules {
        for filter in &rule.filters {
            Filter::resolve(filter, draft.name.kind, services, &mut wrong);
        }
        for backend in &rule.backends {
            backend.resolve(draft.name.kind, services, &mut wrong);
        }
    }
    let Some(first) = wrong.first() else {
        return Condition::holds(RESOLVED_REFS, RESOLVED_REFS, "every backend is there");
    };
    let messages: BTreeSet<&str> = wrong.iter().map(|unresolved| unresolved.message.as_str()).collect();
    let messages = messages.into_iter().collect::<Vec<_>>().join("; ");
    Condition::failed(
        RESOLVED_REFS,
        first.reason,
        format!("{messages}; the share of such a backend is refused"),
    )
}

/// The conditions of a route as one list: what is said of all parents alike once, of others with the parent's name.
pub(super) fn of_route(parents: &[ParentStatus]) -> Vec<Condition> {
    let mut by_type: BTreeMap<&str, Vec<(&Value, &Condition)>> = BTreeMap::new();
    for parent in parents {
        for condition in &parent.conditions {
            by_type.entry(&condition.kind).or_default().push((&parent.parent, condition));
        }
    }
    by_type.into_values().filter_map(|conditions| together(&conditions)).collect()
}

fn together(conditions: &[(&Value, &Condition)]) -> Option<Condition> {
    let failing = conditions.iter().find(|(_, condition)| condition.status != ConditionStatus::True);
    let (_, first) = failing.or_else(|| conditions.first())?;
    if conditions.iter().all(|(_, condition)| condition == first) {
        return Some(Condition::clone(first));
    }
    let told = conditions.iter().filter(|(_, condition)| condition.status == first.status);
    let told: Vec<String> =
        told.map(|(parent, condition)| format!("{}: {}", display(parent), condition.message)).collect();
    Some(Condition { message: told.join("; "), ..Condition::clone(first) })
}

/// A parent for people.
fn display(parent: &Value) -> String {
    let text = |field| parent.get(field).and_then(Value::as_str);
    let mut shown = format!("parent {}", text("name").unwrap_or_default());
    if let Some(namespace) = text("namespace") {
        shown = format!("parent {namespace}/{}", text("name").unwrap_or_default());
    }
    if let Some(name) = text("sectionName") {
        shown = format!("{shown} ({name})");
    }
    match parent.get("port").and_then(Value::as_u64) {
        Some(port) => format!("{shown} port {port}"),
        None => shown,
    }
}
