//! SEMANTICS 6.1: picks among the endpoints that a Service's selector finds.

use std::time::Duration;

use mesh_tests::{
    socket::plaza::AT_ONCE_MICROS,
    trial::{
        Expect::{Answer, Unreachable},
        echo,
    },
};

use super::{cluster, expect_answering, service, shares};

/// SEMANTICS 6.1: connections spread evenly over the endpoints, in both families; the client sees the address it dialled.
#[test]
fn connections_spread_evenly_over_the_endpoints() {
    let cluster = cluster();
    let pod = |name: &str| echo("spread", name).label("tier", "web");
    let web = service("spread", "web", "selector: {tier: web}, ports: [{port: 80, targetPort: 8080}]");
    cluster.put_all("spread", &[&pod("a"), &pod("b"), &pod("c"), &echo("spread", "client"), &web]);
    expect_answering("spread", "web", &["a", "b", "c"]);
    for address in cluster.service("spread/web", 80) {
        let hosts = cluster.hosts("spread/client", address, 300);
        let shares = shares(&hosts);
        assert_eq!(shares.len(), 3, "{shares:?}");
        // 100 each, with a standard deviation of 8.
        assert!(shares.values().all(|share| (60..=140).contains(share)), "{shares:?}");
        assert_eq!(cluster.tcp("spread/client", address).answer().peer, address);
    }
}

/// SEMANTICS 6.1: an endpoint that is not ready gets no new connection, and gets them again when it is.
#[test]
fn readiness_decides_who_is_picked() {
    let cluster = cluster();
    let pod = |name: &str| {
        let probe =
            "readinessProbe: {httpGet: {path: /healthz, port: 8090}, periodSeconds: 1, failureThreshold: 1}";
        echo("ready", name).label("tier", "web").serve("--http 8090").container(probe)
    };
    let web = service("ready", "web", "selector: {tier: web}, ports: [{port: 80, targetPort: 8080}]");
    cluster.put_all("ready", &[&pod("a"), &pod("b"), &echo("ready", "client"), &web]);
    expect_answering("ready", "web", &["a", "b"]);
    for (path, expected, ready) in [("/fail", ["a"].as_slice(), false), ("/recover", &["a", "b"], true)] {
        let _ = cluster.call("ready/b", "http", "127.0.0.1:8090", &["--send", path]);
        cluster.wait_ready("ready/b", ready);
        expect_answering("ready", "web", expected);
    }
}

/// SEMANTICS 6.1: without an endpoint a connect fails at once with EHOSTUNREACH; unready ones count only if published.
#[test]
fn no_endpoint_is_host_unreachable_at_once_and_published_ones_count() {
    let cluster = cluster();
    let never = echo("empty", "never")
        .container("readinessProbe: {exec: {command: ['false']}, periodSeconds: 1}")
        .unready();
    let (selector, ports) = ("selector: {app: never}", "ports: [{port: 80, targetPort: 8080}]");
    cluster.put_all(
        "empty",
        &[
            &never,
            &echo("empty", "client"),
            &service("empty", "nobody", "selector: {app: nobody}, ports: [{port: 80}]"),
            &service("empty", "unready", &format!("{selector}, {ports}")),
            &service("empty", "published", &format!("{selector}, {ports}, publishNotReadyAddresses: true")),
        ],
    );
    cluster.expect(&[
        ("empty/client", "svc/empty/nobody:80", Unreachable),
        ("empty/client", "svc/empty/unready:80", Unreachable),
        ("empty/client", "svc/empty/published:80", Answer),
    ]);
    for address in cluster.service("empty/nobody", 80) {
        let failed = cluster.tcp("empty/client", address).failure().clone();
        assert!(failed.after < Duration::from_micros(AT_ONCE_MICROS), "{failed:?}");
    }
}

/// SEMANTICS 6.1: a named target port is each pod's own number.
#[test]
fn a_named_target_port_is_each_pods_own() {
    let cluster = cluster();
    let pod = |name: &str, port: u16| {
        echo("names", name).label("tier", "web").serve_only(&format!("--tcp {port}")).named("web", port)
    };
    let web = service("names", "web", "selector: {tier: web}, ports: [{port: 80, targetPort: web}]");
    cluster.put_all("names", &[&pod("a", 8081), &pod("b", 8082), &echo("names", "client"), &web]);
    expect_answering("names", "web", &["a", "b"]);
}

/// SEMANTICS 6.1: `internalTrafficPolicy: Local` keeps to the node, and rejects where it has none.
#[test]
fn internal_traffic_policy_local_keeps_to_the_node_or_rejects() {
    let cluster = cluster();
    let pod = |name: &str, node: &str| echo("local", name).label("tier", "web").on(node).plain();
    let local = "internalTrafficPolicy: Local, ports: [{port: 80, targetPort: 8080}]";
    cluster.put_all(
        "local",
        &[
            &pod("here", "node-1"),
            &pod("there", "node-2"),
            &echo("local", "client"),
            &service("local", "both", &format!("selector: {{tier: web}}, {local}")),
            &service("local", "far", &format!("selector: {{app: there}}, {local}")),
            &service("local", "any", "selector: {tier: web}, ports: [{port: 80, targetPort: 8080}]"),
        ],
    );
    expect_answering("local", "any", &["here", "there"]);
    expect_answering("local", "both", &["here"]);
    cluster.expect(&[("local/client", "svc/local/far:80", Unreachable)]);
}

/// SEMANTICS 6.1: `trafficDistribution: PreferClose` keeps to the zone while that has endpoints.
#[test]
fn traffic_distribution_prefers_the_zone() {
    let cluster = cluster();
    let pod = |name: &str, node: &str| echo("zone", name).label("tier", "web").on(node).plain();
    let close = "trafficDistribution: PreferClose, ports: [{port: 80, targetPort: 8080}]";
    cluster.put_all(
        "zone",
        &[
            &pod("east", "node-1"),
            &pod("west", "node-2"),
            &echo("zone", "client"),
            &service("zone", "web", &format!("selector: {{tier: web}}, {close}")),
            &service("zone", "west", &format!("selector: {{app: west}}, {close}")),
        ],
    );
    expect_answering("zone", "web", &["east"]);
    // Nothing near: the zone does not matter then.
    expect_answering("zone", "west", &["west"]);
}

/// SEMANTICS 6.1: `sessionAffinity: ClientIP` gives a client the same endpoint, another client may get another.
#[test]
fn session_affinity_keeps_a_client_at_its_endpoint() {
    let cluster = cluster();
    let pod = |name: &str| echo("sticky", name).label("tier", "web");
    let ports = "selector: {tier: web}, ports: [{port: 80, targetPort: 8080}]";
    cluster.put_all(
        "sticky",
        &[
            &pod("a"),
            &pod("b"),
            &pod("c"),
            &echo("sticky", "client"),
            &service("sticky", "sticky", &format!("{ports}, sessionAffinity: ClientIP")),
            &service("sticky", "loose", ports),
        ],
    );
    // Once all of them are there.
    expect_answering("sticky", "loose", &["a", "b", "c"]);
    cluster.expect(&[("sticky/client", "svc/sticky/sticky:80", Answer)]);
    for address in cluster.service("sticky/sticky", 80) {
        let hosts = cluster.hosts("sticky/client", address, 60);
        assert_eq!(shares(&hosts).len(), 1, "{address}: {hosts:?}");
    }
}

/// SEMANTICS 6.4: a pod that picks itself through its own Service reaches itself, whatever its policies.
#[test]
fn a_pod_reaches_itself_through_its_own_service() {
    let cluster = cluster();
    let closed =
        "{apiVersion: mesh.internal/v1alpha1, kind: AccessPolicy, metadata: {name: closed, namespace: self},
                   spec: {selector: {}, ingress: [], egress: []}}";
    let own = service("self", "own", "selector: {app: server}, ports: [{port: 80, targetPort: 8080}]");
    cluster.put_all("self", &[&echo("self", "server"), &own, &closed]);
    cluster.expect(&[
        ("self/server", "svc/self/own:80", Answer),
        ("self/server", "self/server:8080", Answer),
        ("self/server", "127.0.0.1:8080", Answer),
        ("self/server", "[::1]:8080", Answer),
    ]);
}
