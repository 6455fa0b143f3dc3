//! SEMANTICS 5.1: the order in which tiers, policies and rules decide.

use mesh_tests::trial::{
    Expect::{Answer, Forbidden, Refused},
    echo,
};

use super::{access, all_of, cluster, cluster_access};

/// Server, friend and stranger.
fn three(namespace: &str) -> [String; 3] {
    ["server", "friend", "stranger"].map(|name| echo(namespace, name).to_string())
}

fn put(namespace: &str, policies: &[&dyn std::fmt::Display]) {
    let pods = three(namespace);
    let pods = pods.iter().map(|pod| pod as &dyn std::fmt::Display);
    let all: Vec<_> = pods.chain(policies.iter().copied()).collect();
    cluster().put_all(namespace, &all);
}

const FRIEND: &str = "from: [{pods: {matchLabels: {app: friend}}, namespaceSelector: {}}]";
const SERVER: &str = "selector: {matchLabels: {app: server}}";

/// SEMANTICS 5.1: the Admin tier is before AccessPolicy, a lower priority number before a higher.
#[test]
fn admin_tier_by_priority_before_access_policies() {
    let (first, second) = (all_of("priority"), all_of("priority-swapped"));
    put(
        "priority",
        &[
            &cluster_access(
                "priority-deny",
                &format!("tier: Admin, priority: 10, {first}, ingress: [{{action: Deny, {FRIEND}}}]"),
            ),
            &cluster_access(
                "priority-allow",
                &format!("tier: Admin, priority: 20, {first}, ingress: [{{action: Allow, {FRIEND}}}]"),
            ),
            &access("priority", "anyone", &format!("{SERVER}, ingress: [{{action: Allow}}]")),
        ],
    );
    put(
        "priority-swapped",
        &[
            &cluster_access(
                "swapped-deny",
                &format!("tier: Admin, priority: 20, {second}, ingress: [{{action: Deny, {FRIEND}}}]"),
            ),
            &cluster_access(
                "swapped-allow",
                &format!("tier: Admin, priority: 10, {second}, ingress: [{{action: Allow, {FRIEND}}}]"),
            ),
            &access("priority-swapped", "nobody", &format!("{SERVER}, ingress: [{{action: Deny}}]")),
        ],
    );
    cluster().expect(&[
        ("priority/friend", "priority/server:8080", Refused("PolicyDenied")),
        ("priority/stranger", "priority/server:8080", Answer),
        ("priority-swapped/friend", "priority-swapped/server:8080", Answer),
        ("priority-swapped/stranger", "priority-swapped/server:8080", Refused("PolicyDenied")),
    ]);
}

/// SEMANTICS 5.1: at equal priority Deny wins, and both policies say that they conflict.
#[test]
fn at_equal_priority_deny_wins_and_both_are_conflicted() {
    let subject = all_of("equal");
    put(
        "equal",
        &[
            &cluster_access(
                "equal-a-allow",
                &format!("tier: Admin, priority: 7, {subject}, ingress: [{{action: Allow, {FRIEND}}}]"),
            ),
            &cluster_access(
                "equal-deny",
                &format!("tier: Admin, priority: 7, {subject}, ingress: [{{action: Deny, {FRIEND}}}]"),
            ),
        ],
    );
    cluster().expect(&[
        ("equal/friend", "equal/server:8080", Refused("PolicyDenied")),
        ("equal/stranger", "equal/server:8080", Answer),
    ]);
    for (name, other) in [("equal-a-allow", "equal-deny"), ("equal-deny", "equal-a-allow")] {
        let conflicted = cluster().condition("ClusterAccessPolicy", name, "Conflicted").unwrap();
        assert_eq!(conflicted.status, "True", "{conflicted:?}");
        assert!(conflicted.message.contains(other), "{conflicted:?}");
    }
}

/// SEMANTICS 5.1: the rules of one policy of the Admin tier decide in the order of their list.
#[test]
fn admin_rules_decide_in_list_order() {
    let (first, second) = (all_of("list"), all_of("list-reversed"));
    put(
        "list",
        &[&cluster_access(
            "list",
            &format!(
                "tier: Admin, priority: 5, {first}, ingress: [{{action: Allow, {FRIEND}}}, {{action: Deny}}]"
            ),
        )],
    );
    put(
        "list-reversed",
        &[&cluster_access(
            "list-reversed",
            &format!(
                "tier: Admin, priority: 5, {second}, ingress: [{{action: Deny}}, {{action: Allow, {FRIEND}}}]"
            ),
        )],
    );
    cluster().expect(&[
        ("list/friend", "list/server:8080", Answer),
        ("list/stranger", "list/server:8080", Refused("PolicyDenied")),
        ("list-reversed/friend", "list-reversed/server:8080", Refused("PolicyDenied")),
    ]);
}

/// SEMANTICS 5.1: Pass leaves the decision to the AccessPolicies.
#[test]
fn pass_skips_to_the_access_policies() {
    let subject = all_of("pass");
    put(
        "pass",
        &[
            &cluster_access(
                "pass",
                &format!(
                    "tier: Admin, priority: 5, {subject}, ingress: [{{action: Pass, {FRIEND}}}, {{action: Deny}}]"
                ),
            ),
            &access("pass", "web-only", &format!("{SERVER}, ingress: [{{ports: [{{port: 8080}}]}}]")),
        ],
    );
    cluster().expect(&[
        ("pass/friend", "pass/server:8080", Answer),
        ("pass/friend", "pass/server:8081", Refused("NoRuleAllows")),
        ("pass/stranger", "pass/server:8080", Refused("PolicyDenied")),
    ]);
}

/// SEMANTICS 5.1: among AccessPolicies any Deny beats any Allow, in whatever order; what none allows is denied.
#[test]
fn deny_beats_allow_and_the_rest_is_denied() {
    put(
        "beats",
        &[
            &access("beats", "a-allow", &format!("{SERVER}, ingress: [{{ports: [{{port: 8080}}]}}]")),
            &access(
                "beats",
                "b-deny",
                &format!("{SERVER}, ingress: [{{name: no-friends, action: Deny, {FRIEND}}}]"),
            ),
        ],
    );
    cluster().expect(&[
        ("beats/stranger", "beats/server:8080", Answer),
        ("beats/friend", "beats/server:8080", Refused("PolicyDenied")),
        ("beats/stranger", "beats/server:8081", Refused("NoRuleAllows")),
    ]);
}

/// SEMANTICS 5.1: a policy isolates the direction that it has rules for, and no other; an empty list isolates.
#[test]
fn isolation_is_per_direction() {
    put(
        "direction",
        &[
            &access("direction", "in", &format!("{SERVER}, ingress: []")),
            &access("direction", "out", "selector: {matchLabels: {app: friend}}, egress: []"),
        ],
    );
    cluster().expect(&[
        ("direction/stranger", "direction/server:8080", Refused("NoRuleAllows")),
        ("direction/server", "direction/stranger:8080", Answer),
        ("direction/friend", "direction/stranger:8080", Forbidden("NoRuleAllows")),
        ("direction/stranger", "direction/friend:8080", Answer),
    ]);
}

/// SEMANTICS 5.1: Baseline decides what no AccessPolicy did, and none does where one isolates.
#[test]
fn baseline_is_for_what_no_access_policy_decided() {
    let (bare, decided) = (all_of("base"), all_of("base-decided"));
    put(
        "base",
        &[&cluster_access(
            "base",
            &format!("tier: Baseline, {bare}, ingress: [{{action: Allow, {FRIEND}}}, {{action: Deny}}]"),
        )],
    );
    put(
        "base-decided",
        &[
            &cluster_access(
                "base-decided",
                &format!(
                    "tier: Baseline, {decided}, ingress: [{{action: Allow, {FRIEND}}}, {{action: Deny}}]"
                ),
            ),
            &access(
                "base-decided",
                "strangers",
                &format!("{SERVER}, ingress: [{{from: [{{pods: {{matchLabels: {{app: stranger}}}}}}]}}]"),
            ),
        ],
    );
    cluster().expect(&[
        ("base/friend", "base/server:8080", Answer),
        ("base/stranger", "base/server:8080", Refused("PolicyDenied")),
        ("base-decided/stranger", "base-decided/server:8080", Answer),
        ("base-decided/friend", "base-decided/server:8080", Refused("NoRuleAllows")),
    ]);
}

/// SEMANTICS 4.1, 5.1: MeshConfig's default is last; a policy's rule comes before it.
#[test]
fn the_default_of_a_namespace_is_last() {
    let friends = access("closed", "friends", &format!("{SERVER}, ingress: [{{{FRIEND}}}]"));
    put("closed", &[&friends, &echo("closed", "bare")]);
    cluster().put_all("no-way-out", &[&echo("no-way-out", "client"), &echo("no-way-out", "other")]);
    cluster().expect(&[
        ("closed/friend", "closed/server:8080", Answer),
        ("closed/stranger", "closed/server:8080", Refused("NoRuleAllows")),
        ("closed/friend", "closed/bare:8080", Refused("DefaultDenied")),
        ("no-way-out/client", "no-way-out/other:8080", Forbidden("DefaultDenied")),
    ]);
}
