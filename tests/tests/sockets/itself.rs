//! A pod under default deny in both directions that talks to itself (SEMANTICS 6.4).

use mesh_tests::socket::plaza::{NODE, assert_transparent, place, routes, wait_at_least};

use crate::cluster;

#[test]
fn loopback_and_own_addresses_work_under_default_deny() {
    let trial = cluster();
    let own = trial.pod(&place("hermit")).addresses;
    let words = own.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let said = trial.socket(&place("hermit"), &format!("loopback {words}"));
    for address in
        ["127.0.0.1".to_owned(), "::1".to_owned()].into_iter().chain(own.iter().map(ToString::to_string))
    {
        for way in ["tcp", "udp", "udp.connected"] {
            assert_eq!(&said[&format!("{way}.{address}")], "ok", "{}", said.text());
        }
    }
}

#[test]
fn a_pod_reaches_itself_through_its_own_service_under_default_deny() {
    let trial = cluster();
    for route in routes(trial, "hermit", 7000) {
        let said = trial.socket(&place("hermit"), &format!("connect {}", route.words()));
        assert_eq!(&said["connect"], "ok", "{route:?}");
        assert_transparent(trial, "hermit", &route, &said, "");
    }
}

#[test]
fn default_deny_was_in_force_meanwhile() {
    let trial = cluster();
    let denied = [("destination_workload", "hermit"), ("reporter", "destination"), ("protocol", "tcp")];
    let before = trial.scrape(NODE).sum("mesh_denied_total", &denied);
    for route in routes(trial, "hermit", 7000) {
        let said = trial.socket(&place("counted"), &format!("connect {}", route.words()));
        assert_eq!(&said["connect"], "ECONNREFUSED", "others get a RST: {route:?}");
    }
    for route in routes(trial, "server", 7000) {
        let said = trial.socket(&place("hermit"), &format!("connect {}", route.words()));
        assert_eq!(&said["connect"], "EPERM", "it reaches nobody else: {route:?}");
    }
    wait_at_least(trial, "mesh_denied_total", &denied, before + 6.0);
}
