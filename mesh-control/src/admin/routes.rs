//! What is wrong with the routes that name a Service as their parent: `GET /routes?service=NAMESPACE/NAME`.

use http_body_util::Full;
use hyper::{Response, StatusCode, body::Bytes};
use mesh_api::condition::{Condition, ConditionStatus};
use serde::Serialize;
use serde_json::Value;

use super::{json, refuse};
use crate::{build::RouteParents, pipeline::Shared};

/// A condition of a route that is not as it should be for a parent.
#[derive(Debug, PartialEq, Serialize)]
struct Trouble {
    /// `<kind>/<namespace>/<name>`.
    route: String,
    /// The parent, as the route has it.
    parent: Value,
    #[serde(rename = "type")]
    kind: String,
    status: ConditionStatus,
    reason: String,
    message: String,
}

pub(super) fn respond(query: Option<&str>, shared: &Shared) -> Response<Full<Bytes>> {
    let service = query.and_then(|query| query.strip_prefix("service=")).map(|name| name.replace("%2F", "/"));
    match service.as_deref().and_then(|service| service.split_once('/')) {
        Some((namespace, name)) => json(&troubles(&shared.parents().borrow(), namespace, name)),
        None => refuse(StatusCode::BAD_REQUEST, "write ?service=NAMESPACE/NAME"),
    }
}

/// What should hold does not, or part of the route is left out.
fn is_trouble(condition: &Condition) -> bool {
    match condition.kind.as_str() {
        "PartiallyInvalid" => condition.status == ConditionStatus::True,
        _ => condition.status == ConditionStatus::False,
    }
}

fn troubles(parents: &RouteParents, namespace: &str, name: &str) -> Vec<Trouble> {
    let of_route =
        parents.iter().flat_map(|(route, parents)| parents.iter().map(move |parent| (route, parent)));
    let of_service = of_route.filter(|(route, parent)| {
        let text = |field: &str| parent.parent.get(field).and_then(Value::as_str);
        text("kind") == Some("Service")
            && text("name") == Some(name)
            && text("namespace").unwrap_or(&route.name.namespace) == namespace
    });
    let untrue = of_service.flat_map(|(route, parent)| {
        let failed = parent.conditions.iter().filter(|condition| is_trouble(condition));
        failed.map(move |condition| Trouble {
            route: format!("{}/{}/{}", route.kind.name(), route.name.namespace, route.name.name),
            parent: parent.parent.clone(),
            kind: condition.kind.clone(),
            status: condition.status,
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        })
    });
    untrue.collect()
}

#[cfg(test)]
mod tests {
    use mesh_api::condition::Condition;
    use serde_json::json;

    use super::troubles;
    use crate::{
        build::{ParentStatus, RouteParents},
        objects::{ObjectName, RouteKind, RouteName},
    };

    #[test]
    fn what_is_wrong_is_told_of_the_service_that_is_named() {
        let parent = |written: serde_json::Value, conditions: Vec<Condition>| ParentStatus {
            parent: written,
            conditions,
        };
        let name = RouteName {
            kind: RouteKind::Http,
            name: ObjectName { namespace: "bank".into(), name: "r".into() },
        };
        let refused = || {
            vec![
                Condition::holds("ResolvedRefs", "R", "m"),
                Condition::failed("Accepted", "NoMatchingParent", "no port"),
            ]
        };
        let parents = RouteParents::from([(
            name,
            vec![
                parent(json!({"kind": "Service", "name": "vault", "port": 81}), refused()),
                parent(json!({"kind": "Service", "name": "vault", "namespace": "shop"}), refused()),
                parent(json!({"kind": "Gateway", "name": "vault"}), refused()),
                parent(
                    json!({"kind": "Service", "name": "vault"}),
                    vec![Condition::holds("PartiallyInvalid", "U", "m")],
                ),
            ],
        )]);
        let told = troubles(&parents, "bank", "vault");
        let told: Vec<_> =
            told.iter().map(|one| (one.route.as_str(), one.kind.as_str(), one.reason.as_str())).collect();
        assert_eq!(
            told,
            [
                ("HTTPRoute/bank/r", "Accepted", "NoMatchingParent"),
                ("HTTPRoute/bank/r", "PartiallyInvalid", "U")
            ]
        );
        assert_eq!(troubles(&parents, "shop", "vault").len(), 1);
        assert!(troubles(&parents, "bank", "other").is_empty());
    }
}
