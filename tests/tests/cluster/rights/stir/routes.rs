//! Objects of the Gateway API: a route of every kind, each with a port of its own, and the mesh as users of the API name
//! it. What the controller says of each goes to its status whenever its generation changes.

use serde_json::{Value, json};

/// What stands for the mesh.
pub(super) const MESH: &str = "rights";

/// Every kind of route, the name and protocol of the port that it is about, and that port.
const KINDS: [(&str, &str, &str, u16); 5] = [
    ("HTTPRoute", "http", "TCP", 80),
    ("GRPCRoute", "grpc", "TCP", 81),
    ("TLSRoute", "tls", "TCP", 82),
    ("TCPRoute", "tcp", "TCP", 83),
    ("UDPRoute", "udp", "UDP", 84),
];

/// The objects after so many changes.
pub(super) fn objects(namespace: &str, times: u32) -> Vec<Value> {
    let ports =
        KINDS.map(|(_, name, protocol, port)| json!({"name": name, "protocol": protocol, "port": port}));
    let service = json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": ports},
        "metadata": {"name": "routed", "namespace": namespace}});
    let mesh = json!({"apiVersion": "gateway.networking.x-k8s.io/v1alpha1", "kind": "XMesh", "metadata": {"name": MESH},
        "spec": {"controllerName": "mesh.internal/controller", "description": times.to_string()}});
    let routes = KINDS.map(|(kind, .., port)| route(namespace, kind, port, times));
    [service, mesh].into_iter().chain(routes).collect()
}

fn route(namespace: &str, kind: &str, port: u16, times: u32) -> Value {
    let backend = json!([{"name": "routed", "port": port, "weight": 1 + times % 1000}]);
    let mut route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind,
        "metadata": {"name": "rights", "namespace": namespace},
        "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "routed", "port": port}],
            "rules": [{"backendRefs": backend}]}});
    if kind == "TLSRoute" {
        route["spec"]["hostnames"] = json!(["rights.example"]);
    }
    route
}
