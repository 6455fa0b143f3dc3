//! SEMANTICS 4: the mTLS modes, on one node and between two.

use mesh_tests::{
    socket::plaza::SOON,
    trial::{
        Expect::{Answer, Forbidden, Refused},
        echo, eventually,
    },
};

use super::{access, cluster};

/// SEMANTICS 4.2: an un-enrolled client of an enrolled server is admitted by Preferred, and refused by Required.
#[test]
fn an_unenrolled_client_is_admitted_by_preferred_and_reset_by_required() {
    let cluster = cluster();
    cluster.put_all(
        "modes",
        &[
            &echo("modes", "preferred"),
            &echo("modes", "required"),
            &echo("modes", "inside"),
            &echo("modes", "outside").plain(),
            &echo("modes", "far-outside").plain().on("node-2"),
            &access(
                "modes",
                "preferred",
                "selector: {matchLabels: {app: preferred}}, ingress: [{mtls: Preferred}]",
            ),
            &access(
                "modes",
                "required",
                "selector: {matchLabels: {app: required}}, ingress: [{mtls: Required}]",
            ),
        ],
    );
    cluster.expect(&[
        ("modes/inside", "modes/preferred:8080", Answer),
        ("modes/outside", "modes/preferred:8080", Answer),
        ("modes/far-outside", "modes/preferred:8080", Answer),
        ("modes/inside", "modes/required:8080", Answer),
        ("modes/outside", "modes/required:8080", Refused("NoRuleAllows")),
        ("modes/far-outside", "modes/required:8080", Refused("NoRuleAllows")),
        ("node:node-1", "modes/required:8080", Refused("NoRuleAllows")),
    ]);
}

/// SEMANTICS 4.1, 4.5: a namespace's floor needs no policy and no rule opens it; UDP is not held to it.
#[test]
fn a_namespace_that_requires_mtls_refuses_unproven_tcp_and_no_udp() {
    let cluster = cluster();
    cluster.put_all(
        "floor",
        &[
            &echo("floor", "server").serve("--udp 53"),
            &echo("floor", "inside"),
            &echo("floor", "outside").plain(),
            &echo("floor-udp", "opened"),
            &access("floor-udp", "anyone", "selector: {}, ingress: [{name: anyone}]"),
        ],
    );
    cluster.expect(&[
        ("floor/inside", "floor/server:8080", Answer),
        ("floor/outside", "floor/server:8080", Refused("MtlsRequired")),
        ("floor/outside", "udp floor/server:53", Answer),
        ("floor/inside", "floor-udp/opened:8080", Answer),
        ("floor/outside", "floor-udp/opened:8080", Refused("MtlsRequired")),
    ]);
}

/// SEMANTICS 4.2: `mtls: Off` is for egress only.
#[test]
fn mtls_off_is_invalid_on_ingress() {
    let cluster = cluster();
    cluster.put_all(
        "off",
        &[
            &echo("off", "server"),
            &echo("off", "client"),
            &access("off", "off", "selector: {matchLabels: {app: server}}, ingress: [{mtls: 'Off'}]"),
        ],
    );
    let accepted = cluster.condition("AccessPolicy", "off/off", "Accepted").unwrap();
    assert_eq!(accepted.status, "False", "{accepted:?}");
    assert!(accepted.message.contains("spec.ingress[0].mtls: Off is for egress rules only"), "{accepted:?}");
    cluster.expect(&[("off/client", "off/server:8080", Refused("NoRuleAllows"))]);
}

/// SEMANTICS 4.3: egress modes on one node: proof by the kernel is enough for Required, plaintext is not.
#[test]
fn egress_modes_within_a_node() {
    let cluster = cluster();
    cluster.put_all(
        "out",
        &[
            &echo("out", "enrolled"),
            &echo("out", "plain").plain(),
            &echo("out", "required"),
            &echo("out", "preferred"),
            &echo("out", "off"),
            &access(
                "out",
                "required",
                "selector: {matchLabels: {app: required}}, egress: [{mtls: Required}]",
            ),
            &access(
                "out",
                "preferred",
                "selector: {matchLabels: {app: preferred}}, egress: [{mtls: Preferred}]",
            ),
            &access("out", "off", "selector: {matchLabels: {app: off}}, egress: [{mtls: 'Off'}]"),
        ],
    );
    cluster.expect(&[
        ("out/required", "out/enrolled:8080", Answer),
        ("out/required", "out/plain:8080", Forbidden("EgressMtlsRequired")),
        ("out/preferred", "out/enrolled:8080", Answer),
        ("out/preferred", "out/plain:8080", Answer),
        ("out/off", "out/enrolled:8080", Answer),
        ("out/off", "out/plain:8080", Answer),
    ]);
}

/// SEMANTICS 4.3, 4.4: what leads to another node's enrolled pod takes the tunnel, whatever egress says but `Off`.
#[test]
fn another_node_is_reached_through_the_tunnel_unless_egress_says_off() {
    let cluster = cluster();
    cluster.put_all(
        "far",
        &[
            &echo("far", "enrolled").on("node-2"),
            &echo("far", "guarded").on("node-2"),
            &echo("far", "plain").plain().on("node-2"),
            &echo("far", "nothing"),
            &echo("far", "required"),
            &echo("far", "preferred"),
            &echo("far", "off"),
            &access(
                "far",
                "required",
                "selector: {matchLabels: {app: required}}, egress: [{mtls: Required}]",
            ),
            &access(
                "far",
                "preferred",
                "selector: {matchLabels: {app: preferred}}, egress: [{mtls: Preferred}]",
            ),
            &access("far", "off", "selector: {matchLabels: {app: off}}, egress: [{mtls: 'Off'}]"),
            &access("far", "guarded", "selector: {matchLabels: {app: guarded}}, ingress: [{mtls: Required}]"),
        ],
    );
    let tunnelled = || cluster.metric("node-1", "mesh_kernel_tunnelled_total", &[]);
    let before = tunnelled();
    cluster.expect(&[
        ("far/nothing", "far/enrolled:8080", Answer),
        ("far/preferred", "far/enrolled:8080", Answer),
        ("far/required", "far/enrolled:8080", Answer),
        ("far/required", "far/plain:8080", Forbidden("EgressMtlsRequired")),
        ("far/preferred", "far/plain:8080", Answer),
        ("far/nothing", "far/plain:8080", Answer),
        ("far/off", "far/enrolled:8080", Answer),
        // What the tunnel proves is enough over there, and plaintext proves nothing.
        ("far/nothing", "far/guarded:8080", Answer),
        ("far/off", "far/guarded:8080", Refused("NoRuleAllows")),
    ]);
    let counted = || (tunnelled() - before >= 8.0).then_some(());
    eventually("they are counted as tunnelled", SOON, counted);
}

/// SEMANTICS 4.4: `encryption: Always` sends same-node traffic through the tunnel as well.
#[test]
fn encryption_always_takes_the_tunnel_on_one_node_too() {
    let cluster = cluster();
    cluster.put_all(
        "always",
        &[&echo("always", "client"), &echo("always", "server"), &echo("always", "plain").plain()],
    );
    let tunnelled = || cluster.metric("node-1", "mesh_kernel_tunnelled_total", &[]);
    let before = tunnelled();
    cluster.expect(&[
        ("always/client", "always/server:8080", Answer),
        ("always/client", "always/plain:8080", Answer),
    ]);
    let counted = || (tunnelled() - before >= 2.0).then_some(());
    eventually("it is counted as tunnelled", SOON, counted);
}

/// SEMANTICS 4.5: Required on a UDP port admits senders that the kernel proves, and the policy says so.
#[test]
fn required_on_udp_admits_kernel_proven_senders_and_says_so() {
    let cluster = cluster();
    cluster.put_all(
        "udp",
        &[
            &echo("udp", "server").serve("--udp 5353"),
            &echo("udp", "inside"),
            &echo("udp", "outside").plain(),
            &echo("udp", "far").on("node-2"),
            &access(
                "udp",
                "proof",
                "selector: {matchLabels: {app: server}},
                 ingress: [{name: proof, mtls: Required, ports: [{port: 5353, protocol: UDP}]}]",
            ),
        ],
    );
    cluster.expect(&[
        ("udp/inside", "udp udp/server:5353", Answer),
        ("udp/outside", "udp udp/server:5353", Refused("NoRuleAllows")),
    ]);
    // Nothing proves a datagram of another node, however enrolled its sender is.
    for address in cluster.pod("udp/server").addresses {
        let target = std::net::SocketAddr::new(address, 5353);
        assert!(matches!(cluster.udp("udp/far", target), mesh_tests::trial::Outcome::Failed(_)));
    }
    let unproven = cluster.condition("AccessPolicy", "udp/proof", "UDPUnproven").unwrap();
    assert_eq!(unproven.status, "True");
    assert!(unproven.message.contains("`proof`"), "{unproven:?}");
}
