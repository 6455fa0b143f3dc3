//! One connect.

use mesh_tests::socket::plaza::{AT_ONCE_MICROS, assert_transparent, place, routes, unmapped, wait_at_least};

use crate::cluster;

// SEMANTICS 6.1, 6.3, 7.7
#[test]
fn both_ends_see_the_truth_whichever_way_a_pod_is_dialled() {
    let trial = cluster();
    let before =
        trial.scrape(mesh_tests::socket::plaza::NODE).sum("mesh_kernel_services_translated_total", &[]);
    for route in routes(trial, "server", 7000) {
        let said = trial.socket(&place("client"), &format!("connect {}", route.words()));
        assert_eq!(&said["connect"], "ok", "{route:?}");
        assert_transparent(trial, "client", &route, &said, "");
    }
    // The node has its own translation of Services; it must not be what did it.
    wait_at_least(trial, "mesh_kernel_services_translated_total", &[], before + 3.0);
}

#[test]
fn a_listener_of_ipv4_only_is_reached_and_sees_the_client() {
    let trial = cluster();
    for route in routes(trial, "server", 7001).into_iter().filter(|route| route.to.is_ipv4()) {
        let said = trial.socket(&place("client"), &format!("connect {}", route.words()));
        assert_transparent(trial, "client", &route, &said, "");
    }
}

#[test]
fn a_nonblocking_connect_is_in_progress_and_then_writable() {
    let trial = cluster();
    for route in routes(trial, "server", 7000) {
        let said = trial.socket(&place("client"), &format!("connect {} --nonblocking", route.words()));
        assert_eq!(&said["connect"], "EINPROGRESS", "{route:?}");
        assert_eq!((&said["writable"], &said["so_error"]), ("true", "0"), "{route:?}");
        assert_transparent(trial, "client", &route, &said, "");
    }
}

#[test]
fn a_nonblocking_connect_that_policy_denies_fails_at_once() {
    let trial = cluster();
    for route in routes(trial, "vault", 7000) {
        let said = trial.socket(&place("client"), &format!("connect {} --nonblocking", route.words()));
        assert_eq!(&said["connect"], "EPERM", "{route:?}");
    }
}

#[test]
fn a_server_that_speaks_first_is_heard_before_the_client_says_a_word() {
    let trial = cluster();
    for route in routes(trial, "server", 7002) {
        // A greeting that has to wait for the client runs into its timeout.
        let said = trial.socket(&place("client"), &format!("connect {} --greeted", route.words()));
        assert_eq!(&said["greeting"], "hello", "{route:?}");
        assert_transparent(trial, "client", &route, &said, "");
    }
}

#[test]
fn tcp_fast_open_carries_data_in_the_syn_by_both_of_its_ways() {
    let trial = cluster();
    for way in ["message", "connect"] {
        for route in routes(trial, "server", 7000) {
            let said = trial.socket(&place("client"), &format!("fastopen {} --by {way}", route.words()));
            for round in ["first.", "second."] {
                assert_transparent(trial, "client", &route, &said, round);
            }
            // Without a cookie the first could not; that the second did shows that this tested fast open.
            assert_eq!(said.number("second.in_syn"), 1, "{way} {route:?}: {}", said.text());
        }
    }
}

// SEMANTICS 7.7
#[test]
fn an_mptcp_client_sees_the_address_it_dialled() {
    let trial = cluster();
    for port in [7000, 7003] {
        for route in routes(trial, "server", port) {
            let said = trial.socket(&place("client"), &format!("connect {} --mptcp", route.words()));
            assert_eq!(&said["connect"], "ok", "{route:?}");
            assert_transparent(trial, "client", &route, &said, "");
        }
    }
    let netstat = trial.socket(&place("client"), "netstat");
    assert!(netstat.number("MPCapableSYNACKRX") >= 6, "MPTCP was spoken: {}", netstat.text());
}

#[test]
fn an_mptcp_listener_shows_the_true_client_of_plain_tcp() {
    let trial = cluster();
    for route in routes(trial, "server", 7003) {
        let said = trial.socket(&place("client"), &format!("connect {}", route.words()));
        assert_transparent(trial, "client", &route, &said, "");
    }
}

#[test]
fn a_service_without_endpoints_is_refused_at_once_as_unreachable() {
    let trial = cluster();
    for to in trial.service(&place("nobody"), 8000) {
        let said = trial.socket(&place("client"), &format!("connect {to}"));
        assert_eq!(&said["connect"], "EHOSTUNREACH", "{to}");
        assert!(said.number("connect.micros") < AT_ONCE_MICROS, "at once: {}", said.text());
    }
}

#[test]
fn a_socket_bound_to_the_pods_own_address_keeps_it() {
    let trial = cluster();
    let own = trial.pod(&place("client")).addresses;
    for route in unmapped(routes(trial, "server", 7000)) {
        let bind = own.iter().find(|own| own.is_ipv4() == route.to.is_ipv4()).expect("both families");
        let said = trial.socket(&place("client"), &format!("connect {} --bind {bind}", route.words()));
        assert_transparent(trial, "client", &route, &said, "");
    }
}
