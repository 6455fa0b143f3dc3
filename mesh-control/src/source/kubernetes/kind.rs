//! The kinds that are followed, and how much of each.

use serde_json::{Map, Value};

use crate::objects::{BACKEND_TLS_VERSIONS, RouteKind, XMESH_VERSION};

/// A kind that is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// Definitions of custom resources: which of our kinds the API server serves.
    Definition,
    Namespace,
    ServiceAccount,
    Node,
    RuntimeClass,
    Pod,
    Service,
    EndpointSlice,
    /// The one Secret that the mesh configuration names.
    CaSecret,
    MeshConfig,
    AccessPolicy,
    ClusterAccessPolicy,
    /// Routes of the Gateway API, whose definitions may be there or not.
    Route(RouteKind),
    /// The Gateway API's too.
    BackendTlsPolicy,
    /// The Gateway API's too: meshes, of which one may be this.
    XMesh,
}

impl Kind {
    /// Every kind; the definitions first, because the others wait for them.
    pub(super) const ALL: [Self; 19] = [
        Self::Definition,
        Self::Namespace,
        Self::ServiceAccount,
        Self::Node,
        Self::RuntimeClass,
        Self::Pod,
        Self::Service,
        Self::EndpointSlice,
        Self::CaSecret,
        Self::MeshConfig,
        Self::AccessPolicy,
        Self::ClusterAccessPolicy,
        Self::Route(RouteKind::Grpc),
        Self::Route(RouteKind::Http),
        Self::Route(RouteKind::Tls),
        Self::Route(RouteKind::Tcp),
        Self::Route(RouteKind::Udp),
        Self::BackendTlsPolicy,
        Self::XMesh,
    ];

    /// `apiVersion`, kind, and the name in paths.
    fn names(self) -> (&'static str, &'static str, &'static str) {
        use mesh_api::labels::API_VERSION;
        match self {
            Self::Definition => {
                ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")
            }
            Self::Namespace => ("v1", "Namespace", "namespaces"),
            Self::ServiceAccount => ("v1", "ServiceAccount", "serviceaccounts"),
            Self::Node => ("v1", "Node", "nodes"),
            Self::RuntimeClass => ("node.k8s.io/v1", "RuntimeClass", "runtimeclasses"),
            Self::Pod => ("v1", "Pod", "pods"),
            Self::Service => ("v1", "Service", "services"),
            Self::EndpointSlice => ("discovery.k8s.io/v1", "EndpointSlice", "endpointslices"),
            Self::CaSecret => ("v1", "Secret", "secrets"),
            Self::MeshConfig => (API_VERSION, "MeshConfig", "meshconfigs"),
            Self::AccessPolicy => (API_VERSION, "AccessPolicy", "accesspolicies"),
            Self::ClusterAccessPolicy => (API_VERSION, "ClusterAccessPolicy", "clusteraccesspolicies"),
            Self::XMesh => (XMESH_VERSION, "XMesh", "xmeshes"),
            Self::BackendTlsPolicy => (BACKEND_TLS_VERSIONS[0], "BackendTLSPolicy", "backendtlspolicies"),
            Self::Route(kind) => {
                let resource = match kind {
                    RouteKind::Grpc => "grpcroutes",
                    RouteKind::Http => "httproutes",
                    RouteKind::Tls => "tlsroutes",
                    RouteKind::Tcp => "tcproutes",
                    RouteKind::Udp => "udproutes",
                };
                (kind.api_versions()[0], kind.name(), resource)
            }
        }
    }

    /// Its `apiVersion`.
    pub(super) fn api_version(self) -> &'static str {
        self.names().0
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        self.names().1
    }

    /// How a role names it.
    pub(super) fn resource(self) -> &'static str {
        self.names().2
    }

    /// Whether the build reads nothing of it but `metadata`.
    pub(super) fn is_metadata_only(self) -> bool {
        matches!(self, Self::Definition | Self::Namespace | Self::ServiceAccount)
    }

    /// The definition without which the API server does not serve it; nothing where it always does.
    pub(super) fn definition(self) -> Option<String> {
        let group = match self {
            Self::MeshConfig | Self::AccessPolicy | Self::ClusterAccessPolicy => mesh_api::labels::GROUP,
            Self::Route(_) | Self::BackendTlsPolicy => RouteKind::GROUP,
            Self::XMesh => XMESH_VERSION.split_once('/')?.0,
            _ => return None,
        };
        Some(format!("{}.{group}", self.resource()))
    }

    /// Whether the status of its objects has our conditions: of the mesh's own, and of what stands for the mesh.
    pub(super) fn has_conditions(self) -> bool {
        self == Self::XMesh || (self.definition().is_some() && !self.is_of_gateway_api())
    }

    /// The kind of route that it is.
    pub(super) fn route(self) -> Option<RouteKind> {
        match self {
            Self::Route(kind) => Some(kind),
            _ => None,
        }
    }

    /// Whether it is one of the Gateway API's.
    fn is_of_gateway_api(self) -> bool {
        matches!(self, Self::Route(_) | Self::BackendTlsPolicy | Self::XMesh)
    }

    /// In how many versions it can be followed.
    pub(super) fn versions(self) -> usize {
        self.all_versions().map_or(1, <[_]>::len)
    }

    /// The versions in which it can be followed, the best first; nothing where there is one alone.
    fn all_versions(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Route(kind) => Some(kind.api_versions()),
            Self::BackendTlsPolicy => Some(BACKEND_TLS_VERSIONS),
            _ => None,
        }
    }

    /// Whether the mesh can do without it: its one Secret, and what others define.
    pub(super) fn is_optional(self) -> bool {
        self == Self::CaSecret || self.is_of_gateway_api()
    }

    /// Where the API server has it: of one namespace, or all of it.
    pub(super) fn path(self, namespace: Option<&str>) -> String {
        self.path_in(0, namespace)
    }

    /// The same in another of its versions.
    pub(super) fn path_in(self, version: usize, namespace: Option<&str>) -> String {
        let (best, _, resource) = self.names();
        let api_version =
            self.all_versions().and_then(|versions| versions.get(version).copied()).unwrap_or(best);
        let root = if api_version.contains('/') { "/apis" } else { "/api" };
        match namespace {
            Some(namespace) => format!("{root}/{api_version}/namespaces/{namespace}/{resource}"),
            None => format!("{root}/{api_version}/{resource}"),
        }
    }

    /// Takes away what is large and not read.
    pub(super) fn trim(self, object: &mut Map<String, Value>) {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            }
        }
        match self {
            Self::Node => remove(object, "status", &["images", "volumesInUse", "volumesAttached"]),
            Self::Pod => {
                remove(object, "spec", &["volumes", "tolerations"]);
                let spec = object.get_mut("spec").and_then(Value::as_object_mut);
                for list in spec.into_iter().flat_map(|spec| {
                    spec.iter_mut().filter(|(field, _)| field.ends_with("ontainers")).map(|(_, list)| list)
                }) {
                    for container in list.as_array_mut().into_iter().flatten() {
                        if let Some(container) = container.as_object_mut() {
                            for field in ["env", "envFrom", "volumeMounts"] {
                                container.remove(field);
                            }
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

fn remove(object: &mut Map<String, Value>, part: &str, fields: &[&str]) {
    if let Some(part) = object.get_mut(part).and_then(Value::as_object_mut) {
        for field in fields {
            part.remove(*field);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Kind;

    #[test]
    fn paths_are_those_of_the_api() {
        assert_eq!(Kind::Pod.path(None), "/api/v1/pods");
        assert_eq!(Kind::CaSecret.path(Some("mesh-system")), "/api/v1/namespaces/mesh-system/secrets");
        assert_eq!(Kind::AccessPolicy.path(None), "/apis/mesh.internal/v1alpha1/accesspolicies");
        assert_eq!(Kind::AccessPolicy.definition().as_deref(), Some("accesspolicies.mesh.internal"));
        assert_eq!(Kind::Pod.definition(), None);
        let route = Kind::Route(crate::objects::RouteKind::Tls);
        assert_eq!(route.definition().as_deref(), Some("tlsroutes.gateway.networking.k8s.io"));
        assert_eq!(
            route.path_in(1, Some("shop")),
            "/apis/gateway.networking.k8s.io/v1alpha3/namespaces/shop/tlsroutes"
        );
        assert!(Kind::ALL.into_iter().all(|kind| kind.is_of_gateway_api() || kind.versions() == 1));
        let routes = Kind::ALL.into_iter().filter_map(Kind::route);
        assert_eq!(routes.collect::<Vec<_>>(), crate::objects::RouteKind::ALL);
    }

    /// The names here and in the definitions are the same.
    #[test]
    fn every_definition_of_ours_is_followed() {
        for crd in mesh_api::crd::definitions() {
            let found = Kind::ALL.into_iter().find(|kind| kind.definition() == crd.metadata.name);
            assert_eq!(found.map(Kind::name), Some(crd.spec.names.kind.as_str()));
        }
    }

    #[test]
    fn what_is_large_and_not_read_is_dropped_and_nothing_else() {
        let mut pod = json!({
            "metadata": {
                "name": "p",
                "managedFields": [{}],
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "a": "b"}
            },
            "spec": {
                "nodeName": "n",
                "volumes": [{"name": "v"}],
                "containers": [{"name": "c", "env": [{"name": "x"}], "ports": [{"containerPort": 80}]}],
                "initContainers": [{"name": "i", "volumeMounts": [], "restartPolicy": "Always"}]
            }
        });
        Kind::Pod.trim(pod.as_object_mut().unwrap());
        let left = json!({
            "metadata": {"name": "p", "annotations": {"a": "b"}},
            "spec": {
                "nodeName": "n",
                "containers": [{"name": "c", "ports": [{"containerPort": 80}]}],
                "initContainers": [{"name": "i", "restartPolicy": "Always"}]
            }
        });
        assert_eq!(pod, left);
    }
}
