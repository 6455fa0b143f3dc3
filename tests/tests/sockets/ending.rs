//! How connections end, and how the mesh says that they did.

use std::{net::SocketAddr, thread};

use mesh_tests::socket::plaza::{AT_ONCE_MICROS, SOON, ended, place, routes, wait_at_least, wait_ended};

use crate::cluster;
use mesh_tests::trial::eventually;

const BYTES: u64 = 300_000;

#[test]
fn a_client_that_closes_its_direction_first_still_gets_everything() {
    let trial = cluster();
    for route in routes(trial, "server", 7000) {
        let said =
            trial.socket(&place("client"), &format!("end {} client-first --bytes {BYTES}", route.words()));
        assert_eq!((said.number("read"), &said["end"]), (BYTES, "EOF"), "{route:?}");
        let line = wait_ended(trial, &said);
        assert_eq!(line["ended"], "Finished", "{line}");
        // The kernel counts by sequence numbers, of which a FIN has one (RFC 9293, 3.4).
        assert!((BYTES..=BYTES + 1).contains(&line["bytes_received"].as_u64().unwrap()), "{line}");
        assert_eq!(&said["peer"], route.to.to_string(), "{line}");
    }
}

#[test]
fn a_server_that_closes_its_direction_first_still_gets_everything() {
    let trial = cluster();
    for route in routes(trial, "server", 7000) {
        let said =
            trial.socket(&place("client"), &format!("end {} server-first --bytes {BYTES}", route.words()));
        assert_eq!((said.number("read"), &said["end"]), (0, "EOF"), "{route:?}");
        assert_eq!((said.number("server.read"), &said["server.end"]), (BYTES, "EOF"), "{route:?}");
        let line = wait_ended(trial, &said);
        assert_eq!(line["ended"], "Finished", "{line}");
        // The payload, after the line that asked for it.
        assert!(line["bytes_sent"].as_u64().unwrap() > BYTES, "{line}");
    }
}

#[test]
fn a_reset_by_the_client_reaches_the_server_and_is_logged_as_reset() {
    let trial = cluster();
    for route in routes(trial, "server", 7000) {
        let said = trial.socket(&place("client"), &format!("end {} client-resets", route.words()));
        assert_eq!(&said["server.end"], "ECONNRESET", "{route:?}: {}", said.text());
        assert_eq!(wait_ended(trial, &said)["ended"], "Reset", "{route:?}");
    }
}

#[test]
fn a_reset_by_the_server_reaches_the_client_and_is_logged_as_reset() {
    let trial = cluster();
    for route in routes(trial, "server", 7000) {
        let said = trial.socket(&place("client"), &format!("end {} server-resets", route.words()));
        assert_eq!(&said["end"], "ECONNRESET", "{route:?}: {}", said.text());
        assert_eq!(wait_ended(trial, &said)["ended"], "Reset", "{route:?}");
    }
}

#[test]
fn a_refused_connect_is_refused_and_reported_as_refused() {
    let trial = cluster();
    let labels = [("source_workload", "holder"), ("how", "Refused")];
    let routes = routes(trial, "server", 7999);
    for route in &routes {
        let said = trial.socket(&place("holder"), &format!("connect {}", route.words()));
        assert_eq!(&said["connect"], "ECONNREFUSED", "{route:?}");
        assert!(said.number("connect.micros") < AT_ONCE_MICROS, "at once: {}", said.text());
    }
    let sum = wait_at_least(trial, "mesh_tcp_connections_failed_total", &labels, routes.len() as f64);
    assert_eq!(sum, routes.len() as f64, "each once");
    eventually("refused connects are logged", SOON, || {
        let lines = ended(trial, |line| line["ended"] == "Refused" && line["source"]["pod"] == "holder");
        (lines.len() == routes.len()).then_some(())
    });
}

#[test]
fn a_connect_that_nobody_answers_times_out_and_is_reported_as_timed_out() {
    let trial = cluster();
    let waiter = trial.pod(&place("waiter")).addresses;
    let hole = trial.pod(&place("hole")).addresses;
    for own in &waiter {
        // It hears nothing from there any more, and sends no answer.
        let family = if own.is_ipv4() { "-4" } else { "-6" };
        let said =
            trial.run_in(&place("hole"), &["ip", family, "route", "add", "blackhole", &own.to_string()]);
        assert_eq!(said, "");
    }
    // At the same time: each takes what two SYNs without an answer take.
    thread::scope(|scope| {
        for to in hole.iter().map(|to| SocketAddr::new(*to, 7000)) {
            scope.spawn(move || {
                let said = trial.socket(&place("waiter"), &format!("connect {to}"));
                assert_eq!(&said["connect"], "ETIMEDOUT", "{to}");
            });
        }
    });
    let labels = [("source_workload", "waiter"), ("how", "TimedOut")];
    assert_eq!(wait_at_least(trial, "mesh_tcp_connections_failed_total", &labels, 2.0), 2.0);
    eventually("timed-out connects are logged", SOON, || {
        let lines = ended(trial, |line| line["ended"] == "TimedOut" && line["source"]["pod"] == "waiter");
        (lines.len() == 2).then_some(())
    });
}
