//! What the mesh says of its verdicts: the denied line, and `meshctl can` beside the wire.

use mesh_tests::{
    socket::plaza::SOON,
    trial::{
        Expect::{Answer, Forbidden, Refused},
        Outcome, echo, eventually,
    },
};

use super::{access, cluster};

/// Issue: a denial's line names policy and rule, both identities and what proves them.
#[test]
fn the_line_of_a_denial_names_policy_rule_and_identities() {
    let cluster = cluster();
    cluster.put_all(
        "line",
        &[
            &echo("line", "server").account("keeper"),
            &echo("line", "client").account("caller"),
            &access(
                "line",
                "no-callers",
                "selector: {matchLabels: {app: server}}, ingress: [{name: callers, action: Deny, from: [{serviceAccounts: [caller]}]}, {}]",
            ),
        ],
    );
    cluster.expect(&[("line/client", "line/server:8080", Refused("PolicyDenied"))]);
    let line = eventually("the line", SOON, || {
        cluster.denials().into_iter().find(|denial| denial.field("destination.namespace") == "line")
    });
    for (field, value) in [
        ("verdict", "denied"),
        ("policy", "AccessPolicy/line/no-callers"),
        ("rule", "callers"),
        ("reason", "PolicyDenied"),
        ("proof", "kernel"),
        ("source.pod", "client"),
        ("source.identity", "spiffe://cluster.local/ns/line/sa/caller"),
        ("destination.pod", "server"),
        ("destination.identity", "spiffe://cluster.local/ns/line/sa/keeper"),
        ("protocol", "TCP"),
    ] {
        assert_eq!(line.field(field), value, "{field} of {line:?}");
    }
}

/// Issue: the counter of denials has policy, rule and both workloads as labels, and counts every one.
#[test]
fn every_denial_is_counted_with_policy_and_rule() {
    let cluster = cluster();
    cluster.put_all(
        "count",
        &[
            &echo("count", "server"),
            &echo("count", "client"),
            &echo("count", "counted"),
            &access(
                "count",
                "nobody",
                "selector: {matchLabels: {app: server}}, ingress: [{name: nobody, action: Deny}]",
            ),
        ],
    );
    cluster.expect(&[("count/client", "count/server:8080", Refused("PolicyDenied"))]);
    let labels = [
        ("policy", "AccessPolicy/count/nobody"),
        ("rule", "nobody"),
        ("reason", "PolicyDenied"),
        // The other's calls may have been made more than once.
        ("source_workload", "counted"),
        ("destination_workload", "server"),
    ];
    let count = || cluster.metric("node-1", "mesh_denied_total", &labels);
    assert_eq!(count(), 0.0);
    let target = std::net::SocketAddr::new(cluster.pod("count/server").addresses[0], 8080);
    let outcomes = cluster.calls("count/counted", "tcp", target, &["--count", "50"]);
    assert_eq!(outcomes.len(), 50);
    assert!(outcomes.iter().all(|outcome| outcome.failure().errno == "ECONNREFUSED"));
    eventually("all are counted", SOON, || (count() >= 50.0).then_some(()));
    assert_eq!(count(), 50.0);
}

/// Issue: `meshctl can` says what the wire does, with the exit codes 0 for yes and 1 for no.
#[test]
fn meshctl_can_agrees_with_the_wire() {
    let cluster = cluster();
    let service = "{apiVersion: v1, kind: Service, metadata: {name: shop, namespace: can}, spec: {selector: {app: server}, ports: [{port: 80, targetPort: 8080}]}}";
    let empty = "{apiVersion: v1, kind: Service, metadata: {name: empty, namespace: can}, spec: {selector: {app: nobody}, ports: [{port: 80}]}}";
    cluster.put_all(
        "can",
        &[
            &echo("can", "server").serve("--tcp 8081"),
            &echo("can", "far").on("node-2"),
            &echo("can", "buyer").account("buyer"),
            &echo("can", "passer"),
            &echo("can", "outside").account("buyer").plain(),
            &echo("can", "stuck"),
            &service,
            &empty,
            &access("can", "buyers", "selector: {matchLabels: {app: server}}, ingress: [{name: buyers, from: [{serviceAccounts: [buyer]}], ports: [{port: 8080}]}]"),
            &access("can", "stuck", "selector: {matchLabels: {app: stuck}}, egress: [{name: nowhere, action: Deny}]"),
        ],
    );
    cluster.expect(&[
        ("can/buyer", "svc/can/shop:80", Answer),
        ("can/stuck", "can/passer:8080", Forbidden("PolicyDenied")),
    ]);
    for (from, to, dialled, allowed, said) in [
        ("can/buyer", "can/server:8080", "can/server:8080", true, "buyers"),
        ("can/buyer", "can/server:8081", "can/server:8081", false, "NoRuleAllows"),
        ("can/passer", "can/server:8080", "can/server:8080", false, "NoRuleAllows"),
        ("can/outside", "can/server:8080", "can/server:8080", false, "NoRuleAllows"),
        ("can/stuck", "can/passer:8080", "can/passer:8080", false, "nowhere"),
        ("can/passer", "can/far:8080", "can/far:8080", true, "tunnel"),
        ("can/buyer", "svc/can/shop:80", "svc/can/shop:80", true, "buyers"),
        ("can/passer", "svc/can/shop:80", "svc/can/shop:80", false, "NoRuleAllows"),
        ("can/buyer", "svc/can/empty:80", "svc/can/empty:80", false, "NoEndpoint"),
    ] {
        // The controller's word is ahead of the nodes', which are given a moment here as everywhere.
        let outcome = |address| (address, matches!(cluster.tcp(from, address), Outcome::Answered(_)));
        eventually(&format!("{from} -> {dialled} is answered: {allowed}"), SOON, || {
            let outcomes: Vec<_> = cluster.resolve(dialled).into_iter().map(outcome).collect();
            outcomes.iter().all(|(_, answered)| *answered == allowed).then_some(())
        });
        let output = cluster.meshctl(&["can", from, to]);
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(i32::from(!allowed)), "can {from} {to}: {text}");
        assert!(text.contains(said), "can {from} {to} does not say {said}: {text}");
    }
}

/// Issue: `meshctl can` fails with 2 where it cannot tell, and names what is not there.
#[test]
fn meshctl_can_says_what_it_does_not_know() {
    let output = cluster().meshctl(&["can", "can/nobody-here", "10.0.0.1:80"]);
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("nobody-here"), "{text}");
}
