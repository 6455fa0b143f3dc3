//! SEMANTICS 2.6 and 5.6: where pods may go, and that they still find names.

use mesh_tests::trial::{
    Expect::{Answer, Forbidden, Refused},
    echo,
};

use super::{access, cluster};

/// SEMANTICS 2.6: on egress an address selects: labels of a pod without proof of its own are enough.
#[test]
fn egress_selects_destinations_by_what_is_at_the_address() {
    let cluster = cluster();
    cluster.put_all(
        "select",
        &[
            &echo("select", "ledger").label("role", "ledger"),
            &echo("select", "plain-ledger").label("role", "ledger").plain(),
            &echo("select", "other"),
            &echo("select", "client"),
            &access(
                "select",
                "ledgers",
                "selector: {matchLabels: {app: client}},
                 egress: [{name: ledgers, to: [{pods: {matchLabels: {role: ledger}}}], ports: [{port: 8080}]}]",
            ),
        ],
    );
    cluster.expect(&[
        ("select/client", "select/ledger:8080", Answer),
        ("select/client", "select/plain-ledger:8080", Answer),
        ("select/client", "select/ledger:8081", Forbidden("NoRuleAllows")),
        ("select/client", "select/other:8080", Forbidden("NoRuleAllows")),
    ]);
}

/// SEMANTICS 6.3: `to.services` matches the Service's address and port and any endpoint's address and target port.
#[test]
fn egress_to_a_service_is_its_address_and_its_endpoints() {
    let cluster = cluster();
    let service = "{apiVersion: v1, kind: Service, metadata: {name: ledger, namespace: to-service},
                    spec: {selector: {app: server}, ports: [{port: 80, targetPort: 8080}]}}";
    cluster.put_all(
        "to-service",
        &[
            &echo("to-service", "server").serve("--tcp 8081"),
            &echo("to-service", "other"),
            &echo("to-service", "client"),
            &service,
            &access(
                "to-service",
                "ledger",
                "selector: {matchLabels: {app: client}}, egress: [{to: [{services: [{name: ledger}]}]}]",
            ),
        ],
    );
    cluster.expect(&[
        ("to-service/client", "svc/to-service/ledger:80", Answer),
        ("to-service/client", "to-service/server:8080", Answer),
        ("to-service/client", "to-service/server:8081", Forbidden("NoRuleAllows")),
        ("to-service/client", "to-service/other:8080", Forbidden("NoRuleAllows")),
    ]);
}

/// SEMANTICS 2.5: CIDRs of egress, for what is no pod at all.
#[test]
fn egress_to_a_range_outside_the_cluster() {
    let cluster = cluster();
    cluster.put_all("range", &[&echo("range", "client")]);
    let nodes = cluster.node_addresses("node-2");
    let ranges: Vec<String> =
        nodes.iter().map(|ip| format!("'{ip}/{}'", if ip.is_ipv4() { 32 } else { 128 })).collect();
    let spec = format!("selector: {{}}, egress: [{{to: [{{cidrs: [{}]}}]}}]", ranges.join(", "));
    cluster.put("range-policy", access("range", "nodes", &spec));
    for (node, allowed) in [("node-2", true), ("node-1", false)] {
        for address in cluster.node_addresses(node) {
            // Nothing listens there: a refusal from there shows that it was let out.
            let expect = if allowed { Refused("") } else { Forbidden("NoRuleAllows") };
            let target = std::net::SocketAddr::new(address, 19).to_string();
            cluster.expect(&[("range/client", &target, expect)]);
        }
    }
}

/// SEMANTICS 5.6: the first egress policy does not kill name resolution; where MeshConfig says so, it does.
#[test]
fn names_resolve_under_an_egress_policy_unless_the_config_says_otherwise() {
    let cluster = cluster();
    for namespace in ["names", "no-names"] {
        let service = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: shop, namespace: {namespace}}},
               spec: {{selector: {{app: server}}, ports: [{{port: 8080}}]}}}}"
        );
        cluster.put_all(
            namespace,
            &[
                &echo(namespace, "server"),
                &echo(namespace, "client"),
                &service,
                &access(
                    namespace,
                    "shop-only",
                    "selector: {matchLabels: {app: client}}, egress: [{to: [{services: [{name: shop}]}]}]",
                ),
            ],
        );
    }
    cluster.expect(&[
        ("names/client", "svc/names/shop:8080", Answer),
        ("no-names/client", "svc/no-names/shop:8080", Answer),
    ]);
    let found = cluster.tcp("names/client", "shop:8080");
    assert_eq!(found.answer().host(), "server", "{found:?}");
    let not_found = cluster.tcp("no-names/client", "shop:8080");
    assert_eq!(not_found.failure().step, "resolve", "{not_found:?}");
}
