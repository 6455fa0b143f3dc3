//! Socket options that could lead past the mesh, or into nowhere.

use mesh_tests::socket::plaza::{NODE, assert_transparent, place, routes, wait_at_least};

use crate::cluster;

// SEMANTICS 7.7
#[test]
fn a_socket_bound_to_eth0_reaches_services_and_pods() {
    let trial = cluster();
    for route in routes(trial, "server", 7000) {
        let said = trial.socket(&place("client"), &format!("connect {} --device eth0", route.words()));
        assert_eq!(&said["connect"], "ok", "{route:?}");
        assert_transparent(trial, "client", &route, &said, "");
    }
}

// SEMANTICS 7.7 and 6.4
#[test]
fn a_socket_bound_to_eth0_reaches_its_own_pod_through_its_service() {
    let trial = cluster();
    for route in routes(trial, "hermit", 7000).into_iter().filter(|route| route.to != route.lands) {
        let said = trial.socket(&place("hermit"), &format!("connect {} --device eth0", route.words()));
        assert_eq!(&said["connect"], "ok", "passed or rejected, never timed out: {route:?}");
        assert_transparent(trial, "hermit", &route, &said, "");
    }
}

// SEMANTICS 7.1
#[test]
fn a_mark_changes_nothing() {
    let trial = cluster();
    let denied = [("source_workload", "client"), ("protocol", "tcp"), ("rule", "no-vault")];
    let before = trial.scrape(NODE).sum("mesh_denied_total", &denied);
    for mark in [1_u32, 0xca11, 0x539, u32::MAX] {
        for route in routes(trial, "vault", 7000) {
            let said = trial.socket(&place("client"), &format!("connect {} --mark {mark}", route.words()));
            assert_eq!(&said["connect"], "EPERM", "denied stays denied with mark {mark}: {route:?}");
        }
    }
    let route = &routes(trial, "server", 7000)[0];
    let said = trial.socket(&place("client"), &format!("connect {} --mark 539", route.words()));
    assert_transparent(trial, "client", route, &said, "");
    wait_at_least(trial, "mesh_denied_total", &denied, before + 24.0);
}
