//! One socket, two connects: nothing of the first may be left in the second.

use mesh_tests::socket::plaza::{Route, assert_transparent, place, routes};

use crate::cluster;

#[test]
fn a_connect_after_a_refused_one_on_the_same_socket_is_as_new() {
    let trial = cluster();
    let closed = routes(trial, "server", 7999);
    for (first, second) in closed.iter().zip(routes(trial, "other", 7000)) {
        after_failure(first, &second, "ECONNREFUSED");
    }
}

#[test]
fn a_connect_after_a_denied_one_on_the_same_socket_is_as_new() {
    let trial = cluster();
    for (first, second) in routes(trial, "vault", 7000).iter().zip(routes(trial, "other", 7000)) {
        after_failure(first, &second, "EPERM");
    }
}

#[test]
fn a_connect_after_one_without_endpoint_on_the_same_socket_is_as_new() {
    let trial = cluster();
    for to in trial.service(&place("nobody"), 8000) {
        for second in
            routes(trial, "other", 7000).into_iter().filter(|route| route.to.is_ipv4() == to.is_ipv4())
        {
            let first = Route { to, ..second.clone() };
            after_failure(&first, &second, "EHOSTUNREACH");
        }
    }
}

fn after_failure(first: &Route, second: &Route, errno: &str) {
    let said =
        cluster().socket(&place("client"), &format!("reconnect {} {}{}", first.to, second.to, second.flag()));
    assert_eq!(&said["first"], errno, "{first:?}");
    assert_eq!(&said["second"], "ok", "{second:?}");
    assert_transparent(cluster(), "client", second, &said, "second.");
}

#[test]
fn a_socket_disconnected_by_af_unspec_connects_elsewhere() {
    let trial = cluster();
    let elsewhere = routes(trial, "other", 7000);
    for (number, first) in routes(trial, "server", 7000).iter().enumerate() {
        // The same family and form, by Service and by pod in turn.
        let like = |route: &&Route| route.mapped == first.mapped && route.to.is_ipv4() == first.to.is_ipv4();
        let fitting: Vec<&Route> = elsewhere.iter().filter(like).collect();
        let second = fitting[number % fitting.len()];
        let words = format!("reconnect {} {}{} --unspec", first.to, second.to, second.flag());
        let said = trial.socket(&place("client"), &words);
        assert_transparent(trial, "client", first, &said, "first.");
        assert_eq!((&said["unspec"], &said["unspec.peer"]), ("ok", "ENOTCONN"), "{first:?}");
        assert_transparent(trial, "client", second, &said, "second.");
    }
}

#[test]
fn a_socket_disconnected_by_af_unspec_is_denied_what_a_new_one_is() {
    let trial = cluster();
    for (first, vault) in routes(trial, "server", 7000).iter().zip(routes(trial, "vault", 7000)) {
        let words = format!("reconnect {} {}{} --unspec", first.to, vault.to, vault.flag());
        let said = trial.socket(&place("client"), &words);
        assert_eq!((&said["first"], &said["second"]), ("ok", "EPERM"), "{first:?} {vault:?}");
    }
}
