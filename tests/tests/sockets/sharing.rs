//! Sockets and ports that several processes share.

use std::collections::BTreeSet;

use mesh_tests::socket::plaza::{assert_transparent, place, routes};

use crate::cluster;

#[test]
fn a_socket_inherited_over_fork_works_in_both_processes() {
    let trial = cluster();
    for by in ["parent", "child"] {
        for route in routes(trial, "server", 7000) {
            let said =
                trial.socket(&place("client"), &format!("inherit {} --connected-by {by}", route.words()));
            assert_eq!(&said[&format!("{by}.connect")], "ok", "{route:?}");
            for process in ["child.", "parent."] {
                assert_transparent(trial, "client", &route, &said, process);
            }
            assert_eq!(said["child.inode"], said["parent.inode"], "it is one socket");
        }
    }
}

#[test]
fn so_reuseport_spreads_over_all_listeners_each_seeing_the_true_client() {
    spreads_over("sharers");
}

#[test]
fn a_listener_inherited_over_fork_serves_in_all_processes() {
    spreads_over("heirs");
}

fn spreads_over(server: &str) {
    let trial = cluster();
    let mut workers = BTreeSet::new();
    for route in routes(trial, server, 7000) {
        for _ in 0..10 {
            let said = trial.socket(&place("client"), &format!("connect {}", route.words()));
            assert_transparent(trial, "client", &route, &said, "");
            workers.insert(said["server.pid"].to_owned());
        }
    }
    assert!(workers.len() > 1, "60 connections to {server} reached only the processes {workers:?}");
}
