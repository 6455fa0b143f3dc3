//! Connected sockets.

use mesh_tests::socket::plaza::{Route, place, routes, unmapped};

use crate::{assert_answered, cluster};

#[test]
fn a_connected_socket_sees_the_address_it_dialled() {
    let trial = cluster();
    for port in [7000, 7001] {
        for route in
            routes(trial, "server", port).into_iter().filter(|route| port == 7000 || route.to.is_ipv4())
        {
            let said =
                trial.socket(&place("client"), &format!("udp {} --connected --count 3", route.words()));
            assert_eq!(said.all("0.from").len(), 3, "three questions, three answers: {}", said.text());
            assert_answered("client", &route, &said, "0.");
            assert_eq!(&said["0.peer"], route.to.to_string(), "{route:?}");
            assert_eq!(
                said["0.local"], said["0.server.caller"],
                "getsockname is what the server sees: {route:?}"
            );
        }
    }
}

#[test]
fn a_bound_and_connected_socket_keeps_its_address() {
    let trial = cluster();
    let own = trial.pod(&place("client")).addresses;
    for route in unmapped(routes(trial, "server", 7000)) {
        let bind = own.iter().find(|own| own.is_ipv4() == route.to.is_ipv4()).expect("both families");
        let said =
            trial.socket(&place("client"), &format!("udp {} --connected --bind {bind}", route.words()));
        assert_answered("client", &route, &said, "0.");
    }
}

#[test]
fn a_socket_connects_to_another_service_with_and_without_af_unspec_in_between() {
    let trial = cluster();
    for unspec in ["", " --unspec"] {
        for (first, second) in pairs() {
            let words = format!("reconnect {} {}{} --udp{unspec}", first.to, second.to, second.flag());
            let said = trial.socket(&place("client"), &words);
            assert_answered("client", &first, &said, "first.");
            assert_answered("client", &second, &said, "second.");
            assert_eq!(&said["second.peer"], second.to.to_string(), "{second:?}");
            if !unspec.is_empty() {
                assert_eq!(&said["unspec.peer"], "ENOTCONN", "{first:?}");
            }
        }
    }
}

/// Every route to one server with every route to another that the same socket can take.
fn pairs() -> Vec<(Route, Route)> {
    let others = routes(cluster(), "other", 7000);
    let firsts = routes(cluster(), "server", 7000);
    let fits = |a: &Route, b: &Route| a.mapped == b.mapped && a.to.is_ipv4() == b.to.is_ipv4();
    let pairs = firsts.iter().flat_map(|first| {
        others.iter().filter(|second| fits(first, second)).map(|second| (first.clone(), second.clone()))
    });
    pairs.collect()
}
