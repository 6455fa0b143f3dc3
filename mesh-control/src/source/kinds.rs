//! Which kinds the controller knows without reading them.

use crate::objects::RouteKind;

/// API groups of Kubernetes itself. Kinds of theirs that the build has no use for are passed
/// over in silence: a directory may hold whatever else a real cluster is given.
const KUBERNETES_GROUPS: [&str; 20] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// Kinds of the core group, so that a misspelt `Servise` is not taken for one of them.
const CORE_KINDS: [&str; 16] = [
    "Binding",
    "ComponentStatus",
    "ConfigMap",
    "Event",
    "LimitRange",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Pod",
    "PodTemplate",
    "ReplicationController",
    "ResourceQuota",
    "Secret",
    "Service",
    "ServiceAccount",
];

/// Kinds of ours that are designed and not built yet.
const NOT_BUILT: [&str; 3] = ["TrafficPolicy", "ExternalService", "MeshTelemetry"];

/// The group of the Gateway API's experiments.
const GATEWAY_EXPERIMENTS: &str = "gateway.networking.x-k8s.io";

/// Kinds of the Gateway API that are for gateways, or that a mesh has no use for: routes of a mesh need
/// no ReferenceGrant (GEP-1294, section "Namespace boundaries").
const FOR_GATEWAYS: [&str; 5] = ["Gateway", "GatewayClass", "ListenerSet", "XListenerSet", "ReferenceGrant"];

/// What is to be done with an object that the build does not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is Kubernetes' own and needs no word.
    Ignored,
    /// It asks for something of the mesh that it will not get: reason and message.
    Refused(&'static str, String),
}

/// Decides for a kind that the build does not read.
pub(super) fn unread(api_version: &str, kind: &str) -> Unread {
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    if group == mesh_api::labels::GROUP {
        return if api_version != mesh_api::labels::API_VERSION {
            Unread::Refused(
                "UnknownVersion",
                format!("apiVersion `{api_version}` is not served; write {}", mesh_api::labels::API_VERSION),
            )
        } else if NOT_BUILT.contains(&kind) {
            Unread::Refused("KindNotBuilt", format!("kind {kind} is not built yet; the object has no effect"))
        } else {
            Unread::Refused(
                "UnknownKind",
                format!(
                    "kind `{kind}` is not one of MeshConfig, AccessPolicy, ClusterAccessPolicy; the object has no effect"
                ),
            )
        };
    }
    if group == RouteKind::GROUP || group == GATEWAY_EXPERIMENTS {
        return of_gateway_api(api_version, kind);
    }
    if api_version == "v1" && kind == "Endpoints" {
        return Unread::Refused(
            "KindNotRead",
            "Endpoints are not read; write an EndpointSlice with label kubernetes.io/service-name".to_owned(),
        );
    }
    let known = KUBERNETES_GROUPS.contains(&group) && (!group.is_empty() || CORE_KINDS.contains(&kind));
    if known {
        Unread::Ignored
    } else {
        Unread::Refused(
            "UnknownKind",
            format!(
                "apiVersion `{api_version}`, kind `{kind}` is not known here; correct it, or take the object out of the directory"
            ),
        )
    }
}

/// Decides for a kind of the Gateway API that is no route in a version that is read.
fn of_gateway_api(api_version: &str, kind: &str) -> Unread {
    if let Some(route) = RouteKind::of(kind) {
        let versions = route.api_versions().join(" or ");
        return Unread::Refused(
            "UnknownVersion",
            format!("apiVersion `{api_version}` of {kind} is not read; write {versions}"),
        );
    }
    if FOR_GATEWAYS.contains(&kind) {
        return Unread::Ignored;
    }
    Unread::Refused(
        "KindNotBuilt",
        format!("Gateway API kind {kind} is not built yet; the object has no effect"),
    )
}
