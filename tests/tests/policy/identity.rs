//! SEMANTICS 2.1 and 2.4: what a proven identity is worth, and what an unproven one is not.

use mesh_tests::trial::{
    Expect::{Answer, Refused},
    echo,
};

use super::{access, cluster};

/// SEMANTICS 2.1, 2.4: to be allowed by identity takes proof; an address and a service account alone are none.
#[test]
fn an_identity_is_allowed_only_where_it_is_proven() {
    let cluster = cluster();
    cluster.put_all(
        "proof",
        &[
            &echo("proof", "vault"),
            &echo("proof", "teller").account("teller"),
            &echo("proof", "clerk").account("clerk"),
            &echo("proof", "outsider").account("teller").plain(),
            &echo("proof", "far-outsider").account("teller").plain().on("node-2"),
            &access(
                "proof",
                "tellers",
                "selector: {matchLabels: {app: vault}}, ingress: [{name: tellers, from: [{serviceAccounts: [teller]}]}]",
            ),
        ],
    );
    cluster.expect(&[
        ("proof/teller", "proof/vault:8080", Answer),
        ("proof/clerk", "proof/vault:8080", Refused("NoRuleAllows")),
        ("proof/outsider", "proof/vault:8080", Refused("NoRuleAllows")),
        ("proof/far-outsider", "proof/vault:8080", Refused("NoRuleAllows")),
        ("node:node-1", "proof/vault:8080", Refused("NoRuleAllows")),
    ]);
}

/// SEMANTICS 2.4: to be denied by identity takes none: an unproven source matches, unless its address is a pod's that
/// the rule does not match.
#[test]
fn an_identity_is_denied_without_proof_unless_the_address_is_another_pods() {
    let cluster = cluster();
    cluster.put_all(
        "denial",
        &[
            &echo("denial", "vault"),
            &echo("denial", "thief").account("thief"),
            &echo("denial", "clerk").account("clerk"),
            &echo("denial", "unproven-thief").account("thief").plain(),
            &echo("denial", "unproven-clerk").account("clerk").plain(),
            &echo("denial", "far-thief").account("thief").plain().on("node-2"),
            &access(
                "denial",
                "no-thieves",
                "selector: {matchLabels: {app: vault}}, ingress: [
                   {name: thieves, action: Deny, from: [{serviceAccounts: [thief]}]}, {name: anyone}]",
            ),
        ],
    );
    cluster.expect(&[
        ("denial/clerk", "denial/vault:8080", Answer),
        ("denial/thief", "denial/vault:8080", Refused("PolicyDenied")),
        ("denial/unproven-thief", "denial/vault:8080", Refused("PolicyDenied")),
        ("denial/far-thief", "denial/vault:8080", Refused("PolicyDenied")),
        ("denial/unproven-clerk", "denial/vault:8080", Answer),
        // Nobody's address that discovery knows.
        ("node:node-1", "denial/vault:8080", Refused("PolicyDenied")),
        ("node:node-2", "denial/vault:8080", Refused("PolicyDenied")),
    ]);
}

/// SEMANTICS 1.4, 2.4: a host-network pod is an unproven source, whatever its service account.
#[test]
fn a_host_network_pod_proves_nothing() {
    let cluster = cluster();
    cluster.put_all(
        "hostnet",
        &[
            &echo("hostnet", "vault"),
            &echo("hostnet", "agent")
                .account("teller")
                .plain()
                .spec("hostNetwork: true")
                .serve_only("--tcp 18999"),
            &access(
                "hostnet",
                "tellers",
                "selector: {matchLabels: {app: vault}}, ingress: [{from: [{serviceAccounts: [teller]}]}]",
            ),
        ],
    );
    cluster.expect(&[("hostnet/agent", "hostnet/vault:8080", Refused("NoRuleAllows"))]);
}

/// SEMANTICS 2.1: the kernel's proof holds for UDP as well.
#[test]
fn a_datagram_of_a_wired_pod_is_proven_and_another_is_not() {
    let cluster = cluster();
    cluster.put_all(
        "datagram",
        &[
            &echo("datagram", "vault").serve("--udp 5353"),
            &echo("datagram", "teller").account("teller"),
            &echo("datagram", "outsider").account("teller").plain(),
            &access(
                "datagram",
                "tellers",
                "selector: {matchLabels: {app: vault}},
                 ingress: [{from: [{serviceAccounts: [teller]}], ports: [{port: 5353, protocol: UDP}]}]",
            ),
        ],
    );
    cluster.expect(&[
        ("datagram/teller", "udp datagram/vault:5353", Answer),
        ("datagram/outsider", "udp datagram/vault:5353", Refused("NoRuleAllows")),
        ("datagram/teller", "datagram/vault:8080", Refused("NoRuleAllows")),
    ]);
}
