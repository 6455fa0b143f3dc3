//! What the mesh says of itself to users of the Gateway API: an `XMesh` that names this controller is accepted, and has
//! the list of features that are supported (GEP-3949).

use std::{collections::BTreeMap, sync::Arc};

use mesh_api::condition::{ACCEPTED, Condition, PROGRAMMED};

use crate::objects::{CONTROLLER, Conditions, Custom, ObjectName, ObjectRef, XMESH_VERSION};

/// Features by the names that the conformance suite has for them, in the order of the alphabet.
pub(crate) const FEATURES: [&str; 17] = [
    "GRPCRoute",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteParentRefPort",
    "HTTPRouteResponseHeaderModification",
    "Mesh",
    "MeshClusterIPMatching",
    "MeshConsumerRoute",
    "MeshHTTPRouteBackendRequestHeaderModification",
    "MeshHTTPRouteNamedRouteRule",
    "MeshHTTPRouteQueryParamMatching",
    "MeshHTTPRouteRedirectPath",
    "MeshHTTPRouteRedirectPort",
    "MeshHTTPRouteRewritePath",
    "MeshHTTPRouteSchemeRedirect",
];

/// What is said of every `XMesh` that names this controller.
pub(super) fn announced(meshes: &BTreeMap<ObjectName, Arc<Custom>>) -> Conditions {
    let ours = meshes.iter().filter(|(_, mesh)| is_ours(mesh));
    let said = |(name, mesh): (&ObjectName, &Arc<Custom>)| {
        let reference =
            ObjectRef { api_version: XMESH_VERSION.to_owned(), kind: "XMesh".to_owned(), name: name.clone() };
        let conditions = if mesh.spec.get("parametersRef").is_some_and(|parameters| !parameters.is_null()) {
            let message = "spec.parametersRef: the mesh has no parameters here; take it out (settings are in the MeshConfig)";
            [
                Condition::failed(ACCEPTED, "InvalidParameters", message),
                Condition::failed(PROGRAMMED, "Invalid", message),
            ]
        } else {
            [
                Condition::holds(ACCEPTED, ACCEPTED, "routes whose parent is a Service are read"),
                Condition::holds(PROGRAMMED, PROGRAMMED, "nodes are sent what they need of them"),
            ]
        };
        (reference, conditions.map(|condition| condition.at(mesh.generation)).to_vec())
    };
    ours.map(said).collect()
}

fn is_ours(mesh: &Custom) -> bool {
    mesh.spec.get("controllerName").and_then(|name| name.as_str()) == Some(CONTROLLER)
}

#[cfg(test)]
mod tests {
    use mesh_api::condition::ConditionStatus;

    use super::FEATURES;
    use crate::{build::Builder, source::of_yaml};

    #[test]
    fn features_are_in_order_and_there_once() {
        assert!(FEATURES.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_mesh_that_names_this_controller_is_accepted_and_no_other() {
        let mesh = |name: &str, spec: &str| {
            format!(
                "---\napiVersion: gateway.networking.x-k8s.io/v1alpha1\nkind: XMesh\nmetadata: {{name: {name}, generation: 2}}\nspec: {spec}\n"
            )
        };
        let all = mesh("ours", "{controllerName: mesh.internal/controller}")
            + &mesh("odd", "{controllerName: mesh.internal/controller, parametersRef: {kind: ConfigMap}}")
            + &mesh("others", "{controllerName: a.b/c}");
        let changes = Builder::default().update(of_yaml(&all).objects);
        let said: Vec<_> = changes
            .conditions
            .iter()
            .map(|(object, conditions)| {
                assert!(conditions.iter().all(|condition| condition.observed_generation == 2));
                (object.to_string(), conditions[0].status, conditions[0].reason.as_str())
            })
            .collect();
        assert_eq!(
            said,
            [
                ("XMesh/odd".to_owned(), ConditionStatus::False, "InvalidParameters"),
                ("XMesh/ours".to_owned(), ConditionStatus::True, "Accepted"),
            ]
        );
    }
}
