//! Much through the tunnel, and nothing of it lost.

use std::time::Instant;

use mesh_tests::{
    socket::plaza::{Route, routes, routes_to, service, unmapped},
    trial::{Trial, eventually},
};

use super::{FAR, NEAR, SERVE, SOON, carried, cluster, pod, put_pair};

const GIBIBYTE: u64 = 1 << 30;

/// Issue: 1 GiB each way and both at once, with equal checksums; in both families, by Service and by address. IPv6 with
/// a quarter of it: it differs in how a connection begins, not in how bytes are carried.
#[test]
fn a_gibibyte_arrives_as_it_was_sent_in_each_direction_and_in_both_at_once() {
    let cluster = put_pair("bulk", "");
    let ways = unmapped(routes(cluster, "bulk-server", 7000));
    for family in [4, 6] {
        let ways: Vec<_> = ways.iter().filter(|way| way.to.is_ipv4() == (family == 4)).collect();
        assert_eq!(ways.len(), 2, "by Service and by address: {ways:?}");
        for (number, way) in ["up", "down", "both"].into_iter().enumerate() {
            let bytes = if family == 4 { GIBIBYTE } else { GIBIBYTE / 4 };
            move_bytes(cluster, "bulk-client", ways[number % ways.len()], way, bytes);
        }
    }
}

/// The same from the other node to this one: whoever is client there is served by the other code.
#[test]
fn the_other_way_round_they_arrive_too() {
    let cluster = cluster();
    cluster.put(
        "bulk-back",
        pod("bulk-back-client", FAR, "exec sleep infinity")
            + &pod("bulk-back-server", NEAR, SERVE)
            + &service("bulk-back-server", "bulk-back-server", &[(7000, "TCP")]),
    );
    for route in unmapped(routes_to(cluster, "bulk-back-server", "bulk-back-server", 7000)) {
        eventually(&format!("{route:?} answers"), SOON, || {
            let said = cluster.socket("sock/bulk-back-client", &format!("connect {}", route.words()));
            (said.get("answer") == Some("ok")).then_some(())
        });
        move_bytes(cluster, "bulk-back-client", &route, "both", GIBIBYTE / 8);
    }
}

/// Moves so many bytes each way that is asked for, through the tunnel, and compares the checksums.
fn move_bytes(cluster: &Trial, client: &str, route: &Route, way: &str, bytes: u64) {
    let (up, down) = (way != "down", way != "up");
    let start = Instant::now();
    let words = format!("bulk {} {way} --bytes {bytes}", route.words());
    let said = carried(bytes * (u64::from(up) + u64::from(down)), || {
        cluster.socket(&format!("sock/{client}"), &words)
    });
    println!("{} MiB {way} by {}: {:.1} s", bytes >> 20, route.to, start.elapsed().as_secs_f64());
    assert_eq!((&said["connect"], said.get("failed")), ("ok", None), "{way}: {}", said.text());
    for (direction, asked) in [("up", up), ("down", down)] {
        if asked {
            let (sent, arrived) =
                (&said[&*format!("{direction}.sent")], &said[&*format!("{direction}.arrived")]);
            assert_eq!(sent, arrived, "{way} by {route:?}: {direction}");
        }
    }
}
