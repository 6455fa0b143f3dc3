//! What the mesh tells of requests: metrics, the access log, and what `meshctl` says of them beforehand.

use std::time::Duration;

use mesh_tests::trial::eventually;
use serde_json::Value;

use super::{
    access::{denies, guarded},
    scene::{FAR, NEAR, SHOP, SOON, cluster, refused, route, routed, seen, service, ways},
};

/// docs/telemetry.md: a request that was routed is counted and logged once by its client's node, with route, rule and
/// backend; one that was not as well, with why.
#[test]
fn requests_are_counted_and_logged_with_what_decided() {
    let rules =
        "  - name: known\n    matches: [{path: {value: /known}}]\n    backendRefs: [{name: two, port: 80}]\n";
    cluster().put_all("told", &[&service(SHOP, "told-of", "one"), &route("told-of", rules)]);
    let ways = ways("told-of");
    routed(&ways, "/known");
    std::thread::sleep(Duration::from_secs(1));
    let count = |labels: &[(&str, &str)]| -> f64 {
        [NEAR, FAR].iter().map(|node| cluster().metric(node, "mesh_requests_total", labels)).sum()
    };
    let known = [
        ("route", "HTTPRoute/shop/told-of"),
        ("route_rule", "known"),
        ("backend", "shop/two:80"),
        ("response_code", "200"),
    ];
    let unknown = [("ending", "NoRoute"), ("response_code", "404")];
    let before = (count(&known), count(&unknown));
    for (index, way) in ways.iter().enumerate() {
        let id = format!("told-{index}");
        let ask = |target: &str| way.ask(&way.get(target).header("x-request-id", &id));
        seen(way, &ask("/known/x?secret=1"));
        refused(way, &ask("/other"), 404, "NoRoute");
        let lines = eventually(&format!("{way}: both are logged"), SOON, || {
            let lines: Vec<Value> = cluster()
                .access_log()
                .iter()
                .filter_map(|(_, line)| serde_json::from_str::<Value>(line).ok())
                .filter(|line| line["request_id"] == id.as_str())
                .collect();
            (lines.len() >= 2).then_some(lines)
        });
        assert_eq!(lines.len(), 2, "{way}: once each: {lines:?}");
        let line = |path: &str| lines.iter().find(|line| line["path"] == path).expect("it is logged");
        let (found, lost) = (line("/known/x"), line("/other"));
        for (field, value) in [
            ("route", "HTTPRoute/shop/told-of"),
            ("route_rule", "known"),
            ("backend", "shop/two:80"),
            ("method", "GET"),
            ("verdict", "allowed"),
        ] {
            assert_eq!(found[field], value, "{way}: {found}");
        }
        assert_eq!((&found["status"], &lost["status"]), (&200.into(), &404.into()), "{way}: {found} {lost}");
        assert_eq!(
            (&lost["verdict"], &lost["reason"]),
            (&"failed".into(), &"NoRoute".into()),
            "{way}: {lost}"
        );
        let pod = |line: &Value| line["source"]["pod"].clone();
        assert_eq!((pod(found), pod(lost)), (way.from.into(), way.from.into()), "{way}");
        assert!(!found.to_string().contains("secret"), "{way}: no query is logged: {found}");
    }
    eventually("each is counted", SOON, || {
        let now = (count(&known), count(&unknown));
        (now == (before.0 + 8.0, before.1 + 8.0)).then_some(())
    });
}

/// Issue: `can` answers about a request from what relay loaded, and as the request itself is answered.
#[test]
fn can_says_of_a_request_what_becomes_of_it() {
    let rules = "ingress: [{name: read, ports: [{port: http}], http: [{methods: [GET], paths: [{prefix: /open}]}, \
                 {headers: [{name: x-tier, exact: gold}]}]}]";
    let ways = guarded("asked", rules);
    denies(&ways, |way| way.get("/"));
    for from in ["near", "far"] {
        for (request, expected) in [
            (&["GET", "/open/x"][..], Some(0)),
            (&["PUT", "/open/x"][..], Some(1)),
            (&["GET", "/open/../shut"][..], Some(1)),
            (&["PUT", "/any", "-H", "x-tier: gold"][..], Some(0)),
        ] {
            let (client, server) = (format!("{SHOP}/{from}"), format!("svc/{SHOP}/asked:80"));
            let arguments = [&["can", &client, &server][..], request].concat();
            let output = cluster().meshctl(&arguments);
            let text = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), expected, "{arguments:?}: {text}");
        }
    }
}

/// Issue: `explain svc` shows the routes that apply to a caller, in order.
#[test]
fn explain_shows_the_routes_in_their_order() {
    let rules = "  - name: rest\n    backendRefs: [{name: one, port: 80}]\n  \
                 - name: first\n    matches: [{path: {type: Exact, value: /first}}]\n    backendRefs: [{name: two, port: 80}]\n";
    cluster().put_all("shown", &[&service(SHOP, "shown", "one"), &route("shown", rules)]);
    routed(&ways("shown"), "/first");
    let output = cluster().meshctl(&["explain", "svc/shop/shown", "--from", SHOP]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let at = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word} is not in:\n{text}"));
    assert!(at("HTTPRoute/shop/shown first") < at("HTTPRoute/shop/shown rest"), "{text}");
    at("backend shop/two:80");
}
