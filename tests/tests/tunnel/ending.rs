//! How connections end, or do not come about: an application sees the same as without a tunnel, but that a refusal
//! comes as a reset after connect (SEMANTICS 7.6).

use std::{
    net::{IpAddr, SocketAddr},
    thread,
    time::Duration,
};

use mesh_tests::{
    socket::plaza::{Route, routes, unmapped, wait_ended},
    trial::eventually,
};

use super::{NEAR, SOON, put_pair, tunnelled};

/// Issue: either direction is closed alone, and bytes go on in the other.
#[test]
fn each_direction_is_closed_by_itself() {
    let cluster = put_pair("half", "");
    for route in unmapped(routes(cluster, "half-server", 7000)) {
        let end = |how: &str| cluster.socket("sock/half-client", &format!("end {} {how}", route.words()));
        let said = tunnelled(1, || end("client-first"));
        assert_eq!((&said["read"], &said["end"]), ("300000", "EOF"), "{route:?}: {}", said.text());
        let said = tunnelled(1, || end("server-first"));
        assert_eq!((&said["read"], &said["end"]), ("0", "EOF"), "{route:?}: {}", said.text());
        assert_eq!(&said["server.end"], "EOF", "{route:?}: {}", said.text());
        assert_eq!(&said["server.read"], "300000", "{route:?}: {}", said.text());
    }
}

/// Issue: a reset of either side arrives as a reset at the other.
#[test]
fn a_reset_of_either_side_arrives_as_one() {
    let cluster = put_pair("reset", "");
    for route in unmapped(routes(cluster, "reset-server", 7000)) {
        let end = |how: &str| cluster.socket("sock/reset-client", &format!("end {} {how}", route.words()));
        let said = tunnelled(1, || end("server-resets"));
        assert_eq!(&said["end"], "ECONNRESET", "{route:?}: {}", said.text());
        let said = tunnelled(1, || end("client-resets"));
        assert_eq!(&said["server.end"], "ECONNRESET", "{route:?}: {}", said.text());
    }
}

/// SEMANTICS 7.6: nobody listens there: the connection comes about and is reset at once, and the log says why.
#[test]
fn a_port_where_nobody_listens_is_a_reset_at_once() {
    let cluster = put_pair("closed", "");
    for address in cluster.pod("sock/closed-server").addresses {
        let to = SocketAddr::new(address, 7999);
        let outcome = cluster.tcp("sock/closed-client", to);
        let failed = outcome.failure();
        assert!(["ECONNRESET", "EPIPE", "ENOTCONN"].contains(&failed.errno.as_str()), "{failed:?}");
        // At once, on a busy machine: who waits for an answer waits for 5 seconds.
        assert!(failed.after < Duration::from_secs(4), "{failed:?}");
    }
    is_logged(cluster, "sock/closed-client", "UpstreamRefused");
}

/// The application's side of a server that drops what it gets: a reset after the time that relay waits.
#[test]
fn a_port_that_does_not_answer_is_a_reset_after_a_while() {
    let cluster = put_pair("silent", "");
    let drop = "nft add table inet silent && nft 'add chain inet silent in {type filter hook input priority 0;}' \
                && nft add rule inet silent in tcp dport 7009 drop";
    let _ = cluster.run_in("sock/silent-server", &["sh", "-euc", drop]);
    thread::scope(|scope| {
        for address in cluster.pod("sock/silent-server").addresses {
            let to = SocketAddr::new(address, 7009);
            scope.spawn(move || {
                let outcome = cluster.call("sock/silent-client", "tcp", to, &["--timeout", "40000"]);
                let failed = outcome.failure();
                assert!(failed.step == "read" && failed.errno == "ECONNRESET", "{to}: {failed:?}");
                // Relay's own 5 seconds, and what a busy machine adds.
                let (least, most) = (Duration::from_secs(1), Duration::from_secs(30));
                assert!(failed.after > least && failed.after < most, "{to}: {failed:?}");
            });
        }
    });
    is_logged(cluster, "sock/silent-client", "UpstreamTimedOut");
    // Its neighbour port is as before.
    for route in unmapped(routes(cluster, "silent-server", 7000)) {
        let said = cluster.socket("sock/silent-client", &format!("connect {}", route.words()));
        assert_eq!(said.get("answer"), Some("ok"), "{route:?}: {}", said.text());
    }
}

/// SEMANTICS 6.2: a pod that is deleted has its connections aborted, in both families. Its processes are killed
/// first, whose kernel closes in order: a client that takes no notice of that is reset all the same, and the log
/// says why.
#[test]
fn a_pod_that_is_deleted_ends_its_connections() {
    let cluster = put_pair("gone", "");
    let routes: Vec<_> = unmapped(routes(cluster, "gone-server", 7000));
    let held: Vec<_> = tunnelled(4, || {
        let hold = |route: &Route| cluster.standing_socket("sock/gone-client", &format!("hold {}", route.to));
        routes.iter().map(|route| (route.to, hold(route))).collect()
    });
    cluster.write("gone", super::pod("gone-client", NEAR, "exec sleep infinity"));
    for (to, held) in held {
        let source = held.said["local"].to_owned();
        eventually(&format!("a log says EndpointGone of {source} to {to}"), SOON, || {
            let log = cluster.access_log();
            let mut lines = log.iter().map(|(_, line)| line).filter(|line| line.contains(&source));
            lines.any(|line| line.contains("EndpointGone")).then_some(())
        });
        // The other node may be the one that said so: the client's has ended it when it says anything of it.
        let line = wait_ended(cluster, &held.said);
        let said = held.finish();
        // Its own node aborts it, unless the other node's reset comes first: after the end of what was sent, EPIPE.
        let aborted = ["ECONNABORTED", "ECONNRESET", "EPIPE"].contains(&&said["so_error"]);
        assert!(aborted, "{to}: {}{line}", said.text());
    }
}

/// Waits until some node's log has this reason about a connection of this pod.
pub(super) fn is_logged(cluster: &mesh_tests::trial::Trial, from: &str, reason: &str) {
    // With what is around it: one address begins as another does.
    let quoted = |ip: IpAddr| format!("\"{}", SocketAddr::new(ip, 0).to_string().trim_end_matches('0'));
    let sources: Vec<String> = cluster.pod(from).addresses.into_iter().map(quoted).collect();
    eventually(&format!("a log says {reason} about {from}"), SOON, || {
        let log = cluster.access_log();
        log.iter()
            .any(|(_, line)| line.contains(reason) && sources.iter().any(|source| line.contains(source)))
            .then_some(())
    });
}
