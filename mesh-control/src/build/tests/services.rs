//! Services as nodes see them (SEMANTICS 6).

use super::{Mesh, endpoints, pod};

const NODES: &str = "
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/zone: z1}}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2, labels: {topology.kubernetes.io/zone: z2}}
status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}
---
apiVersion: v1
kind: Node
metadata: {name: n3, labels: {topology.kubernetes.io/zone: z3}}
";

fn service(spec: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop}}
spec:
  clusterIP: 10.96.0.1
  selector: {{app: web}}
  ports: [{{name: http, port: 80, targetPort: http, nodePort: 30080}}]
{spec}
"
    )
}

fn mesh(spec: &str) -> Mesh {
    let pods = pod("a", "n1", "10.0.0.1", "app: web") + &pod("b", "n2", "10.0.0.2", "app: web");
    Mesh::of(&(NODES.to_owned() + &service(spec) + &pods))
}

fn seen(mesh: &Mesh, node: &str) -> Vec<String> {
    endpoints(&mesh.service(node, "shop/web").unwrap().ports[0].endpoints)
}

#[test]
fn every_node_sees_every_ready_endpoint() {
    let mesh = mesh("");
    assert_eq!(seen(&mesh, "n1"), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    assert!(
        !mesh.own.keys().any(|(_, key)| key.kind == super::ResourceKind::Service),
        "one copy for all nodes"
    );
    let service = mesh.service("n1", "shop/web").unwrap();
    assert_eq!(service.addresses, [[10, 96, 0, 1]]);
    assert_eq!(service.node_addresses, [[192, 168, 0, 1], [192, 168, 0, 2]]);
    assert_eq!((service.ports[0].port, service.ports[0].node_port), (80, 30080));
}

/// Kubernetes' controller may be behind the pods, or know better (SEMANTICS 6.1).
#[test]
fn where_a_controller_writes_the_slices_they_alone_count() {
    let pods = pod("a", "n1", "10.0.0.1", "app: web") + &pod("b", "n2", "10.0.0.2", "app: web");
    let slice = "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.0.0.1], nodeName: n1, conditions: {ready: true}}]
";
    let mut objects = crate::source::of_yaml(&(NODES.to_owned() + &service("") + &pods + slice)).objects;
    assert_eq!(seen(&Mesh::of_objects(objects.clone()), "n1"), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    objects.slices_complete = true;
    assert_eq!(seen(&Mesh::of_objects(objects.clone()), "n1"), ["10.0.0.1:8080"]);
    objects.endpoint_slices.clear();
    assert!(seen(&Mesh::of_objects(objects), "n1").is_empty());
}

#[test]
fn without_a_ready_one_those_that_shut_down_are_used() {
    let status = |name: &str, phase: &str, ready: &str, ending: &str| {
        format!(
            "---
apiVersion: v1
kind: Pod
metadata: {{name: p{name}, namespace: shop, uid: u{name}, labels: {{app: web}}{ending}}}
spec: {{nodeName: n1, containers: [{{name: main, ports: [{{name: http, containerPort: 8080}}]}}]}}
status: {{phase: {phase}, podIP: 10.0.0.{name}, conditions: [{{type: Ready, status: '{ready}'}}]}}
"
        )
    };
    let ending = ", deletionTimestamp: '2026-01-01T00:00:00Z'";
    let of = |pods: &[String]| seen(&Mesh::of(&(service("") + &pods.concat())), "n1");
    let ready = status("1", "Running", "True", "");
    let draining = status("2", "Running", "True", ending);
    let unready = status("3", "Running", "False", "");
    let ended = status("4", "Failed", "True", "");
    assert_eq!(of(&[ready, draining.clone(), unready.clone(), ended.clone()]), ["10.0.0.1:8080"]);
    assert_eq!(of(&[draining, unready.clone(), ended.clone()]), ["10.0.0.2:8080"]);
    assert!(of(&[unready.clone(), ended.clone()]).is_empty());
    let published = Mesh::of(&(service("  publishNotReadyAddresses: true") + &unready + &ended));
    assert_eq!(seen(&published, "n1"), ["10.0.0.3:8080"]);
}

#[test]
fn traffic_distribution_keeps_to_the_zone_and_the_node() {
    for field in ["PreferClose", "PreferSameZone", "PreferSameNode"] {
        let mesh = mesh(&format!("  trafficDistribution: {field}"));
        assert_eq!(seen(&mesh, "n1"), ["10.0.0.1:8080"], "{field}");
        assert_eq!(seen(&mesh, "n2"), ["10.0.0.2:8080"], "{field}");
        // A zone without an endpoint of its own uses all.
        assert_eq!(seen(&mesh, "n3"), ["10.0.0.1:8080", "10.0.0.2:8080"], "{field}");
    }
}

#[test]
fn internal_traffic_policy_local_keeps_the_clusters_address_to_the_node() {
    let mesh = mesh("  internalTrafficPolicy: Local\n  externalIPs: [203.0.113.1]");
    assert_eq!(seen(&mesh, "n1"), ["10.0.0.1:8080"]);
    assert!(seen(&mesh, "n3").is_empty());
    let outside = mesh.service("n3", "shop/web/external").unwrap();
    assert_eq!(outside.external_addresses, [[203, 0, 113, 1]]);
    assert!(outside.addresses.is_empty());
    assert_eq!(endpoints(&outside.ports[0].endpoints).len(), 2);
}

#[test]
fn outside_addresses_are_told_apart_from_the_clusters() {
    let mesh = mesh("  externalIPs: [203.0.113.1]");
    let service = mesh.service("n1", "shop/web").unwrap();
    assert_eq!(service.addresses, [[10, 96, 0, 1]]);
    assert_eq!(service.external_addresses, [[203, 0, 113, 1]]);
}

#[test]
fn requests_are_looked_at_where_a_port_has_some_and_its_service_asks_for_it() {
    let looked_at = |annotation: &str, port: &str| {
        let yaml = service("")
            .replace("namespace: shop}", &format!("namespace: shop, annotations: {{{annotation}}}}}"))
            .replace("name: http,", port);
        Mesh::of(&(NODES.to_owned() + &yaml)).service("n1", "shop/web").unwrap().ports[0].by_request
    };
    assert!(looked_at("mesh.internal/l7: auto", "name: http,"));
    assert!(looked_at("mesh.internal/l7: auto", "name: main, appProtocol: kubernetes.io/h2c,"));
    assert!(looked_at("mesh.internal/l7: auto", "name: grpc-web,"));
    assert!(!looked_at("mesh.internal/l7: auto", "name: main,"), "it may speak first");
    assert!(!looked_at("mesh.internal/l7: auto", "name: https,"));
    assert!(!looked_at("mesh.internal/l7: 'off'", "name: http,"));
    assert!(!looked_at("a: b", "name: http,"));
}

#[test]
fn requests_take_turns_where_the_service_asks_for_it() {
    let round_robin = |annotation: &str| {
        let annotated = format!("namespace: shop, annotations: {{{annotation}}}}}");
        let yaml = service("").replace("namespace: shop}", &annotated);
        Mesh::of(&(NODES.to_owned() + &yaml)).service("n1", "shop/web").unwrap().round_robin
    };
    assert!(round_robin("mesh.internal/load-balancing: round-robin"));
    assert!(!round_robin("mesh.internal/load-balancing: least-requests"));
    assert!(!round_robin("a: b"));
}

#[test]
fn a_node_port_of_external_policy_local_is_the_nodes_own() {
    let mesh = mesh("  externalTrafficPolicy: Local\n  type: NodePort");
    assert_eq!(mesh.service("n1", "shop/web").unwrap().node_addresses, [[192, 168, 0, 1]]);
    assert_eq!(mesh.service("n2", "shop/web").unwrap().node_addresses, [[192, 168, 0, 2]]);
}

#[test]
fn proportional_hints_cover_every_zone() {
    let pods: String = (1..=6)
        .map(|index| {
            pod(
                &format!("p{index}"),
                if index < 5 { "n1" } else { "n2" },
                &format!("10.0.0.{index}"),
                "app: web",
            )
        })
        .collect();
    let annotated = service("").replace(
        "namespace: shop}",
        "namespace: shop, annotations: {service.kubernetes.io/topology-mode: Auto}}",
    );
    let mesh = Mesh::of(&(NODES.to_owned() + &annotated + &pods));
    let counts = ["n1", "n2", "n3"].map(|node| seen(&mesh, node).len());
    assert_eq!(counts, [2, 2, 2]);
}

#[test]
fn hand_written_slices_serve_services_without_a_selector() {
    let mesh = Mesh::of(
        "
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: 10.96.0.2, ports: [{name: sql, port: 5432}], sessionAffinity: ClientIP}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{name: sql, port: 15432}]
endpoints:
- {addresses: [192.0.2.1]}
- {addresses: [192.0.2.2], conditions: {ready: false}}
- {addresses: [192.0.2.3], conditions: {ready: false, serving: true, terminating: true}}
",
    );
    let service = mesh.service("n1", "shop/db").unwrap();
    assert_eq!(endpoints(&service.ports[0].endpoints), ["192.0.2.1:15432"]);
    assert_eq!(service.client_ip_affinity_seconds, 10_800);
}

#[test]
fn both_families_headless_and_skipped_services() {
    let pod = "---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop, uid: u, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: main}]}
status: {podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}], conditions: [{type: Ready, status: 'True'}]}
";
    let of = |fields: &str, labels: &str| {
        Mesh::of(&format!(
            "apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop, labels: {{{labels}}}}}
spec: {{selector: {{app: web}}, ports: [{{port: 80}}], {fields}}}
{pod}"
        ))
    };
    let dual = of("clusterIPs: [10.96.0.1, 'fd96::1']", "");
    assert_eq!(seen(&dual, "n1"), ["10.0.0.1:80", "[fd00::1]:80"]);
    assert_eq!(dual.service("n1", "shop/web").unwrap().addresses.len(), 2);
    assert_eq!(seen(&of("clusterIP: 10.96.0.1", ""), "n1"), ["10.0.0.1:80"]);
    let headless = of("clusterIP: None", "");
    assert!(headless.service("n1", "shop/web").unwrap().addresses.is_empty());
    assert_eq!(seen(&headless, "n1").len(), 2);
    assert!(
        of("clusterIP: 10.96.0.1", "service.kubernetes.io/service-proxy-name: other")
            .service("n1", "shop/web")
            .is_none()
    );
    assert!(of("type: ExternalName, externalName: example.com", "").service("n1", "shop/web").is_none());
}

#[test]
fn load_balancer_addresses_count_in_vip_mode_only() {
    let mesh = Mesh::of(
        "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: LoadBalancer, clusterIP: 10.96.0.1, ports: [{port: 80}]}
status: {loadBalancer: {ingress: [{ip: 203.0.113.1}, {ip: 203.0.113.2, ipMode: Proxy}, {ip: 203.0.113.3, ipMode: VIP}]}}
",
    );
    let service = mesh.service("n1", "shop/web").unwrap();
    assert_eq!(service.addresses, [[10, 96, 0, 1]]);
    assert_eq!(service.external_addresses, [[203, 0, 113, 1], [203, 0, 113, 3]]);
}

/// States of a cluster, one after another.
#[derive(Default)]
struct States {
    builder: super::Builder,
    mesh: Mesh,
}

impl States {
    fn then(&mut self, yaml: &str) -> &Mesh {
        let snapshot = super::of_yaml(&(NODES.to_owned() + yaml));
        assert!(snapshot.problems.is_empty(), "{:?}", snapshot.problems);
        self.mesh.apply(self.builder.update(snapshot.objects));
        &self.mesh
    }
}

/// Endpoints that nodes are told are enrolled pods.
fn enrolled(mesh: &Mesh) -> Vec<String> {
    let endpoints = mesh.service("n1", "shop/web").unwrap().ports[0].endpoints.clone();
    let enrolled: Vec<_> = endpoints.into_iter().filter(|endpoint| endpoint.enrolled).collect();
    super::endpoints(&enrolled)
}

#[test]
fn endpoints_say_which_are_enrolled_pods() {
    let enrolment = "mesh.internal/mode: enabled";
    let on = |name: &str, address: &str, labels: &str| pod(name, "n1", address, labels);
    let web = on("a", "10.0.0.1", &format!("app: web, {enrolment}")) + &on("b", "10.0.0.2", "app: web");
    let mut states = States::default();
    assert_eq!(enrolled(states.then(&(service("") + &web))), ["10.0.0.1:8080"]);
    let left = states.then(&(service("") + &on("a", "10.0.0.1", "app: web")));
    assert!(enrolled(left).is_empty(), "it left the mesh");
}

#[test]
fn an_address_in_a_slice_says_whether_it_is_an_enrolled_pods() {
    let slice = "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.9]}, {addresses: [192.0.2.1]}]
";
    let without_pods = service("") + slice;
    let with_pod = without_pods.clone() + &pod("c", "n2", "10.0.0.9", "mesh.internal/mode: enabled");
    let mut states = States::default();
    assert!(enrolled(states.then(&without_pods)).is_empty());
    assert_eq!(enrolled(states.then(&with_pod)), ["10.0.0.9:8080"]);
    assert!(enrolled(states.then(&without_pods)).is_empty(), "the pod is gone");
    assert_eq!(enrolled(states.then(&with_pod)), ["10.0.0.9:8080"]);
    let moved = with_pod.replace("[10.0.0.9]", "[10.0.0.8]");
    assert!(enrolled(states.then(&moved)).is_empty());
}
