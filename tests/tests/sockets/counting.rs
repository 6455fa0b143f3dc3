//! What the mesh counts of connections, and that it stands nowhere between their two sockets.

use mesh_tests::socket::plaza::{NODE, SOON, assert_transparent, place, routes, wait_at_least, wait_ended};

use crate::cluster;
use mesh_tests::trial::{Trial, eventually};

// DESIGN 2: no proxy, no extra hop.
#[test]
fn the_two_sockets_are_joined_directly() {
    let trial = cluster();
    for route in routes(trial, "server", 7000) {
        let held = trial.standing_socket(&place("holder"), &format!("hold {}", route.words()));
        let said = &held.said;
        assert_transparent(trial, "holder", &route, said, "");
        let (local, lands) = (&said["local"], route.lands.to_string());
        // Each namespace's own table: the client's socket points at the pod, not at a Service or a proxy, and the
        // server's points back at the client; the inodes are those that the two processes hold.
        let client = established(trial, "holder", local);
        assert_eq!(client, [format!("{local},{lands},01,{}", &said["inode"])], "{route:?}");
        let server = established(trial, "server", local);
        assert_eq!(server, [format!("{lands},{local},01,{}", &said["server.inode"])], "{route:?}");
        let _ = held.finish();
    }
}

/// The sockets of a pod's namespace that are established from or to this address and port. Others of that port, of
/// connections to elsewhere that have ended, may be there too.
fn established(trial: &Trial, pod: &str, end: &str) -> Vec<String> {
    let port = end.rsplit(':').next().unwrap_or_default();
    let table = trial.socket(&place(pod), &format!("table {port}"));
    let is_one = |line: &&String| {
        let [from, to, state, _] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        [from, to].contains(&end) && state == "01"
    };
    table.all("socket").iter().filter(is_one).cloned().collect()
}

#[test]
fn the_bytes_of_a_connection_that_stays_open_are_in_the_metrics_while_it_is() {
    const BYTES: u64 = 1_000_000;
    let trial = cluster();
    let labels = [("source_workload", "holder"), ("destination_workload", "other")];
    let sent = |labels: &[(&str, &str)]| trial.scrape(NODE).sum("mesh_tcp_sent_bytes_total", labels);
    assert_eq!(sent(&labels), 0.0, "nobody else uses this pair");
    let route = &routes(trial, "other", 7000)[0];
    let held = trial.standing_socket(&place("holder"), &format!("hold {} --bytes {BYTES}", route.words()));
    eventually("the bytes show in the metrics", SOON, || (sent(&labels) >= BYTES as f64).then_some(()));
    assert!(trial.scrape(NODE).sum("mesh_tcp_connections_closed_total", &labels) == 0.0, "it is still open");
    wait_at_least(trial, "mesh_tcp_connections_open", &[("workload", "holder")], 1.0);
    let said = held.finish();
    let line = wait_ended(trial, &said);
    let total = line["bytes_sent"].as_u64().unwrap();
    assert!((BYTES..BYTES + 200).contains(&total), "{line}");
    wait_at_least(trial, "mesh_tcp_connections_closed_total", &labels, 1.0);
    let sum = wait_at_least(trial, "mesh_tcp_sent_bytes_total", &labels, total as f64);
    assert_eq!(sum, total as f64, "each byte is counted once");
}

#[test]
fn opened_closed_and_refused_add_up() {
    const EACH: u32 = 20;
    let trial = cluster();
    let of = [("source_workload", "counted"), ("destination_workload", "other")];
    let refused_of = [("source_workload", "counted"), ("destination_workload", "server"), ("how", "Refused")];
    let mut connections = 0.0;
    for route in routes(trial, "other", 7000) {
        let said = trial.socket(&place("counted"), &format!("connect {} --count {EACH}", route.words()));
        assert_eq!(said.all("answer").len(), EACH as usize, "{}", said.text());
        assert!(said.all("answer").iter().all(|answer| answer == "ok"));
        connections += f64::from(EACH);
    }
    let closed_ports = routes(trial, "server", 7999);
    for route in &closed_ports {
        let said = trial.socket(&place("counted"), &format!("connect {} --count {EACH}", route.words()));
        assert!(said.all("connect").iter().all(|connect| connect == "ECONNREFUSED"), "{}", said.text());
    }
    let refused = f64::from(EACH) * closed_ports.len() as f64;
    assert_eq!(wait_at_least(trial, "mesh_tcp_connections_opened_total", &of, connections), connections);
    assert_eq!(wait_at_least(trial, "mesh_tcp_connections_closed_total", &of, connections), connections);
    assert_eq!(wait_at_least(trial, "mesh_tcp_connections_failed_total", &refused_of, refused), refused);
    let scrape = trial.scrape(NODE);
    let finished: Vec<_> = scrape.select("mesh_tcp_connections_closed_total", &of).collect();
    assert!(finished.iter().all(|sample| sample.labels["how"] == "Finished"), "{finished:?}");
    assert_eq!(scrape.sum("mesh_kernel_flows_taken_total", &[]), 0.0);
    assert_eq!(scrape.sum("mesh_kernel_flows_full_total", &[]), 0.0);
    assert_eq!(scrape.sum("mesh_kernel_events_lost_total", &[]), 0.0);
}
