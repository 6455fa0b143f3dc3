//! SEMANTICS 7: whatever way is taken, both applications see each other and nobody else.

use mesh_tests::{
    socket::plaza::{assert_transparent, routes, routes_to, service},
    trial::eventually,
};

use super::{FAR, NEAR, SERVE, SOON, cluster, pod, put_pair};

/// SEMANTICS 7.4 and 7.6: getpeername, getsockname and accept, by Service and pod address, in both families.
#[test]
fn both_ends_see_each_other_whichever_way_is_dialled() {
    let cluster = put_pair("seen", "");
    for route in routes(cluster, "seen-server", 7000) {
        let said = cluster.socket("sock/seen-client", &format!("connect {}", route.words()));
        assert_transparent(cluster, "seen-client", &route, &said, "");
    }
}

/// The same from the other node to this one.
#[test]
fn the_other_way_round_it_is_the_same() {
    let cluster = cluster();
    cluster.put(
        "back",
        pod("back-client", FAR, "exec sleep infinity")
            + &pod("back-server", NEAR, SERVE)
            + &service("back-server", "back-server", &[(7000, "TCP")]),
    );
    for route in routes_to(cluster, "back-server", "back-server", 7000) {
        let said = eventually("the server answers", SOON, || {
            let said = cluster.socket("sock/back-client", &format!("connect {}", route.words()));
            (said.get("answer") == Some("ok")).then_some(said)
        });
        assert_transparent(cluster, "back-client", &route, &said, "");
    }
}

/// A server of IPv4 only, a non-blocking connect, a bound source, Multipath TCP: sockets are used in many ways.
#[test]
fn sockets_of_every_kind_are_served() {
    let cluster = put_pair("kinds", "");
    let server = cluster.pod("sock/kinds-server").addresses;
    let v4 = server.iter().find(|address| address.is_ipv4()).expect("a pod has an IPv4 address");
    let own = cluster.pod("sock/kinds-client").addresses;
    let own = own.iter().find(|address| address.is_ipv4()).expect("a pod has an IPv4 address");
    for (what, words) in [
        ("a server of IPv4 only", format!("connect {v4}:7004")),
        ("a connect that does not wait", format!("connect {v4}:7000 --nonblocking")),
        ("a bound source", format!("connect {v4}:7000 --bind {own}")),
        ("a bound device", format!("connect {v4}:7000 --device eth0")),
        ("Multipath TCP", format!("connect {v4}:7000 --mptcp")),
    ] {
        let said = cluster.socket("sock/kinds-client", &words);
        assert_eq!(said.get("answer"), Some("ok"), "{what}: {}", said.text());
        assert!(said["peer"].starts_with(&v4.to_string()), "{what}: {}", said.text());
        let accepted = &said["server.accepted"];
        assert!(accepted.starts_with(&own.to_string()), "{what}: {}", said.text());
        assert_eq!(accepted, &said["local"], "{what}: {}", said.text());
    }
}

/// Issue: a server that speaks first is heard before the client has said anything.
#[test]
fn a_server_that_speaks_first_is_heard() {
    let cluster = put_pair("greet", "");
    for route in routes(cluster, "greet-server", 7001) {
        let said = cluster.socket("sock/greet-client", &format!("connect {} --greeted", route.words()));
        assert_eq!(said.get("greeting"), Some("hello"), "{route:?}: {}", said.text());
        assert_transparent(cluster, "greet-client", &route, &said, "");
    }
}

/// SEMANTICS 6.3: a headless Service's name leads to the pod's own address, through the tunnel.
#[test]
fn a_headless_services_name_is_dialled_through_the_tunnel() {
    let headless = "---\napiVersion: v1\nkind: Service\nmetadata: {name: bare, namespace: sock}\n\
         spec: {clusterIP: None, selector: {app: bare-server}, ports: [{name: tcp, port: 7000}]}\n";
    let cluster = put_pair("bare", headless);
    let tunnelled = || cluster.metric(NEAR, "mesh_kernel_tunnelled_total", &[]);
    let before = tunnelled();
    for family in ["-4", "-6"] {
        let outcome = eventually("the name answers", SOON, || {
            let outcome = cluster.call("sock/bare-client", "tcp", "bare.sock:7000", &[family]);
            matches!(outcome, mesh_tests::trial::Outcome::Answered(_)).then_some(outcome)
        });
        let answer = outcome.answer();
        assert_eq!(answer.word("accepted"), answer.local.to_string(), "{answer:?}");
        assert_eq!(answer.peer.port(), 7000, "{answer:?}");
    }
    eventually("the kernel counts them as tunnelled", SOON, || (tunnelled() >= before + 2.0).then_some(()));
}

/// Both ends' logs name the other's proven identity.
#[test]
fn both_nodes_log_the_others_name() {
    let cluster = put_pair("named", "");
    let to = routes(cluster, "named-server", 7000)[0].clone();
    let said = cluster.socket("sock/named-client", &format!("connect {}", to.words()));
    let source = said["local"].to_owned();
    let (client, server) =
        ("spiffe://cluster.local/ns/sock/sa/named-client", "spiffe://cluster.local/ns/sock/sa/named-server");
    for node in [NEAR, FAR] {
        eventually(&format!("{node} logs both names for {source}"), SOON, || {
            let log = cluster.access_log();
            log.iter()
                .any(|(at, line)| {
                    at == node && line.contains(&source) && line.contains(client) && line.contains(server)
                })
                .then_some(())
        });
    }
}
