//! What is not one plain request and answer: interim answers, trailers, uploads that wait, and what is no HTTP at all.

use std::time::{Duration, Instant};

use mesh_tests::{
    http::{
        caller::Ask,
        order::{Content, Version, field},
        steer,
    },
    socket::plaza,
    trial::{Outcome, echo, eventually, web},
};

use super::scene::{
    FAR, SHOP, SOON, cluster, policy, route, route_of, routed, seen, service, service_of, settles, ways,
    ways_to,
};

const ONE: &str = "  - backendRefs: [{name: one, port: 80}]\n";

/// RFC 9110: trailers both ways, chunked bodies, 1xx, HEAD, 204 and `Expect`.
#[test]
fn what_http_has_comes_through() {
    let hints = web(SHOP, "hints").on(FAR).serve("--hints 8081");
    let early = service_of(SHOP, "hints", "hints", "{name: http, port: 80, targetPort: 8081}");
    let rules = format!(
        "  - matches: [{{path: {{value: /early}}}}]\n    backendRefs: [{{name: hints, port: 80}}]\n{ONE}"
    );
    cluster().put_all("http", &[&hints, &early, &service(SHOP, "whole", "one"), &route("whole", &rules)]);
    let ways = ways("whole");
    routed(&ways, "/");
    settles("both backends answer", &ways, |way| match way.try_ask(&way.get("/early"))? {
        early if early.status() == 200 => Ok(()),
        early => Err(format!("{early:?}")),
    });
    for way in &ways {
        let ask = way.get("/").method("POST").content(Content::Text("hello".to_owned()));
        let ask = ask.trailer("x-sum", "5").header("trailer", "x-sum").header("te", "trailers");
        let answer = way.ask(&ask.header(steer::TRAILER, "x-back=6").header(steer::PIECES, 5));
        let there = seen(way, &answer);
        assert_eq!(
            (there.text.as_str(), field(&there.trailers, "x-sum")),
            ("hello", "5"),
            "{way}: {there:?}"
        );
        assert_eq!(field(&answer.trailers, "x-back"), "6", "{way}: {answer:?}");

        let early = way.answer("/early");
        assert_eq!((early.status(), early.text.as_str()), (200, "hints"), "{way}: {early:?}");
        // In HTTP/2 the client's library keeps them to itself.
        let interim: &[u16] = if way.version == Version::Http1 { &[103] } else { &[] };
        assert_eq!(early.head.interim, interim, "{way}: {early:?}");

        let head = way.ask(&way.get("/").method("HEAD"));
        assert_eq!((head.status(), head.length), (200, 0), "{way}: {head:?}");
        let none = way.ask(&way.get("/").header(steer::STATUS, 204));
        assert_eq!((none.status(), none.length), (204, 0), "{way}: {none:?}");
        let waits = way.get("/").method("PUT").header("expect", "100-continue");
        let waited = way.ask(&waits.content(Content::Octets { length: 300_000, chunked: false }));
        let there = seen(way, &waited);
        assert_eq!((there.length, there.intact), (300_000, true), "{way}: {there:?}");
    }
}

/// The server that breaks off is 502 or 503, not a hanging or reset connection, and the next request is served.
#[test]
fn a_server_that_breaks_off_is_told_as_an_answer() {
    cluster().put_all("breaks", &[&service(SHOP, "breaks", "one"), &route("breaks", ONE)]);
    let ways = ways("breaks");
    routed(&ways, "/");
    for way in &ways {
        let connection = format!("breaks {way}");
        let broken = way.ask(&way.get("/").header(steer::BREAK, "yes").over(&connection));
        assert!(matches!(broken.status(), 502 | 503), "{way}: {broken:?}");
        assert_eq!(broken.header("x-mesh-reason"), "UpstreamReset", "{way}: {broken:?}");
        let after = way.ask(&way.get("/").over(&connection));
        seen(way, &after);
        assert_eq!(after.head.local, broken.head.local, "{way}: over the same connection");
    }
}

/// Trace headers and an id of the request's own are passed on as they came.
#[test]
fn identifiers_are_passed_on() {
    cluster().put_all("traced", &[&service(SHOP, "traced", "one"), &route("traced", ONE)]);
    let ways = ways("traced");
    routed(&ways, "/");
    let own = [
        ("x-request-id", "my-own-id"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "a=b"),
        ("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1"),
    ];
    for way in &ways {
        let ask = own.iter().fold(way.get("/"), |ask, (name, value)| ask.header(name, value));
        let seen = seen(way, &way.ask(&ask));
        for (name, value) in own {
            assert_eq!(field(&seen.headers, name), value, "{way}: {seen:?}");
        }
    }
}

/// SEMANTICS 5.4: on a port with a rule about requests, what is no HTTP passes only for whom a rule without one allows.
#[test]
fn what_is_no_http_passes_only_by_a_rule_without_requests() {
    let cluster = cluster();
    let pod = echo(SHOP, "raw-guarded").on(FAR).serve_only("--tcp 7000").named("raw", 7000);
    cluster.put("raw-guarded", pod);
    let targets = cluster.resolve("shop/raw-guarded:7000");
    let call = |from: &str, to| cluster.call(&format!("{SHOP}/{from}"), "tcp", to, &["--send", "WHO"]);
    for &to in &targets {
        eventually("it answers", SOON, || matches!(call("near", to), Outcome::Answered(_)).then_some(()));
    }
    let rules = "ingress: [{name: requests, ports: [{port: raw}], http: [{methods: [GET]}]}, \
                 {name: raw, from: [{serviceAccounts: [far]}], ports: [{port: raw}]}]";
    cluster.put("raw-guarded-policy", policy("raw-guarded", "raw-guarded", rules));
    for &to in &targets {
        eventually(&format!("near -> {to} is refused"), SOON, || {
            matches!(call("near", to), Outcome::Failed(_)).then_some(())
        });
        eventually("the log says why", SOON, || {
            cluster.denials().iter().any(|line| line.field("reason") == "L7RequiredNotHTTP").then_some(())
        });
        let outcome = call("far", to);
        assert!(matches!(outcome, Outcome::Answered(_)), "far -> {to}: {outcome:?}");
    }
}

/// Issue: a server that speaks first is never stalled, on a port whose protocol nobody has said.
#[test]
fn a_server_that_speaks_first_is_not_stalled() {
    let cluster = cluster();
    let pod = plaza::pod("greeter", "exec mesh-socket serve --tcp 7000 --greet 7001");
    let rules =
        "ingress: [{ports: [{port: 7001}], http: [{methods: [GET]}]}, {name: rest, ports: [{port: 7001}]}]";
    let guard = policy("greeter", "greeter", rules).replace(&format!("namespace: {SHOP}"), "namespace: sock");
    cluster.put_all("greeter", &[&pod.replacen("nodeName: node-1", &format!("nodeName: {FAR}"), 1), &guard]);
    for from in ["shop/near", "shop/far"] {
        for to in cluster.resolve("sock/greeter:7001") {
            eventually(&format!("{from} -> {to} is greeted at once"), SOON, || {
                let start = Instant::now();
                // It sends nothing before the greeting has come.
                let said = cluster.socket(from, &format!("connect {to} --greeted"));
                let at_once = start.elapsed() < Duration::from_secs(1);
                (said.get("greeting") == Some("hello") && at_once).then_some(())
            });
        }
    }
}

/// docs/routes.md: a route without a port leaves the ports alone of which the Service says that they are no HTTP.
#[test]
fn a_route_without_a_port_leaves_other_protocols_alone() {
    let cluster = cluster();
    let pod = echo(SHOP, "mixed").on(FAR).serve_only("--http 8080 --tcp 7000");
    let ports = "{name: http, port: 80, targetPort: 8080}, {name: tcp-data, port: 5432, targetPort: 7000}";
    let front = service_of(SHOP, "mixed", "mixed", ports);
    cluster.put_all("mixed", &[&pod, &front, &route_of("HTTPRoute", SHOP, "mixed", "name: mixed", ONE)]);
    routed(&ways("mixed"), "/");
    for to in cluster.service("shop/mixed", 5432) {
        for from in ["shop/near", "shop/far"] {
            let outcome = cluster.call(from, "tcp", to, &["--send", "WHO"]);
            assert_eq!(outcome.answer().host(), "mixed", "{from} -> {to}");
        }
    }
}

/// WebSocket in both versions, through a route and to the pod itself with a rule about requests.
#[test]
fn websockets_open_in_both_versions() {
    cluster().put_all("sockets", &[&service(SHOP, "sockets", "one"), &route("sockets", ONE)]);
    let ways = ways("sockets");
    routed(&ways, "/");
    let every = Duration::from_millis(10);
    for way in &ways {
        let mut open = way.caller.begin(&Ask::web_socket(way.to, "/ws", every).version(way.version));
        let head = open.goes_on(20, SOON).unwrap_or_else(|end| panic!("{way}: {end:?}"));
        let status = if way.version == Version::Http1 { 101 } else { 200 };
        assert_eq!((head.status, field(&head.headers, "x-pod")), (status, "one"), "{way}: {head:?}");
        assert!(!field(&head.headers, "x-request-id").is_empty(), "{way}: through the engine: {head:?}");
    }
    let direct = ways_to(&cluster().service("shop/one", 80));
    settles("without a route they open as well", &direct, |way| {
        let mut open = way.caller.begin(&Ask::web_socket(way.to, "/ws", every).version(way.version));
        open.goes_on(3, Duration::from_secs(5)).map(drop).map_err(|end| format!("{end:?}"))
    });
}
