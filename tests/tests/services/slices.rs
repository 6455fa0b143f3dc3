//! SEMANTICS 6.1: endpoints that slices name by hand, and Services without an address.

use mesh_tests::{
    socket::plaza::SOON,
    trial::{
        Expect::{Answer, Unreachable},
        Outcome, echo, eventually,
    },
};

use super::{cluster, expect_answering, service};

/// A slice of a Service for one family, its endpoints given as YAML with `IP` for the address.
fn slices(namespace: &str, name: &str, endpoints: &[(&str, &str)]) -> Vec<String> {
    let families = [("v4", "IPv4"), ("v6", "IPv6")];
    families
        .iter()
        .enumerate()
        .map(|(index, (short, family))| {
            let listed: Vec<String> = endpoints
                .iter()
                .map(|(pod, more)| {
                    let address = cluster().pod(&format!("{namespace}/{pod}")).addresses[index];
                    format!("{{addresses: ['{address}'], {more}}}")
                })
                .collect();
            format!(
                "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: {family},
                   metadata: {{name: {name}-{short}, namespace: {namespace}, labels: {{kubernetes.io/service-name: {name}}}}},
                   ports: [{{port: 8080, protocol: TCP}}], endpoints: [{}]}}",
                listed.join(", ")
            )
        })
        .collect()
}

fn put(namespace: &str, name: &str, endpoints: &[(&str, &str)]) {
    let mut all = slices(namespace, name, endpoints);
    all.push(service(namespace, name, "ports: [{port: 80}]"));
    cluster().put(&format!("{namespace}-{name}"), all.join("\n---\n"));
}

/// SEMANTICS 6.1: a Service without selector has the endpoints of hand-written slices; no `ready` means ready.
#[test]
fn hand_written_slices_serve_a_service_without_selector() {
    let cluster = cluster();
    cluster.put_all(
        "hand",
        &[&echo("hand", "a"), &echo("hand", "b"), &echo("hand", "c"), &echo("hand", "client")],
    );
    put("hand", "nil", &[("a", ""), ("b", "conditions: {}"), ("c", "conditions: {ready: false}")]);
    expect_answering("hand", "nil", &["a", "b"]);
}

/// SEMANTICS 6.1: terminating endpoints that still serve are used where none is ready, and only there.
#[test]
fn serving_and_terminating_endpoints_are_the_last_resort() {
    let cluster = cluster();
    cluster.put_all("last", &[&echo("last", "a"), &echo("last", "b"), &echo("last", "client")]);
    let draining = "conditions: {ready: false, serving: true, terminating: true}";
    put(
        "last",
        "alone",
        &[("a", draining), ("b", "conditions: {ready: false, serving: false, terminating: true}")],
    );
    put("last", "beside", &[("a", draining), ("b", "conditions: {ready: true}")]);
    expect_answering("last", "alone", &["a"]);
    expect_answering("last", "beside", &["b"]);
    put("last", "dead", &[("a", "conditions: {ready: false, serving: false}")]);
    cluster.expect(&[("last/client", "svc/last/dead:80", Unreachable)]);
}

/// SEMANTICS 6.1: zone hints are followed as kube-proxy does: only where every endpoint has one and the zone has some.
#[test]
fn zone_hints_are_followed_where_every_endpoint_has_one() {
    let cluster = cluster();
    cluster.put_all("hints", &[&echo("hints", "a"), &echo("hints", "b"), &echo("hints", "client")]);
    let zone = |name: &str| format!("hints: {{forZones: [{{name: {name}}}]}}");
    let (east, west, north) = (zone("east"), zone("west"), zone("north"));
    put("hints", "all", &[("a", east.as_str()), ("b", west.as_str())]);
    put("hints", "some", &[("a", east.as_str()), ("b", "")]);
    put("hints", "elsewhere", &[("a", north.as_str()), ("b", west.as_str())]);
    expect_answering("hints", "all", &["a"]);
    expect_answering("hints", "some", &["a", "b"]);
    expect_answering("hints", "elsewhere", &["a", "b"]);
}

/// SEMANTICS 6.3: a headless Service is found by name and dialled by pod address, with the pod's policies.
#[test]
fn a_headless_service_is_dialled_at_its_pods() {
    let cluster = cluster();
    let policy = "{apiVersion: mesh.internal/v1alpha1, kind: AccessPolicy, metadata: {name: friends, namespace: headless},
                   spec: {selector: {app: db-0}, ingress: [{from: [{serviceAccounts: [friend]}]}]}}";
    cluster.put_all(
        "headless",
        &[
            &echo("headless", "db-0"),
            &echo("headless", "friend").account("friend"),
            &echo("headless", "stranger"),
            &service("headless", "db", "clusterIP: None, selector: {app: db-0}, ports: [{port: 8080}]"),
            &policy,
        ],
    );
    cluster.expect(&[("headless/friend", "headless/db-0:8080", Answer)]);
    let addresses = cluster.pod("headless/db-0").addresses;
    for family in ["-4", "-6"] {
        // The name is known a moment after the pod.
        let answer = eventually("db is found by name", SOON, || {
            match cluster.call("headless/friend", "tcp", "db:8080", &[family]) {
                Outcome::Answered(answer) => Some(answer),
                Outcome::Failed(_) => None,
            }
        });
        assert!(addresses.contains(&answer.peer.ip()), "{answer:?}");
        let refused = cluster.call("headless/stranger", "tcp", "db:8080", &[family]);
        assert_eq!(refused.failure().errno, "ECONNREFUSED", "{refused:?}");
    }
}
