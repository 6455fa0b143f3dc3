//! Modes Audit and Off: what a policy would do, and nothing.

use std::time::Duration;

use mesh_tests::trial::{
    Expect::{Answer, Refused},
    echo, eventually,
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
            &access(
                "audit",
                "trial",
                "selector: {matchLabels: {app: server}}, mode: Audit, ingress: [{name: friends, from: [{pods: {matchLabels: {app: friend}}}]}]",
            ),
        ],
    );
    let labels = [("destination_namespace", "audit"), ("reporter", "destination")];
    let count = || cluster.metric("node-1", "mesh_audited_total", &labels);
    let before = count();
    cluster.expect(&[
        ("audit/friend", "audit/server:8080", Answer),
        ("audit/stranger", "audit/server:8080", Answer),
    ]);
    // One for each family, none for the friend.
    eventually("what it would deny is counted", Duration::from_secs(5), || {
        (count() - before >= 2.0).then_some(())
    });
    assert_eq!(count() - before, 2.0);
    assert_eq!(cluster.metric("node-1", "mesh_denied_total", &labels), 0.0);
    let line = eventually("what it would deny is logged", Duration::from_secs(5), || {
        let audited = |denial: &mesh_tests::trial::Denial| {
            denial.field("verdict") == "audited" && denial.field("destination.namespace") == "audit"
        };
        cluster.denials().into_iter().find(audited)
    });
    assert_eq!(line.field("source.pod"), "stranger", "{line:?}");
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
