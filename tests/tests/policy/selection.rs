//! SEMANTICS 5.2: which pods and ports a policy is about.

use mesh_tests::trial::{
    Expect::{Answer, Refused},
    echo,
};

use super::{access, cluster};

/// SEMANTICS 5.2: rule ports are container ports, and a named one is another number in another pod.
#[test]
fn named_ports_resolve_per_pod() {
    let cluster = cluster();
    let pod = |name: &str, port: u16| {
        echo("named", name).label("tier", "web").serve("--tcp 8081").named("web", port)
    };
    cluster.put_all(
        "named",
        &[
            &pod("first", 8080),
            &pod("second", 8081),
            &echo("named", "client"),
            &access(
                "named",
                "web",
                "selector: {matchLabels: {tier: web}}, ingress: [{ports: [{port: web}]}]",
            ),
        ],
    );
    cluster.expect(&[
        ("named/client", "named/first:8080", Answer),
        ("named/client", "named/first:8081", Refused("NoRuleAllows")),
        ("named/client", "named/second:8080", Refused("NoRuleAllows")),
        ("named/client", "named/second:8081", Answer),
    ]);
}

/// SEMANTICS 5.2: a rule is about container ports also where a Service's port is another; ranges include both ends.
#[test]
fn ports_are_the_containers_whatever_the_service_says() {
    let cluster = cluster();
    let service = "{apiVersion: v1, kind: Service, metadata: {name: shop, namespace: ports},
                    spec: {selector: {app: server}, ports: [{name: a, port: 80, targetPort: 9001}, {name: b, port: 81, targetPort: 9003}]}}";
    cluster.put_all(
        "ports",
        &[
            &echo("ports", "server").serve_only("--tcp 9000 --tcp 9001 --tcp 9002 --tcp 9003"),
            &echo("ports", "client"),
            &service,
            &access(
                "ports",
                "range",
                "selector: {matchLabels: {app: server}}, ingress: [{ports: [{port: 9000, endPort: 9002}]}]",
            ),
        ],
    );
    cluster.expect(&[
        ("ports/client", "svc/ports/shop:80", Answer),
        ("ports/client", "ports/server:9000", Answer),
        ("ports/client", "ports/server:9002", Answer),
        ("ports/client", "ports/server:9003", Refused("NoRuleAllows")),
        ("ports/client", "svc/ports/shop:81", Refused("NoRuleAllows")),
    ]);
}

/// SEMANTICS 5.2: `targetRefs` to a Service is its pods and resolved target ports, however they are dialled.
#[test]
fn a_policy_on_a_service_is_about_its_pods_and_target_ports() {
    let cluster = cluster();
    let service = "{apiVersion: v1, kind: Service, metadata: {name: shop, namespace: target},
                    spec: {selector: {tier: web}, ports: [{port: 80, targetPort: web}]}}";
    let pod = |name: &str, port: u16| {
        echo("target", name).label("tier", "web").serve_only("--tcp 8080 --tcp 8081").named("web", port)
    };
    cluster.put_all(
        "target",
        &[
            &pod("first", 8080),
            &pod("second", 8081),
            &echo("target", "buyer").account("buyer"),
            &echo("target", "passer"),
            &service,
            &access(
                "target",
                "buyers",
                "targetRefs: [{group: '', kind: Service, name: shop}], ingress: [{name: buyers, from: [{serviceAccounts: [buyer]}]}]",
            ),
        ],
    );
    cluster.expect(&[
        ("target/buyer", "svc/target/shop:80", Answer),
        ("target/buyer", "target/first:8080", Answer),
        ("target/buyer", "target/second:8081", Answer),
        ("target/passer", "target/first:8080", Refused("PolicyDenied")),
        ("target/passer", "target/second:8081", Refused("PolicyDenied")),
        // Not behind the Service, so not what the policy is about.
        ("target/passer", "target/first:8081", Answer),
        ("target/passer", "target/second:8080", Answer),
    ]);
    for address in cluster.service("target/shop", 80) {
        let failed = cluster.tcp("target/passer", address).failure().clone();
        assert_eq!(failed.errno, "ECONNREFUSED", "{failed:?}");
    }
}

/// DESIGN 5: a label that changes while the pod runs changes what selects it, without a restart.
#[test]
fn a_changed_label_is_followed_without_a_restart() {
    let cluster = cluster();
    let closed = access("relabel", "closed", "selector: {matchLabels: {guard: 'on'}}, ingress: []");
    let (open, guarded) = (echo("relabel", "server"), echo("relabel", "server").label("guard", "on"));
    let client = echo("relabel", "client");
    cluster.put_all("relabel", &[&open, &client, &closed]);
    let uid = cluster.pod("relabel/server").uid;
    cluster.expect(&[("relabel/client", "relabel/server:8080", Answer)]);
    cluster.put_all("relabel", &[&guarded, &client, &closed]);
    cluster.expect(&[("relabel/client", "relabel/server:8080", Refused("NoRuleAllows"))]);
    cluster.put_all("relabel", &[&open, &client, &closed]);
    cluster.expect(&[("relabel/client", "relabel/server:8080", Answer)]);
    assert_eq!(cluster.pod("relabel/server").uid, uid);
}
