//! Where requests go: weights, what is wrong with a backend, and which endpoint of a Service.

use mesh_tests::{
    http::{caller::Ask, order::Content},
    trial::{eventually, web},
};

use super::{
    scene::{
        FAR, NEAR, SHOP, SOON, Way, caller, cluster, refused, route, route_of, routed, seen, seen_by_engine,
        seen_directly, service, settles, ways, ways_of_grpc,
    },
    weight::{Tally, while_asking},
};

fn weights(one: u32, two: u32) -> String {
    format!(
        "  - backendRefs: [{{name: one, port: 80, weight: {one}}}, {{name: two, port: 80, weight: {two}}}]\n"
    )
}

/// Issue, 1: a canary of 90 to 10 is shifted to 0 to 100 while requests run, and none of them fails.
#[test]
fn weights_are_kept_and_shifted_live_without_a_failed_request() {
    let cluster = cluster();
    cluster.put_all("canary", &[&service(SHOP, "canary", "one"), &route("canary", &weights(90, 10))]);
    let ways = ways("canary");
    routed(&ways, "/");
    let before = Tally::of(&ways, 100);
    assert_eq!(before.failures, [""; 0]);
    let share = before.share("two");
    assert!((0.06..0.15).contains(&share), "10 of 100 go to the canary: {before:?}");
    let ((), during) = while_asking(&ways, || {
        cluster.put_all("canary", &[&service(SHOP, "canary", "one"), &route("canary", &weights(0, 100))]);
        settles("all go to the canary", &ways, |way| {
            let pods: Vec<String> = (0..20).map(|_| seen(way, &way.answer("/")).pod).collect();
            if pods.iter().all(|pod| pod == "two") { Ok(()) } else { Err(format!("{pods:?}")) }
        });
    });
    assert_eq!(during.failures, [""; 0], "{:?}", during.pods);
    let after = Tally::of(&ways, 50);
    assert_eq!((after.share("two"), after.failures.len()), (1.0, 0), "{after:?}");
}

/// HTTPBackendRef: one that is not there is answered 500 for its share; the status says which.
#[test]
fn a_backend_that_is_not_there_is_answered_500_for_its_share() {
    let rules = "  - backendRefs: [{name: one, port: 80, weight: 1}, {name: gone, port: 80, weight: 1}]\n";
    cluster().put_all("half", &[&service(SHOP, "half", "one"), &route("half", rules)]);
    let ways = ways("half");
    for way in &ways {
        eventually(&format!("{way}: the route is in force"), SOON, || {
            let answer = way.try_ask(&way.get("/")).ok()?;
            (answer.status() == 500).then_some(())
        });
    }
    let mut failed = 0;
    for way in &ways {
        for _ in 0..40 {
            let answer = way.answer("/");
            match answer.status() {
                500 => {
                    refused(way, &answer, 500, "BadRoute");
                    failed += 1;
                }
                _ => assert_eq!(seen(way, &answer).pod, "one", "{way}"),
            }
        }
    }
    assert!((110..210).contains(&failed), "{failed} of 320 requests, with half of the weight");
    let refs = eventually("the route says so", SOON, || {
        cluster().condition("HTTPRoute", "shop/half", "ResolvedRefs")
    });
    assert_eq!((refs.status.as_str(), refs.reason.as_str()), ("False", "BackendNotFound"), "{refs:?}");
    let calls = "  - backendRefs: [{name: gone, port: 80}]\n";
    let parent = "name: half-calls, port: 80";
    cluster().put_all(
        "half-calls",
        &[&service(SHOP, "half-calls", "one"), &route_of("GRPCRoute", SHOP, "half-calls", parent, calls)],
    );
    settles("calls are UNAVAILABLE", &ways_of_grpc("half-calls"), |way| {
        let answer = way.try_ask(&Ask::call(way.to, "/shop.Cart/Add", "x"))?;
        if answer.grpc_status() == "14" { Ok(()) } else { Err(format!("{answer:?}")) }
    });
}

/// A Service without ready endpoints: 503 for its share, not a hanging connection.
#[test]
fn a_service_without_endpoints_is_answered_503() {
    let rules = "  - backendRefs: [{name: nobody, port: 80}]\n";
    cluster().put_all(
        "empty",
        &[&service(SHOP, "empty", "one"), &service(SHOP, "nobody", "nobody"), &route("empty", rules)],
    );
    settles("the route is in force", &ways("empty"), |way| {
        let answer = way.try_ask(&way.get("/"))?;
        let said = (answer.status(), answer.header("x-mesh-reason"));
        if said == (503, "NoEndpoint") { Ok(()) } else { Err(format!("{answer:?}")) }
    });
}

/// Issue: requests of one connection are balanced each for itself, over the endpoints of both nodes; one that goes is
/// not asked any more, and no request fails for it.
#[test]
fn requests_of_one_connection_are_balanced_and_endpoints_come_and_go() {
    let cluster = cluster();
    let pod = |name: &str, node: &str| {
        web("fleet", name)
            .on(node)
            .label("app", "fleet")
            .serve("--drain 3000")
            .spec("terminationGracePeriodSeconds: 10")
    };
    let (a, b, c) = (pod("a", NEAR), pod("b", FAR), pod("c", FAR));
    let rules = "  - backendRefs: [{name: fleet, namespace: fleet, port: 80}]\n";
    let front = route("fleet", rules);
    cluster.put_all("fleet-c", &[&c]);
    cluster.put_all(
        "fleet",
        &[&a, &b, &service("fleet", "fleet", "fleet"), &service(SHOP, "fleet", "one"), &front],
    );
    let ways = ways("fleet");
    routed(&ways, "/");
    for way in &ways {
        let connection = format!("fleet {way}");
        eventually(&format!("{way}: all three are asked over one connection"), SOON, || {
            let asked: Vec<_> = (0..30).map(|_| way.ask(&way.get("/").over(&connection))).collect();
            let locals: std::collections::BTreeSet<_> =
                asked.iter().map(|answer| answer.head.local).collect();
            let pods: std::collections::BTreeSet<_> =
                asked.iter().map(|answer| seen(way, answer).pod).collect();
            (locals.len() == 1 && pods.len() == 3).then_some(())
        });
    }
    let ((), tally) = while_asking(&ways, || {
        cluster.remove("fleet-c");
        cluster.bed().wait_gone("fleet", "c", SOON).unwrap();
    });
    assert_eq!(tally.failures, [""; 0]);
    assert_eq!(Tally::of(&ways, 20).share("c"), 0.0);
}

/// SEMANTICS 6.3: neither a pod's own address nor a headless Service's is routed.
#[test]
fn headless_services_and_pod_addresses_are_not_routed() {
    let cluster = cluster();
    let headless = "apiVersion: v1\nkind: Service\nmetadata: {name: headless, namespace: shop}\n\
                    spec: {clusterIP: None, selector: {app: one}, ports: [{name: http, port: 8080}]}\n";
    let rules = "  - backendRefs: [{name: two, port: 80}]\n";
    let parent = "name: headless, port: 8080";
    cluster.put_all(
        "headless",
        &[
            &headless,
            &route_of("HTTPRoute", SHOP, "headless", parent, rules),
            &service(SHOP, "headed", "one"),
            &route("headed", rules),
        ],
    );
    let refused = cluster.condition("HTTPRoute", "shop/headless", "Accepted").expect("it is judged");
    assert_eq!((refused.status.as_str(), refused.reason.as_str()), ("False", "NoMatchingParent"));
    routed(&ways("headed"), "/");
    assert!(ways("headed").iter().all(|way| seen(way, &way.answer("/")).pod == "two"));
    let own: Vec<_> = cluster.resolve("shop/one:8080");
    for way in super::scene::ways_to(&own) {
        assert_eq!(seen_directly(&way, &way.answer("/")).pod, "one", "{way}");
    }
}

/// SEMANTICS 8: routes are for callers in the mesh; others reach the Service's own endpoints, not through the engine.
#[test]
fn callers_outside_the_mesh_are_not_routed() {
    let rules = "  - backendRefs: [{name: two, port: 80}]\n";
    cluster().put_all("inside", &[&service(SHOP, "inside", "one"), &route("inside", rules)]);
    let ways = ways("inside");
    routed(&ways, "/");
    for way in &ways {
        assert_eq!(seen(way, &way.answer("/")).pod, "two", "{way}");
        let outside = Way { caller: caller("outside"), from: "outside", ..*way };
        assert_eq!(seen_directly(&outside, &outside.answer("/")).pod, "one", "{outside}");
    }
}

/// docs/routes.md: what a route sends to a backend is not routed again by the backend's own routes.
#[test]
fn routes_do_not_chain() {
    let to = |name: &str| format!("  - backendRefs: [{{name: {name}, port: 80}}]\n");
    cluster().put_all(
        "chain",
        &[
            &service(SHOP, "first", "one"),
            &service(SHOP, "second", "one"),
            &route("first", &to("second")),
            &route("second", &to("two")),
        ],
    );
    routed(&ways("first"), "/");
    settles("the second is in force", &ways("second"), |way| {
        let seen = seen_by_engine(way.try_ask(&way.get("/"))?.as_ref())?;
        if seen.pod == "two" { Ok(()) } else { Err(seen.pod) }
    });
    for way in ways("first") {
        assert_eq!(seen(&way, &way.answer("/")).pod, "one", "{way}");
    }
}

/// HTTP/2 to the server where the Service says so, whatever the client speaks; else HTTP/1.1.
#[test]
fn the_servers_protocol_is_the_services_word() {
    use mesh_tests::http::order::Version::{Http1, Http2};
    let ports = "{name: http, port: 80, targetPort: 8080, appProtocol: kubernetes.io/h2c}";
    let h2c = super::scene::service_of(SHOP, "h2c", "one", ports);
    let rules = "  - matches: [{path: {value: /h2c}}]\n    backendRefs: [{name: h2c, port: 80}]\n  \
                 - backendRefs: [{name: one, port: 80}]\n";
    cluster().put_all("spoken", &[&h2c, &service(SHOP, "spoken", "one"), &route("spoken", rules)]);
    let ways = ways("spoken");
    routed(&ways, "/h2c");
    for way in &ways {
        let ask = |target: &str| way.get(target).method("POST").content(Content::Text("hello".to_owned()));
        for (target, version) in [("/h2c", Http2), ("/", Http1)] {
            let seen = seen(way, &way.ask(&ask(target)));
            assert_eq!((seen.version, seen.text.as_str()), (version, "hello"), "{way} {target}: {seen:?}");
        }
    }
}
