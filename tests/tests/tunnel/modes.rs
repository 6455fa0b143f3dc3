//! SEMANTICS 4: what is encrypted and what is not, as a capture between the nodes shows it.

use mesh_tests::{
    capture::{Capture, Captured, server_hellos},
    socket::plaza::{policy, routes, unmapped},
    trial::{
        Expect::{Answer, Refused},
        echo, eventually,
    },
};

use serde_json::Value;

use super::{FAR, NEAR, SOON, cluster, put_pair};

/// More than any test sends while it captures.
const LIMIT: usize = 64 << 20;

/// What is looked for in the capture, and never part of a test's program text on the wire otherwise.
pub(super) fn marker(of: &str) -> String {
    format!("{of}-{}", uuid::Uuid::new_v4().simple())
}

/// Sends lines with a marker from the client to the server and back, and captures meanwhile.
fn captured(client: &str, to: &[std::net::SocketAddr], marker: &str) -> Captured {
    let cluster = cluster();
    let capture = Capture::begin(cluster.bed().layout(), LIMIT).expect("the fabric can be captured on");
    for address in to {
        let outcome = cluster.call(client, "tcp", address, &["--send", marker]);
        assert_eq!(outcome.answer().text, marker);
    }
    let captured = capture.end().expect("the capture ends");
    assert_eq!(captured.left_out, 0, "a capture with holes shows nothing");
    captured
}

/// SEMANTICS 4.4: between enrolled pods of two nodes nothing is readable, and it is TLS 1.3.
#[test]
fn between_nodes_no_byte_of_theirs_is_readable() {
    let cluster = put_pair("wire", "");
    // A new pair has no tunnel yet: what is captured has the handshake in it.
    let fresh = super::pod("wire-second", NEAR, "exec sleep infinity");
    cluster.put("wire-more", fresh);
    let to: Vec<_> = unmapped(routes(cluster, "wire-server", 7000)).iter().map(|route| route.to).collect();
    let marker = marker("secret");
    let captured = captured("sock/wire-second", &to, &marker);
    assert!(!captured.contains(marker.as_bytes()), "the marker is readable between the nodes");
    let hellos = server_hellos(&captured);
    let tunnel: Vec<_> = hellos.iter().filter(|hello| hello.port == 15_008).collect();
    assert!(!tunnel.is_empty(), "a handshake was captured: {hellos:?}");
    assert!(tunnel.iter().all(|hello| hello.version == Some(0x0304)), "{tunnel:?}");
}

/// SEMANTICS 4.3: egress `mtls: Off` is plaintext, and the capture would have shown it.
#[test]
fn mtls_off_is_plaintext() {
    let cluster = put_pair("plain", "");
    cluster.put("plain-policy", policy("plain-client", "egress: [{mtls: 'Off'}]"));
    let to: Vec<_> = unmapped(routes(cluster, "plain-server", 7000)).iter().map(|route| route.to).collect();
    let marker = marker("open");
    let captured = captured("sock/plain-client", &to, &marker);
    assert!(captured.contains(marker.as_bytes()), "plaintext is readable between the nodes");
}

/// SEMANTICS 4.4: `encryption: Always` takes the tunnel on one node as well; the applications see no difference.
#[test]
fn encryption_always_takes_the_tunnel_on_one_node_too() {
    let cluster = cluster();
    cluster.put_all("always", &[&echo("always", "client"), &echo("always", "server")]);
    let tunnelled = || cluster.metric(NEAR, "mesh_kernel_tunnelled_total", &[]);
    cluster.expect(&[("always/client", "always/server:8080", Answer)]);
    let before = tunnelled();
    for to in cluster.resolve("always/server:8080") {
        let outcome = cluster.tcp("always/client", to);
        let answer = outcome.answer();
        assert_eq!(answer.peer, to, "getpeername shows what was dialled");
        assert_eq!(answer.word("peer"), answer.local.to_string(), "the server sees the client");
    }
    eventually("both are counted as tunnelled", SOON, || (tunnelled() >= before + 2.0).then_some(()));
}

/// SEMANTICS 4.2 and 4.1: an un-enrolled client of another node: Preferred admits it, Required and a namespace's
/// floor do not; an enrolled one is admitted by all of them.
#[test]
fn an_unenrolled_client_is_admitted_only_where_no_proof_is_required() {
    let cluster = cluster();
    let access = |name: &str, mtls: &str| {
        format!(
            "apiVersion: mesh.internal/v1alpha1\nkind: AccessPolicy\nmetadata: {{name: {name}, namespace: proof}}\n\
             spec: {{selector: {{matchLabels: {{app: {name}}}}}, ingress: [{{mtls: {mtls}}}]}}\n"
        )
    };
    cluster.put_all(
        "proof",
        &[
            &echo("proof", "preferred").on(FAR),
            &echo("proof", "asks").on(FAR),
            &echo("required", "floor").on(FAR),
            &echo("proof", "inside"),
            &echo("proof", "outside").plain(),
            &access("preferred", "Preferred"),
            &access("asks", "Required"),
        ],
    );
    cluster.expect(&[
        ("proof/inside", "proof/preferred:8080", Answer),
        ("proof/outside", "proof/preferred:8080", Answer),
        ("proof/inside", "proof/asks:8080", Answer),
        ("proof/outside", "proof/asks:8080", Refused("NoRuleAllows")),
        ("proof/inside", "required/floor:8080", Answer),
        ("proof/outside", "required/floor:8080", Refused("MtlsRequired")),
    ]);
}

/// SEMANTICS 2.6: a destination that is not enrolled is matched by its address alone, under Preferred as well, and
/// the log does not claim more.
#[test]
fn plaintext_to_an_unenrolled_destination_is_logged_as_unproven() {
    let cluster = cluster();
    cluster.put_all("clear", &[&echo("clear", "client"), &echo("clear", "outside").on(FAR).plain()]);
    cluster.put(
        "clear-policy",
        "apiVersion: mesh.internal/v1alpha1\nkind: AccessPolicy\nmetadata: {name: client, namespace: clear}\n\
         spec: {selector: {matchLabels: {app: client}}, egress: [{mtls: Preferred}]}\n",
    );
    for to in cluster.resolve("clear/outside:8080") {
        let outcome = cluster.tcp("clear/client", to);
        let source = outcome.answer().local.to_string();
        let line = eventually(&format!("the end of {source} to {to} is logged"), SOON, || {
            let log = cluster.access_log();
            let mut lines = log.iter().filter_map(|(_, line)| serde_json::from_str::<Value>(line).ok());
            let to = to.to_string();
            lines.rfind(|line| {
                line["source"]["address"] == source.as_str() && line["destination"]["address"] == to.as_str()
            })
        });
        assert_eq!(line["transport"], "plaintext", "{line}");
        assert_ne!(line["proof"], "mtls", "nothing was proven: {line}");
        assert!(line["destination"]["identity"].is_null(), "an address proves no name: {line}");
    }
}
