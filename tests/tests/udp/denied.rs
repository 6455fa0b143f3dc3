//! Refusals of datagrams, by the sender's policy and by the receiver's.

use mesh_tests::socket::plaza::{NODE, place, routes, wait_at_least};

use crate::cluster;

#[test]
fn egress_policy_denies_with_eperm_in_sendto_and_in_connect() {
    let trial = cluster();
    let denied = [
        ("source_workload", "client"),
        ("protocol", "udp"),
        ("rule", "no-vault"),
        ("reason", "PolicyDenied"),
    ];
    let before = trial.scrape(NODE).sum("mesh_denied_total", &denied);
    for route in routes(trial, "vault", 7000) {
        let said = trial.socket(&place("client"), &format!("udp {}", route.words()));
        assert_eq!(&said["0.send"], "EPERM", "{route:?}");
        let said = trial.socket(&place("client"), &format!("udp {} --connected", route.words()));
        assert_eq!(&said["0.connect"], "EPERM", "{route:?}");
    }
    wait_at_least(trial, "mesh_denied_total", &denied, before + 12.0);
}

// SEMANTICS 7.1
#[test]
fn a_mark_changes_nothing_for_datagrams() {
    let trial = cluster();
    for route in routes(trial, "vault", 7000) {
        let said = trial.socket(&place("client"), &format!("udp {} --mark 4919", route.words()));
        assert_eq!(&said["0.send"], "EPERM", "{route:?}");
    }
}

#[test]
fn a_denied_datagram_does_not_disturb_the_others_of_its_socket() {
    let trial = cluster();
    for (vault, server) in routes(trial, "vault", 7000).iter().zip(routes(trial, "server", 7000)) {
        let words = format!("udp {} {} --count 2{}", server.to, vault.to, server.flag());
        let said = trial.socket(&place("client"), &words);
        assert!(said.all("1.send").iter().all(|send| send == "EPERM"), "{vault:?}: {}", said.text());
        assert_eq!(said.all("0.from"), [server.to.to_string(), server.to.to_string()], "{}", said.text());
    }
}

#[test]
fn ingress_policy_refuses_a_connected_client_and_ignores_another() {
    let trial = cluster();
    let denied = [("destination_workload", "cellar"), ("protocol", "udp"), ("reporter", "destination")];
    let before = trial.scrape(NODE).sum("mesh_denied_total", &denied);
    for route in routes(trial, "cellar", 7000) {
        let said = trial.socket(&place("client"), &format!("udp {} --connected", route.words()));
        assert_eq!(&said["0.receive"], "ECONNREFUSED", "{route:?}");
        let said = trial.socket(&place("client"), &format!("udp {} --timeout 200", route.words()));
        assert_eq!((&said["0.send"], &said["receive"]), ("ok", "EAGAIN"), "{route:?}");
    }
    wait_at_least(trial, "mesh_denied_total", &denied, before + 12.0);
}

// KERNEL 2: the answer to an unconnected client goes through its own gate.
#[test]
fn a_client_under_ingress_default_deny_gets_the_answers_it_asked_for() {
    let trial = cluster();
    for route in routes(trial, "server", 7000) {
        for connected in ["", " --connected"] {
            let said = trial.socket(&place("shy"), &format!("udp {}{connected}", route.words()));
            assert_eq!(&said["0.from"], route.to.to_string(), "{route:?}{connected}: {}", said.text());
        }
    }
    for route in routes(trial, "other", 7000) {
        let said = trial.socket(&place("shy"), &format!("udp {}", route.words()));
        assert_eq!(&said["0.send"], "EPERM", "its policy is in force: {route:?}");
    }
}
