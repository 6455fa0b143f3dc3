//! Routes that look at no request: TLSRoute by the name that is asked for, TCPRoute and UDPRoute by weight.

use std::{collections::BTreeMap, net::SocketAddr, time::Instant};

use mesh_tests::{
    http::caller::Ask,
    trial::{Outcome, echo, eventually, web},
};

use super::scene::{FAR, SHOP, SOON, caller, cluster, route_of, service_of};

/// The way of a client and an address of a Service.
fn callers(service: &str, port: u16) -> Vec<(&'static str, SocketAddr)> {
    let addresses = cluster().service(&format!("{SHOP}/{service}"), port);
    addresses.into_iter().flat_map(|to| [("near", to), ("far", to)]).collect()
}

/// TLSRoute: by server name, exact before a pattern; a name that no route has is closed, and nothing is decrypted.
#[test]
fn tls_is_routed_by_the_name_that_is_asked_for() {
    let cluster = cluster();
    let pod = |name: &str| web(SHOP, name).on(FAR).serve_only("--port 8080 --tls 8443");
    let port = "{name: tls, port: 443, targetPort: 8443}";
    let route = |name: &str, host: &str, to: &str| {
        let rules = format!("  - backendRefs: [{{name: {to}, port: 443}}]\n");
        let whole = route_of("TLSRoute", SHOP, name, "name: secret, port: 443", &rules);
        whole.replace("spec:\n", &format!("spec:\n  hostnames: ['{host}']\n"))
    };
    cluster.put_all(
        "secret",
        &[
            &pod("secret-a"),
            &pod("secret-b"),
            &service_of(SHOP, "secret", "secret-a", port),
            &service_of(SHOP, "secret-a", "secret-a", port),
            &service_of(SHOP, "secret-b", "secret-b", port),
            &route("secret-exact", "a.shop.test", "secret-a"),
            &route("secret-any", "*.shop.test", "secret-b"),
        ],
    );
    for (from, to) in callers("secret", 443) {
        let ask = |name: &str| caller(from).ask(&Ask::get(to, "/x").tls(name));
        let pod = |name: &str| ask(name).ok().and_then(|answer| answer.seen()).map(|seen| seen.pod);
        eventually(&format!("{from} -> {to}: by name"), SOON, || {
            let (a, b) = (pod("a.shop.test"), pod("b.shop.test"));
            (a.as_deref() == Some("secret-a") && b.as_deref() == Some("secret-b")).then_some(())
        });
        for (name, expected) in [
            ("a.shop.test", Some("secret-a")),
            ("b.shop.test", Some("secret-b")),
            ("deep.b.shop.test", Some("secret-b")),
            ("shop.test", None),
            ("other.test", None),
        ] {
            let start = Instant::now();
            assert_eq!(pod(name).as_deref(), expected, "{from} -> {to}: {name}");
            assert!(start.elapsed().as_secs() < 5, "{from} -> {to}: {name} is closed at once");
        }
        let through = ask("a.shop.test").expect("an answer").seen().expect("the server's");
        assert!(
            !through.headers.iter().any(|(name, _)| name == "x-request-id"),
            "nobody reads in TLS: {through:?}"
        );
    }
}

/// Which pods answered a number of calls, and how often there was no answer.
fn shares(outcomes: Vec<Outcome>) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for outcome in outcomes {
        let who = match outcome {
            Outcome::Answered(answer) => answer.host().to_owned(),
            Outcome::Failed(failed) => failed.errno,
        };
        *shares.entry(who).or_default() += 1;
    }
    shares
}

/// TCPRoute and UDPRoute: connections and datagrams by weight, not through the engine.
#[test]
fn connections_and_datagrams_are_shared_by_weight() {
    let cluster = cluster();
    let ports =
        "{name: tcp, port: 90, targetPort: 7000}, {name: udp, port: 91, targetPort: 7001, protocol: UDP}";
    let pod = |name: &str| echo(SHOP, name).on(FAR).serve_only("--tcp 7000 --udp 7001");
    let rules = |port: u16, first: u8, second: u8| {
        format!(
            "  - backendRefs: [{{name: raw-a, port: {port}, weight: {first}}}, {{name: raw-b, port: {port}, weight: {second}}}]\n"
        )
    };
    let routes = |first: u8, second: u8| {
        let tcp = route_of("TCPRoute", SHOP, "raw-tcp", "name: raw, port: 90", &rules(90, first, second));
        tcp + "---\n"
            + &route_of("UDPRoute", SHOP, "raw-udp", "name: raw, port: 91", &rules(91, first, second))
    };
    let services = ["raw-a", "raw-b"].map(|name| service_of(SHOP, name, name, ports));
    let front = service_of(SHOP, "raw", "raw-a", ports);
    cluster
        .put_all("raw", &[&pod("raw-a"), &pod("raw-b"), &services[0], &services[1], &front, &routes(80, 20)]);
    let ways = |protocol: &'static str, port: u16| -> Vec<(&'static str, &'static str, SocketAddr)> {
        callers("raw", port).into_iter().map(|(from, to)| (protocol, from, to)).collect()
    };
    let all: Vec<_> = ways("tcp", 90).into_iter().chain(ways("udp", 91)).collect();
    let call = |(protocol, from, to): &(&str, &str, SocketAddr), count: &str| {
        shares(cluster.calls(&format!("{SHOP}/{from}"), protocol, to, &["--count", count]))
    };
    for way in &all {
        eventually(&format!("{way:?}: both are asked"), SOON, || {
            call(way, "40").into_keys().eq(["raw-a", "raw-b"]).then_some(())
        });
        let shares = call(way, "200");
        let second = shares.get("raw-b").copied().unwrap_or_default();
        assert!(shares.keys().eq(["raw-a", "raw-b"]), "{way:?}: all are answered: {shares:?}");
        assert!((20..=62).contains(&second), "{way:?}: 20 of 100 go to raw-b: {shares:?}");
    }
    cluster.put(
        "raw",
        [pod("raw-a").to_string(), pod("raw-b").to_string(), services.join("---\n"), front, routes(0, 100)]
            .join("---\n"),
    );
    for way in &all {
        eventually(&format!("{way:?}: only the second is asked"), SOON, || {
            (call(way, "40").into_keys().eq(["raw-b".to_owned()])).then_some(())
        });
    }
    let routed: f64 = ["node-1", "node-2"]
        .iter()
        .map(|node| cluster.metric(node, "mesh_requests_total", &[("destination_service", "raw")]))
        .sum();
    assert_eq!(routed, 0.0, "no request was looked at");
}
