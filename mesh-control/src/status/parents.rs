//! When the parents in a route's status are written to the API server, and what: pure. Of the entries of `status.parents` those
//! with our `controllerName` are ours, and in them the conditions of our types; nothing else is touched.

use std::collections::BTreeMap;

use mesh_api::{
    condition::{ACCEPTED, PARTIALLY_INVALID, RESOLVED_REFS},
    crd::StatusCondition,
};
use serde_json::{Value, json};

use super::plan::{bound, dated};
use crate::{
    build::{ParentStatus, RouteParents},
    objects::{CONTROLLER, Observed, Parents, RouteName},
};

/// Types that are ours within our entries.
const OURS: [&str; 3] = [ACCEPTED, RESOLVED_REFS, PARTIALLY_INVALID];
/// As many entries as the schema lets there be.
const ENTRIES: usize = 32;

/// The parents of a route that are to be written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Due {
    /// What was there, and as of which version of the route.
    pub(super) before: Parents,
    /// What is to be there.
    pub(super) after: Vec<Value>,
}

/// Everything that is to be written, of routes that are at the API server.
pub(super) fn due(
    wanted: &RouteParents,
    there: &BTreeMap<RouteName, Parents>,
    now: &str,
) -> Vec<(RouteName, Due)> {
    let due = there.iter().filter_map(|(route, before)| {
        let wanted = wanted.get(route).map(Vec::as_slice).unwrap_or_default();
        let after = entries(route, wanted, &before.entries, now);
        (after != before.entries).then(|| (route.clone(), Due { before: before.clone(), after }))
    });
    due.collect()
}

/// The conditions of our entries, for the news of it.
pub(super) fn ours(entries: &[Value]) -> Observed {
    let entries = entries.iter().filter(|entry| is_ours(entry));
    Observed(entries.flat_map(|entry| conditions(entry).into_iter().filter_map(Result::ok)).collect())
}

/// The entries as they are to be: others' as they are, in their places; then ours.
fn entries(route: &RouteName, wanted: &[ParentStatus], there: &[Value], now: &str) -> Vec<Value> {
    let mut left: Vec<&ParentStatus> = wanted.iter().collect();
    let mut all: Vec<Value> = Vec::new();
    for entry in there {
        if !is_ours(entry) {
            all.push(entry.clone());
            continue;
        }
        let parent = Key::of(route, &entry["parentRef"]);
        if let Some(place) = left.iter().position(|wanted| Key::of(route, &wanted.parent) == parent) {
            all.push(entry_of(left.remove(place), Some(entry), now));
        }
    }
    all.extend(left.into_iter().map(|wanted| entry_of(wanted, None, now)));
    let room = ENTRIES.saturating_sub(all.iter().filter(|entry| !is_ours(entry)).count());
    let mut own = 0;
    all.retain(|entry| !is_ours(entry) || (own += 1, own <= room).1);
    all
}

/// One entry. What is known of a later generation of the route than ours stays.
fn entry_of(wanted: &ParentStatus, there: Option<&Value>, now: &str) -> Value {
    let there = there.map(conditions).unwrap_or_default();
    let known: Vec<StatusCondition> = there.iter().filter_map(|read| read.as_ref().ok().cloned()).collect();
    let is_ours = |kind: &str| OURS.contains(&kind);
    let mut wanted_conditions = wanted.conditions.clone();
    wanted_conditions.iter_mut().for_each(bound);
    let later = |kind: &str, generation: i64| {
        known
            .iter()
            .find(|known| known.condition.kind == kind && known.condition.observed_generation > generation)
    };
    let dated = dated(wanted_conditions, &Observed(known.clone()), now);
    let mut fresh: Vec<StatusCondition> = dated
        .0
        .into_iter()
        .map(|status| {
            let Some(later) = later(&status.condition.kind, status.condition.observed_generation) else {
                return status;
            };
            later.clone()
        })
        .collect();
    // In the order in which they are, others' among them; new ones behind.
    let mut conditions: Vec<Value> = Vec::new();
    for read in there {
        match read {
            Ok(status) if is_ours(&status.condition.kind) => {
                let place = fresh.iter().position(|fresh| fresh.condition.kind == status.condition.kind);
                conditions.extend(place.map(|place| json!(fresh.remove(place))));
            }
            Ok(status) => conditions.push(json!(status)),
            Err(foreign) => conditions.push(foreign),
        }
    }
    conditions.extend(fresh.into_iter().map(|status| json!(status)));
    json!({"parentRef": wanted.parent, "controllerName": CONTROLLER, "conditions": conditions})
}

/// The conditions of an entry; what is none of ours in form is kept as it is.
fn conditions(entry: &Value) -> Vec<Result<StatusCondition, Value>> {
    let all = entry["conditions"].as_array().into_iter().flatten();
    all.map(|condition| serde_json::from_value(condition.clone()).map_err(|_| condition.clone())).collect()
}

fn is_ours(entry: &Value) -> bool {
    entry["controllerName"] == CONTROLLER
}

/// What makes a parent another one than the next.
#[derive(Debug, PartialEq, Eq)]
struct Key<'a> {
    group: &'a str,
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    section: &'a str,
    port: Option<u64>,
}

impl<'a> Key<'a> {
    fn of(route: &'a RouteName, parent: &'a Value) -> Self {
        let text = |field: &str| parent.get(field).and_then(Value::as_str);
        Self {
            group: text("group").unwrap_or(crate::objects::RouteKind::GROUP),
            kind: text("kind").unwrap_or("Gateway"),
            namespace: text("namespace").unwrap_or(&route.name.namespace),
            name: text("name").unwrap_or_default(),
            section: text("sectionName").unwrap_or_default(),
            port: parent.get("port").and_then(Value::as_u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mesh_api::condition::{ACCEPTED, Condition, RESOLVED_REFS};
    use serde_json::{Value, json};

    use super::{due, ours};
    use crate::{
        build::{ParentStatus, RouteParents},
        objects::{CONTROLLER, ObjectName, Parents, RouteKind, RouteName},
    };

    fn route() -> RouteName {
        RouteName { kind: RouteKind::Http, name: ObjectName::new("shop", "r") }
    }

    fn parent(port: u16) -> Value {
        json!({"group": "", "kind": "Service", "name": "web", "port": port})
    }

    fn wanted(parents: &[(u16, bool)], generation: i64) -> RouteParents {
        let status = |(port, holds): &(u16, bool)| {
            let accepted = if *holds {
                Condition::holds(ACCEPTED, "Accepted", "m")
            } else {
                Condition::failed(ACCEPTED, "NoMatchingParent", "m")
            };
            let conditions = [accepted, Condition::holds(RESOLVED_REFS, "ResolvedRefs", "m")];
            ParentStatus {
                parent: parent(*port),
                conditions: conditions.map(|condition| condition.at(generation)).to_vec(),
            }
        };
        RouteParents::from([(route(), parents.iter().map(status).collect())])
    }

    fn next(wanted: &RouteParents, there: &[Value], now: &str) -> Option<Vec<Value>> {
        let there = Parents { version: "7".to_owned(), entries: there.to_vec() };
        due(wanted, &BTreeMap::from([(route(), there)]), now).pop().map(|(_, due)| due.after)
    }

    #[test]
    fn it_is_written_once_and_taken_away_once() {
        let first = next(&wanted(&[(80, true)], 1), &[], "t1").unwrap();
        assert_eq!((first.len(), &first[0]["controllerName"]), (1, &json!(CONTROLLER)));
        assert_eq!(first[0]["parentRef"], parent(80));
        assert_eq!(
            first[0]["conditions"][0],
            json!({"type": "Accepted", "status": "True", "reason": "Accepted",
            "message": "m", "observedGeneration": 1, "lastTransitionTime": "t1"})
        );
        assert_eq!(next(&wanted(&[(80, true)], 1), &first, "t2"), None);
        let later = next(&wanted(&[(80, true)], 2), &first, "t2").unwrap();
        assert_eq!(
            (
                &later[0]["conditions"][0]["lastTransitionTime"],
                &later[0]["conditions"][0]["observedGeneration"]
            ),
            (&json!("t1"), &json!(2))
        );
        let worse = next(&wanted(&[(80, false)], 2), &later, "t3").unwrap();
        assert_eq!(worse[0]["conditions"][0]["lastTransitionTime"], "t3");
        assert_eq!(next(&RouteParents::new(), &worse, "t4"), Some(Vec::new()));
        assert_eq!(next(&RouteParents::new(), &[], "t4"), None);
    }

    #[test]
    fn what_others_wrote_stays_where_it_is() {
        let gateway =
            json!({"parentRef": {"name": "edge"}, "controllerName": "a.b/c", "conditions": [{"odd": 1}]});
        let foreign = json!({"parentRef": parent(80), "controllerName": "a.b/c", "conditions": []});
        let mut there = vec![gateway.clone(), foreign.clone()];
        let written = next(&wanted(&[(80, true), (90, true)], 1), &there, "t").unwrap();
        assert_eq!((&written[0], &written[1], written.len()), (&gateway, &foreign, 4));
        // A condition in our entry that is somebody else's, and one of ours that is stale.
        there = written;
        let conditions = there[2]["conditions"].as_array_mut().unwrap();
        conditions.insert(
            0,
            json!({"type": "other.example/Seen", "status": "True", "reason": "R", "message": "",
            "observedGeneration": 1, "lastTransitionTime": "t"}),
        );
        conditions.push(json!({"type": "PartiallyInvalid", "status": "True", "reason": "UnsupportedValue",
            "message": "m", "observedGeneration": 1, "lastTransitionTime": "t"}));
        let again = next(&wanted(&[(80, true), (90, true)], 1), &there, "t2").unwrap();
        let types: Vec<_> =
            again[2]["conditions"].as_array().unwrap().iter().map(|one| &one["type"]).collect();
        assert_eq!(types, ["other.example/Seen", "Accepted", "ResolvedRefs"]);
        assert_eq!(next(&RouteParents::new(), &again, "t3"), Some(vec![gateway, foreign]));
    }

    #[test]
    fn what_is_known_of_a_later_generation_stays() {
        let first = next(&wanted(&[(80, true)], 5), &[], "t1").unwrap();
        assert_eq!(next(&wanted(&[(80, false)], 4), &first, "t2"), None);
    }

    #[test]
    fn the_schema_has_room_for_so_many() {
        let others: Vec<_> = (0..30)
            .map(|index| json!({"parentRef": {"name": index.to_string()}, "controllerName": "a.b/c", "conditions": []}))
            .collect();
        let written = next(&wanted(&[(1, true), (2, true), (3, true)], 1), &others, "t").unwrap();
        assert_eq!((written.len(), ours(&written).0.len()), (32, 4));
    }

    #[test]
    fn defaults_of_the_api_server_make_no_other_parent() {
        let mut first = next(&wanted(&[(80, true)], 1), &[], "t1").unwrap();
        first[0]["parentRef"]["namespace"] = "shop".into();
        let again = next(&wanted(&[(80, true)], 1), &first, "t2").unwrap();
        assert_eq!((again.len(), &again[0]["conditions"][0]["lastTransitionTime"]), (1, &json!("t1")));
    }
}
