//! SEMANTICS 2.4, 2.5 and 5.5 across nodes: who is allowed by a name that the tunnel proves.

use std::time::Duration;

use mesh_tests::trial::{
    Expect::{Answer, Reset},
    echo, eventually,
};

use super::{FAR, SOON, cluster};

fn access(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: mesh.internal/v1alpha1\nkind: AccessPolicy\n\
         metadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
    )
}

/// One server on the other node for every way to name a source, each with a client that matches and one that does
/// not.
#[test]
fn every_way_to_name_a_source_holds_across_nodes() {
    let cluster = cluster();
    let on = |app: &str, from: &str| {
        access(
            "far",
            app,
            &format!("selector: {{matchLabels: {{app: {app}}}}}, ingress: [{{from: [{from}]}}]"),
        )
    };
    cluster.put_all(
        "far-clients",
        &[
            &echo("far", "teller").account("teller").label("role", "ops"),
            &echo("far", "clerk").account("clerk"),
        ],
    );
    let teller = cluster.pod("far/teller").addresses;
    let cidrs: Vec<String> =
        teller.iter().map(|ip| format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 })).collect();
    cluster.put_all(
        "far",
        &[
            &echo("far", "by-account").on(FAR),
            &echo("far", "by-spiffe").on(FAR),
            &echo("far", "by-pods").on(FAR),
            &echo("far", "by-namespace").on(FAR),
            &echo("far", "by-cidr").on(FAR),
            &echo("far", "by-denial").on(FAR),
            &echo("near", "stranger").account("teller"),
            &on("by-account", "{serviceAccounts: [teller]}"),
            &on("by-spiffe", "{spiffe: ['spiffe://cluster.local/ns/far/sa/teller']}"),
            &on("by-pods", "{pods: {matchLabels: {role: ops}}}"),
            &on("by-namespace", "{namespaces: [far]}"),
            &on("by-cidr", &format!("{{cidrs: [{}]}}", cidrs.join(", "))),
            &access(
                "far",
                "by-denial",
                "selector: {matchLabels: {app: by-denial}}, \
                 ingress: [{action: Deny, from: [{serviceAccounts: [clerk]}]}, {name: anyone}]",
            ),
        ],
    );
    cluster.expect(&[
        ("far/teller", "far/by-account:8080", Answer),
        ("far/clerk", "far/by-account:8080", Reset("NoRuleAllows")),
        // The same name in another namespace.
        ("near/stranger", "far/by-account:8080", Reset("NoRuleAllows")),
        ("far/teller", "far/by-spiffe:8080", Answer),
        ("far/clerk", "far/by-spiffe:8080", Reset("NoRuleAllows")),
        ("far/teller", "far/by-pods:8080", Answer),
        ("far/clerk", "far/by-pods:8080", Reset("NoRuleAllows")),
        ("far/teller", "far/by-namespace:8080", Answer),
        ("near/stranger", "far/by-namespace:8080", Reset("NoRuleAllows")),
        ("far/teller", "far/by-cidr:8080", Answer),
        ("far/clerk", "far/by-cidr:8080", Reset("NoRuleAllows")),
        ("far/teller", "far/by-denial:8080", Answer),
        ("far/clerk", "far/by-denial:8080", Reset("PolicyDenied")),
    ]);
}

/// A policy in Audit mode lets a tunnelled connection pass and says that it would not have.
#[test]
fn audit_lets_a_tunnelled_connection_pass_and_says_so() {
    let cluster = cluster();
    cluster.put_all(
        "audit",
        &[
            &echo("audit", "server").on(FAR),
            &echo("audit", "client"),
            &access(
                "audit",
                "would",
                "mode: Audit, selector: {matchLabels: {app: server}}, \
                 ingress: [{name: others, from: [{serviceAccounts: [nobody]}]}]",
            ),
        ],
    );
    cluster.expect(&[("audit/client", "audit/server:8080", Answer)]);
    eventually("the log says that it would have been refused", SOON, || {
        let denials = cluster.denials();
        let told = denials.iter().any(|denial| {
            denial.field("verdict").contains("audit") && denial.field("destination.namespace") == "audit"
        });
        told.then_some(())
    });
}

/// SEMANTICS 5.5: a change of the server's ingress or of the client's egress ends open tunnels that it denies, and no
/// other.
#[test]
fn a_policy_change_closes_the_tunnels_that_it_denies_and_no_other() {
    let cluster = cluster();
    cluster.put_all(
        "revise",
        &[
            &echo("revise", "server").on(FAR),
            &echo("revise", "friend").account("friend"),
            &echo("revise", "foe").account("foe"),
        ],
    );
    cluster.expect(&[
        ("revise/friend", "revise/server:8080", Answer),
        ("revise/foe", "revise/server:8080", Answer),
    ]);
    let targets = cluster.resolve("revise/server:8080");
    let hold = |from: &str| -> Vec<_> {
        targets.iter().map(|to| cluster.hold(from, to, Duration::from_millis(20))).collect()
    };
    let (friends, foes) = (hold("revise/friend"), hold("revise/foe"));
    let spec = "selector: {matchLabels: {app: server}}, ingress: [{from: [{serviceAccounts: [friend]}]}]";
    cluster.put("revise-policy", access("revise", "friends", spec));
    for foe in &foes {
        assert!(foe.end(SOON).is_some(), "{foe:?} is still open");
    }
    std::thread::sleep(Duration::from_millis(300));
    friends.iter().for_each(mesh_tests::trial::Held::is_open);
    let spec = "selector: {matchLabels: {app: friend}}, egress: [{name: none, action: Deny}]";
    cluster.put("revise-egress", access("revise", "stay", spec));
    for friend in &friends {
        assert!(friend.end(SOON).is_some(), "{friend:?} is still open");
    }
}
