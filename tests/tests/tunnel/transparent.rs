//! SEMANTICS 7: whatever way is taken, both applications see each other and nobody else.

use mesh_tests::{
    socket::plaza::{assert_transparent, routes, routes_to, service, unmapped},
    trial::eventually,
};
use serde_json::Value;

use super::{FAR, NEAR, SERVE, SOON, cluster, pod, put_pair, tunnelled};

/// SEMANTICS 7.4 and 7.6: getpeername, getsockname and accept, by Service and pod address, in both families.
#[test]
fn both_ends_see_each_other_whichever_way_is_dialled() {
    let cluster = put_pair("seen", "");
    for route in routes(cluster, "seen-server", 7000) {
        let said = tunnelled(1, || cluster.socket("sock/seen-client", &format!("connect {}", route.words())));
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
        let connect = || cluster.socket("sock/back-client", &format!("connect {}", route.words()));
        eventually("the server answers", SOON, || (connect().get("answer") == Some("ok")).then_some(()));
        let said = tunnelled(1, connect);
        assert_transparent(cluster, "back-client", &route, &said, "");
    }
}

/// A server of IPv4 only, a non-blocking connect, a bound source, Multipath TCP: sockets are used in many ways.
#[test]
fn sockets_of_every_kind_are_served() {
    let cluster = put_pair("kinds", "");
    let own = cluster.pod("sock/kinds-client").addresses;
    for server in cluster.pod("sock/kinds-server").addresses {
        let own = own.iter().find(|own| own.is_ipv4() == server.is_ipv4()).expect("a pod has both families");
        let to = std::net::SocketAddr::new(server, 7000);
        let mut kinds = vec![
            ("a connect that does not wait", format!("connect {to} --nonblocking")),
            ("a bound source", format!("connect {to} --bind {own}")),
            ("a bound device", format!("connect {to} --device eth0")),
            ("Multipath TCP", format!("connect {to} --mptcp")),
        ];
        if server.is_ipv4() {
            kinds.push(("a server of IPv4 only", format!("connect {server}:7004")));
        }
        for (what, words) in kinds {
            let said = tunnelled(1, || cluster.socket("sock/kinds-client", &words));
            assert_eq!(said.get("answer"), Some("ok"), "{what}: {}", said.text());
            let ip = |key: &str| said[key].parse::<std::net::SocketAddr>().map(|address| address.ip());
            assert_eq!(ip("peer"), Ok(server), "{what}: {}", said.text());
            assert_eq!(ip("server.accepted"), Ok(*own), "{what}: {}", said.text());
            assert_eq!(&said["server.accepted"], &said["local"], "{what}: {}", said.text());
        }
    }
}

/// Issue: a server that speaks first is heard before the client has said anything.
#[test]
fn a_server_that_speaks_first_is_heard() {
    let cluster = put_pair("greet", "");
    for route in routes(cluster, "greet-server", 7001) {
        let said = tunnelled(1, || {
            cluster.socket("sock/greet-client", &format!("connect {} --greeted", route.words()))
        });
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

/// Both ends' logs name the other's identity, and say that it was proven through the tunnel: by every route.
#[test]
fn both_nodes_log_the_others_name() {
    let cluster = put_pair("named", "");
    for route in unmapped(routes(cluster, "named-server", 7000)) {
        let said = cluster.socket("sock/named-client", &format!("connect {}", route.words()));
        assert_eq!(said.get("answer"), Some("ok"), "{route:?}: {}", said.text());
        let wanted = serde_json::json!({
            "source.address": said["local"],
            "source.identity": "spiffe://cluster.local/ns/sock/sa/named-client",
            "destination.address": route.lands,
            "destination.identity": "spiffe://cluster.local/ns/sock/sa/named-server",
            "proof": "mtls",
            "transport": "tunnel",
            "verdict": "allowed",
        });
        for (node, reporter) in [(NEAR, "source"), (FAR, "destination")] {
            let mut told = Vec::new();
            eventually(&format!("{node} logs the end of {route:?} from {}", &said["local"]), SOON, || {
                told = lines(cluster, node, (&said["local"], &route.lands.to_string()), reporter);
                (!told.is_empty()).then_some(())
            });
            for (field, value) in wanted.as_object().into_iter().flatten() {
                let pointer = format!("/{}", field.replace('.', "/"));
                let last = told.last().and_then(|line| line.pointer(&pointer));
                assert_eq!(last, Some(value), "{field} in {told:?}");
            }
        }
    }
}

/// A node's lines about connections from this address and port to that one; the source's port alone may have been used
/// for another connection before.
fn lines(
    cluster: &mesh_tests::trial::Trial,
    node: &str,
    (source, destination): (&str, &str),
    reporter: &str,
) -> Vec<Value> {
    let log = cluster.access_log();
    let ours = log.iter().filter(|(at, _)| at == node);
    ours.filter_map(|(_, line)| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["source"]["address"] == source && line["destination"]["address"] == destination)
        .filter(|line| line["reporter"] == reporter)
        .collect()
}
