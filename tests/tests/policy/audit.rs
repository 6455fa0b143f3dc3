//! Modes Audit and Off: what a policy would do, and nothing.

use mesh_tests::{
    socket::plaza::SOON,
    trial::{
        Expect::{Answer, Refused},
        echo, eventually,
    },
};

use super::{access, cluster};

/// Issue: a policy in Audit mode counts and logs what it would deny, and denies nothing.
#[test]
fn audit_counts_and_logs_what_it_would_deny_and_denies_nothing() {
    let cluster = cluster();
    cluster.put_all(
        "audit",
        &[
            &echo("audit", "server"),
            &echo("audit", "friend"),
            &echo("audit", "stranger"),
            &echo("audit", "first"),
            &access(
                "audit",
                "trial",
                "selector: {matchLabels: {app: server}}, mode: Audit, ingress: [{name: friends, from: [{pods: {matchLabels: {app: friend}}}]}]",
            ),
        ],
    );
    let labels = |source| {
        [("destination_namespace", "audit"), ("reporter", "destination"), ("source_workload", source)]
    };
    let count = |source| cluster.metric("node-1", "mesh_audited_total", &labels(source));
    // These are made again if need be, so they are made by others than those that are counted.
    cluster.expect(&[
        ("audit/friend", "audit/server:8080", Answer),
        ("audit/first", "audit/server:8080", Answer),
    ]);
    let targets = cluster.resolve("audit/server:8080");
    for from in ["audit/friend", "audit/stranger"] {
        targets.iter().for_each(|to| assert_eq!(cluster.tcp(from, to).answer().host(), "server", "{from}"));
    }
    // One for each family, none for the friend.
    eventually("what it would deny is counted", SOON, || (count("stranger") >= 2.0).then_some(()));
    assert_eq!((count("stranger"), count("friend")), (2.0, 0.0));
    for source in ["friend", "first", "stranger"] {
        assert_eq!(cluster.metric("node-1", "mesh_denied_total", &labels(source)), 0.0, "{source}");
    }
    let line = eventually("what it would deny is logged", SOON, || {
        let audited = |denial: &mesh_tests::trial::Denial| {
            denial.field("verdict") == "audited"
                && denial.field("destination.namespace") == "audit"
                && denial.field("source.pod") == "stranger"
        };
        cluster.denials().into_iter().find(audited)
    });
    assert!(
        line.field("policy").contains("audit/trial") || line.field("reason") == "NoRuleAllows",
        "{line:?}"
    );
}

/// Issue: an Audit policy beside an enforced one changes nothing of what that one decides.
#[test]
fn audit_beside_enforce_changes_no_verdict() {
    let cluster = cluster();
    cluster.put_all(
        "beside",
        &[
            &echo("beside", "server").serve("--tcp 8081"),
            &echo("beside", "client"),
            &access(
                "beside",
                "enforced",
                "selector: {matchLabels: {app: server}}, ingress: [{ports: [{port: 8080}]}]",
            ),
            &access(
                "beside",
                "wider",
                "selector: {matchLabels: {app: server}}, mode: Audit, ingress: [{name: all}]",
            ),
            &access(
                "beside",
                "narrower",
                "selector: {matchLabels: {app: server}}, mode: Audit, ingress: [{name: none, action: Deny}]",
            ),
        ],
    );
    cluster.expect(&[
        ("beside/client", "beside/server:8080", Answer),
        ("beside/client", "beside/server:8081", Refused("NoRuleAllows")),
    ]);
}

/// Issue: a policy of mode Off is as if it were not there.
#[test]
fn a_policy_that_is_off_does_nothing() {
    let cluster = cluster();
    cluster.put_all(
        "idle",
        &[
            &echo("idle", "server"),
            &echo("idle", "client"),
            &access(
                "idle",
                "idle",
                "selector: {}, mode: 'Off', ingress: [{action: Deny}], egress: [{action: Deny}]",
            ),
        ],
    );
    cluster.expect(&[("idle/client", "idle/server:8080", Answer)]);
    let audited = cluster.metric("node-1", "mesh_audited_total", &[("destination_namespace", "idle")]);
    assert_eq!(audited, 0.0);
}
