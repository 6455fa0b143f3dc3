//! Routes as they are written, and what nodes are sent and statuses say of them.

mod invalid;
mod precedence;
mod scenes;
mod taken;

use mesh_api::{condition::ConditionStatus, resources::RouteTable};

use super::super::tests::Mesh;

/// Service `web` of namespace `shop`: port 80 `http`, 90 `other`, 5432 `tcp-sql`, 53 UDP. Service `next` has port 80,
/// `secure` 443 with TLS.
pub(super) const SERVICES: &str = "---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.0.1
  ports:
  - {name: http, port: 80}
  - {name: other, port: 90}
  - {name: tcp-sql, port: 5432}
  - {name: dns, port: 53, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: next, namespace: shop}
spec: {clusterIP: 10.96.0.2, ports: [{name: http, port: 80, appProtocol: kubernetes.io/h2c}]}
---
apiVersion: v1
kind: Service
metadata: {name: secure, namespace: shop}
spec: {clusterIP: 10.96.0.3, ports: [{name: https, port: 443}, {name: dns, port: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: shop}
spec: {clusterIP: None, ports: [{name: http, port: 80}]}
";

/// A route of namespace `shop` with generation 3.
pub(super) fn route(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: {name}, namespace: shop, generation: 3}}
spec: {spec}
"
    )
}

/// The same in another namespace.
pub(super) fn elsewhere(kind: &str, name: &str, spec: &str) -> String {
    route(kind, name, spec).replace("namespace: shop, generation", "namespace: away, generation")
}

/// A route for one parent, `web` port 80, with these rules.
pub(super) fn of_web(kind: &str, name: &str, rules: &str) -> String {
    route(kind, name, &format!("{{parentRefs: [{WEB}], rules: {rules}}}"))
}

pub(super) const WEB: &str = "{group: '', kind: Service, name: web, namespace: shop, port: 80}";
pub(super) const NEXT: &str = "backendRefs: [{name: next, port: 80}]";

pub(super) fn mesh(routes: &str) -> Mesh {
    Mesh::of(&(SERVICES.to_owned() + routes))
}

/// What callers without routes of their own get at port 80 of `web`.
pub(super) fn table(mesh: &Mesh) -> RouteTable {
    let routes = mesh.routes("shop/web").unwrap();
    let port = routes.ports.into_iter().find(|port| port.port == 80).unwrap();
    port.producer.unwrap()
}

/// `Accepted` of every parent: empty where it holds, else reason and message.
pub(super) fn accepted(mesh: &Mesh, route: &str) -> Vec<String> {
    said(mesh, route, "Accepted")
}

/// The same of another condition.
pub(super) fn said(mesh: &Mesh, route: &str, kind: &str) -> Vec<String> {
    let parents = mesh.parents(route);
    let said =
        parents.iter().filter_map(|conditions| conditions.iter().find(|condition| condition.kind == kind));
    said.map(|condition| {
        assert_eq!(condition.observed_generation, 3);
        match condition.status {
            ConditionStatus::True => {
                assert!(kind == "PartiallyInvalid" || condition.reason == kind, "{condition:?}");
                if kind == "PartiallyInvalid" { condition.message.clone() } else { String::new() }
            }
            _ => format!("{}: {}", condition.reason, condition.message),
        }
    })
    .collect()
}
