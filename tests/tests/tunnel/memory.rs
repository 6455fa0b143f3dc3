//! What connections that stand still cost a relay: no more than the windows that were promised. In a testbed of its
//! own, whose relays have not had the memory for anything else.

use std::{fs, sync::OnceLock};

use mesh_tests::{
    socket::{Standing, plaza},
    testbed::Part,
    trial::{Trial, eventually},
};

use super::{
    CLUSTER, FAR, NEAR, SERVE, SOON, pair,
    slow::{stall, standing},
};

/// Connections that stand still at once.
const MANY: usize = 32;

/// More than each of them may cost a relay, in KiB: its windows are smaller.
const EACH: u64 = 1024;

/// The pair `idle-client` and `idle-server`, between which one connection of each family has been.
fn cluster() -> &'static Trial {
    static OWN: OnceLock<Trial> = OnceLock::new();
    OWN.get_or_init(|| {
        let trial = Trial::start("memory", CLUSTER);
        trial.put("idle", pair("idle", SERVE));
        plaza::wait_endpoints(&trial, "idle-client", "idle-server", 7000, "TCP");
        for route in plaza::routes(&trial, "idle-server", 7000) {
            eventually(&format!("{route:?} answers"), SOON, || {
                let said = trial.socket("sock/idle-client", &format!("connect {}", route.words()));
                (said.get("answer") == Some("ok")).then_some(())
            });
        }
        trial
    })
}

/// The server's own address of each family.
fn by_address(cluster: &Trial) -> impl Iterator<Item = plaza::Route> {
    let routes = plaza::unmapped(plaza::routes(cluster, "idle-server", 7000));
    routes.into_iter().filter(|route| route.to == route.lands)
}

/// Issue: windows that do not buffer megabytes for a slow reader, at either of the two relays.
#[test]
fn readers_that_do_not_read_cost_less_than_a_mebibyte_each() {
    let cluster = cluster();
    for route in by_address(cluster) {
        assert_cheap(cluster, "that read nothing", || stall(cluster, "idle-client", &route, MANY));
    }
}

/// The same where it is the server that does not read.
#[test]
fn servers_that_do_not_read_cost_less_than_a_mebibyte_each() {
    let cluster = cluster();
    for route in by_address(cluster) {
        assert_cheap(cluster, "to a server that reads nothing", || {
            let stalled = standing(cluster, "idle-client", MANY, &format!("stall {} --up", route.words()));
            for one in &stalled {
                assert_eq!(&one.said["connect"], "ok", "{}", one.said.text());
                assert!(one.said.number("taken") > 0, "{}", one.said.text());
            }
            stalled
        });
    }
}

/// Checks that [`MANY`] connections that stand still take less than [`EACH`] of either relay's memory, and that
/// they all go through both.
fn assert_cheap(cluster: &Trial, which: &str, begin: impl FnOnce() -> Vec<Standing>) {
    let before = [NEAR, FAR].map(|node| (node, memory(cluster, node)));
    let stalled = begin();
    for (node, before) in before {
        let open = cluster.metric(node, "mesh_tunnel_connections_open", &[]);
        assert!(open >= MANY as f64, "{open} connections are open on {node}");
        let now = memory(cluster, node);
        println!("{MANY} connections {which}: relay of {node} {before} -> {now} KiB");
        assert!(now < before + MANY as u64 * EACH, "{node}: {before} -> {now} KiB");
    }
    for one in stalled {
        assert_eq!(&one.finish()["holding"], "true");
    }
    eventually("they are gone from both", SOON, || {
        let open = |node| cluster.metric(node, "mesh_tunnel_connections_open", &[]);
        (open(NEAR) == 0.0 && open(FAR) == 0.0).then_some(())
    });
}

/// The resident memory of a node's relay, in KiB.
fn memory(cluster: &Trial, node: &str) -> u64 {
    let pid = cluster.bed().agent(node, Part::Relay).expect("relay runs");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it is our process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("it is a number")
}
