//! Unconnected sockets.

use std::collections::BTreeSet;

use mesh_tests::socket::plaza::{NODE, place, routes, unmapped, wait_at_least};

use crate::{assert_answered, cluster};

#[test]
fn an_unconnected_socket_gets_answers_from_the_address_it_sent_to() {
    let trial = cluster();
    let before = trial.scrape(NODE).sum("mesh_kernel_services_translated_total", &[]);
    for port in [7000, 7001] {
        for route in
            routes(trial, "server", port).into_iter().filter(|route| port == 7000 || route.to.is_ipv4())
        {
            let said = trial.socket(&place("client"), &format!("udp {} --count 3", route.words()));
            assert_eq!(said.all("0.from").len(), 3, "three questions, three answers: {}", said.text());
            assert_answered("client", &route, &said, "0.");
        }
    }
    // The node has its own translation of Services; it must not be what did it.
    wait_at_least(trial, "mesh_kernel_services_translated_total", &[], before + 5.0);
}

#[test]
fn a_bound_unconnected_socket_gets_its_answers() {
    let trial = cluster();
    let own = trial.pod(&place("client")).addresses;
    for route in unmapped(routes(trial, "server", 7000)) {
        let bind = own.iter().find(|own| own.is_ipv4() == route.to.is_ipv4()).expect("both families");
        let said = trial.socket(&place("client"), &format!("udp {} --bind {bind}", route.words()));
        assert_answered("client", &route, &said, "0.");
        assert_eq!(said["local"], said["0.server.caller"], "{route:?}");
    }
}

// KERNEL 6: with one record a socket, all answers got the label of the last Service.
#[test]
fn one_socket_asks_several_services_at_once_and_each_answer_has_its_own_label() {
    let trial = cluster();
    let servers = routes(trial, "server", 7000);
    let others = routes(trial, "other", 7000);
    let twins = trial.service(&place("twin"), 8000);
    for (server, other) in servers.iter().zip(&others).filter(|(server, _)| server.to != server.lands) {
        let twin = twins.iter().find(|twin| twin.is_ipv4() == server.to.is_ipv4()).expect("both families");
        // The other one by its pod's address: no translation between two that are translated.
        let words = format!("udp {} {} {twin}{} --count 4", server.to, other.lands, server.flag());
        let said = trial.socket(&place("client"), &words);
        for (number, to) in [server.to, other.lands, *twin].iter().enumerate() {
            let from = said.all(&format!("{number}.from"));
            assert_eq!(from.len(), 4, "{to}: {}", said.text());
            assert!(from.iter().all(|from| *from == to.to_string()), "{to}: {}", said.text());
        }
    }
}

#[test]
fn a_socket_sticks_to_one_endpoint_and_sockets_spread_over_all() {
    let trial = cluster();
    for to in trial.service(&place("twin"), 8000) {
        for flag in if to.is_ipv4() { &["", " --mapped"][..] } else { &[""] } {
            let said = trial.socket(&place("client"), &format!("udp {to}{flag} --sockets 40 --count 4"));
            assert_eq!(said.get("wrong_source"), None, "{}", said.text());
            let mut all = BTreeSet::new();
            for number in 0..40 {
                let hosts = &said[&format!("{number}.hosts")];
                assert!(!hosts.contains(','), "socket {number} was answered by {hosts}");
                all.insert(hosts.to_owned());
            }
            // By chance one of the three is never picked once in 3,600,000 runs: 3 * (2/3)^40.
            assert_eq!(all.len(), 3, "{}", said.text());
        }
    }
}
