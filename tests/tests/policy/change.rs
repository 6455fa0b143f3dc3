//! SEMANTICS 5.5: what a policy change does to connections that are open.

use std::time::{Duration, Instant};

use mesh_tests::{
    socket::plaza::SOON,
    trial::{Expect::Answer, echo, eventually},
};

use super::{access, cluster};

const LIVELY: Duration = Duration::from_millis(20);

/// The second within which a change closes what it denies, with what a busy machine adds.
const A_SECOND: Duration = Duration::from_secs(4);

fn held(key: &str, port: u16) -> Vec<std::net::SocketAddr> {
    let addresses = cluster().pod(key).addresses;
    addresses.into_iter().map(|address| std::net::SocketAddr::new(address, port)).collect()
}

/// SEMANTICS 5.5: connections that an ingress change denies are closed within a second, the others untouched.
#[test]
fn a_newly_denied_connection_is_closed_within_a_second_and_others_are_not() {
    let cluster = cluster();
    cluster.put_all(
        "change",
        &[&echo("change", "server"), &echo("change", "friend"), &echo("change", "stranger")],
    );
    let targets = held("change/server", 8080);
    let open =
        |from: &str, interval| targets.iter().map(|to| cluster.hold(from, to, interval)).collect::<Vec<_>>();
    let (friends, strangers, idle) = (
        open("change/friend", LIVELY),
        open("change/stranger", LIVELY),
        open("change/stranger", Duration::ZERO),
    );
    let policy = access(
        "change",
        "friends",
        "selector: {matchLabels: {app: server}}, ingress: [{from: [{pods: {matchLabels: {app: friend}}}]}]",
    );
    cluster.put("change-policy", policy);
    let in_force = Instant::now();
    for connection in strangers.iter().chain(&idle) {
        let left = A_SECOND.saturating_sub(in_force.elapsed());
        let end = connection.end(left).expect("the connection is denied and still open");
        assert!(end.contains("ECONNABORTED") || end.contains("ECONNRESET") || end.contains("EPIPE"), "{end}");
    }
    std::thread::sleep(Duration::from_millis(500));
    friends.iter().for_each(mesh_tests::trial::Held::is_open);
    eventually("the log says that the change closed it", SOON, || {
        let log = cluster.access_log();
        log.iter()
            .any(|(_, line)| line.contains("PolicyChanged") && line.contains("\"change\""))
            .then_some(())
    });
}

/// SEMANTICS 5.5: the same for an egress change, which the source's side closes.
#[test]
fn a_newly_denied_egress_is_closed_within_a_second() {
    let cluster = cluster();
    cluster.put_all("leave", &[&echo("leave", "client"), &echo("leave", "kept"), &echo("leave", "cut")]);
    let kept: Vec<_> =
        held("leave/kept", 8080).iter().map(|to| cluster.hold("leave/client", to, LIVELY)).collect();
    let cut: Vec<_> =
        held("leave/cut", 8080).iter().map(|to| cluster.hold("leave/client", to, LIVELY)).collect();
    let policy = access(
        "leave",
        "kept",
        "selector: {matchLabels: {app: client}}, egress: [{to: [{pods: {matchLabels: {app: kept}}}]}]",
    );
    cluster.put("leave-policy", policy);
    for connection in &cut {
        assert!(connection.end(A_SECOND).is_some(), "{connection:?} is still open");
    }
    std::thread::sleep(Duration::from_millis(300));
    kept.iter().for_each(mesh_tests::trial::Held::is_open);
}

/// SEMANTICS 5.5: what was unproven when it was opened is judged as that.
#[test]
fn connections_of_unenrolled_clients_are_judged_again_too() {
    let cluster = cluster();
    cluster.put_all("again", &[&echo("again", "server"), &echo("again", "outside").plain()]);
    let open: Vec<_> =
        held("again/server", 8080).iter().map(|to| cluster.hold("again/outside", to, LIVELY)).collect();
    cluster.put(
        "again-policy",
        access("again", "proof", "selector: {matchLabels: {app: server}}, ingress: [{mtls: Required}]"),
    );
    for connection in &open {
        assert!(connection.end(A_SECOND).is_some(), "{connection:?} is still open");
    }
}

/// SEMANTICS 5.5: a change that denies nothing closes nothing.
#[test]
fn an_irrelevant_change_closes_nothing() {
    let cluster = cluster();
    cluster.put_all("still", &[&echo("still", "server"), &echo("still", "client")]);
    let open: Vec<_> =
        held("still/server", 8080).iter().map(|to| cluster.hold("still/client", to, LIVELY)).collect();
    for port in [8080, 8081] {
        let rules = format!(
            "selector: {{matchLabels: {{app: server}}}}, ingress: [{{ports: [{{port: 8080}}, {{port: {port}}}]}}]"
        );
        cluster.put("still-policy", access("still", "ports", &rules));
        cluster.expect(&[("still/client", "still/server:8080", Answer)]);
    }
    cluster.remove("still-policy");
    std::thread::sleep(Duration::from_millis(500));
    open.iter().for_each(mesh_tests::trial::Held::is_open);
}
