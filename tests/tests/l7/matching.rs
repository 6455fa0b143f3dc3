//! Which rule a request meets: every kind of match, and which of several that match.

use mesh_tests::http::{caller::Ask, order::Version};

use super::scene::{SHOP, cluster, refused, route, route_of, routed, seen, service, ways, ways_of_grpc};

/// A rule of this name with these matches, which tells its name in the answer.
fn rule(name: &str, matches: &str) -> String {
    format!(
        "  - name: {name}\n    matches: [{matches}]\n    \
         filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-rule, value: {name}}}]}}}}]\n    \
         backendRefs: [{{name: one, port: 80}}]\n"
    )
}

/// A request by method, target and headers, and the rule that it must meet; none for 404.
type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str);

fn check(service: &str, cases: &[Case]) {
    for way in ways(service) {
        for (method, target, headers, rule) in cases {
            let mut ask = way.get(target).method(method);
            for (name, value) in *headers {
                ask = ask.header(name, value);
            }
            let answer = way.ask(&ask);
            let what = format!("{way}: {method} {target} {headers:?}");
            if rule.is_empty() {
                refused(&way, &answer, 404, "NoRoute");
                continue;
            }
            assert_eq!(answer.header("x-rule"), *rule, "{what}: {answer:?}");
            let seen = seen(&way, &answer);
            assert_eq!((seen.method.as_str(), seen.target.as_str()), (*method, *target), "{what}");
        }
    }
}

/// GEP-1294 and HTTPRoute: every type of match, each with what it must not match.
#[test]
fn every_match_leads_to_its_rule_and_what_matches_nothing_is_not_found() {
    let rules = [
        rule("exact", "{path: {type: Exact, value: /exact}}"),
        rule("prefix", "{path: {type: PathPrefix, value: /prefix}}"),
        rule("regex", "{path: {type: RegularExpression, value: '/v[0-9]+/items'}}"),
        rule("header", "{path: {value: /header}, headers: [{name: X-Tier, value: gold}]}"),
        rule(
            "header-regex",
            "{path: {value: /header}, headers: [{type: RegularExpression, name: x-tier, value: 'sil.*'}]}",
        ),
        rule("query", "{path: {value: /query}, queryParams: [{name: q, value: a b}]}"),
        rule(
            "query-regex",
            "{path: {value: /query}, queryParams: [{type: RegularExpression, name: q, value: '[0-9]+'}]}",
        ),
        rule("method", "{path: {value: /method}, method: DELETE}"),
        rule("either", "{path: {type: Exact, value: /this}}, {path: {type: Exact, value: /that}}"),
    ];
    cluster().put_all("matching", &[&service(SHOP, "matching", "one"), &route("matching", &rules.concat())]);
    routed(&ways("matching"), "/exact");
    check(
        "matching",
        &[
            ("GET", "/exact", &[], "exact"),
            ("GET", "/exact?more=1", &[], "exact"),
            ("GET", "/exact/", &[], ""),
            ("GET", "/Exact", &[], ""),
            ("GET", "/prefix", &[], "prefix"),
            ("GET", "/prefix/", &[], "prefix"),
            ("GET", "/prefix/a/b", &[], "prefix"),
            ("GET", "/prefixed", &[], ""),
            ("GET", "/v12/items", &[], "regex"),
            ("GET", "/v12/items/1", &[], ""),
            ("GET", "/v/items", &[], ""),
            ("GET", "/header", &[("x-tier", "gold")], "header"),
            ("GET", "/header", &[("x-tier", "silver")], "header-regex"),
            ("GET", "/header", &[("x-tier", "Gold")], ""),
            ("GET", "/header", &[], ""),
            ("GET", "/query?q=a%20b", &[], "query"),
            ("GET", "/query?q=17", &[], "query-regex"),
            ("GET", "/query?q=17a", &[], ""),
            ("GET", "/query?x=17", &[], ""),
            ("DELETE", "/method", &[], "method"),
            ("GET", "/method", &[], ""),
            ("GET", "/this", &[], "either"),
            ("GET", "/that", &[], "either"),
            ("GET", "/", &[], ""),
        ],
    );
}

/// HTTPRouteRule, "Precedence": within a route and between several.
#[test]
fn of_several_rules_that_match_the_most_specific_counts() {
    let first = [
        rule("all", "{path: {value: /}}"),
        rule("regex", "{path: {type: RegularExpression, value: '/api.*'}}"),
        rule("short", "{path: {value: /api}}"),
        rule("long", "{path: {value: /api/cart}}"),
        rule("exact", "{path: {type: Exact, value: /api/cart}}"),
        rule("post", "{path: {value: /api/cart}, method: POST}"),
        rule("one-header", "{path: {value: /api/cart}, headers: [{name: x-a, value: '1'}]}"),
        rule(
            "two-headers",
            "{path: {value: /api/cart}, headers: [{name: x-a, value: '1'}, {name: x-b, value: '1'}]}",
        ),
        rule("query", "{path: {value: /api/cart}, queryParams: [{name: q, value: '1'}]}"),
        rule("again", "{path: {value: /api/cart}, queryParams: [{name: q, value: '1'}]}"),
    ];
    // By name it comes after the first, and its rules are as good or better.
    let second =
        [rule("later", "{path: {value: /api}}"), rule("longest", "{path: {value: /api/cart/items}}")];
    let parent = "name: precedence, port: 80";
    cluster().put_all(
        "precedence",
        &[
            &service(SHOP, "precedence", "one"),
            &route_of("HTTPRoute", SHOP, "precedence-a", parent, &first.concat()),
            &route_of("HTTPRoute", SHOP, "precedence-b", parent, &second.concat()),
        ],
    );
    routed(&ways("precedence"), "/api/cart/items");
    super::scene::settles("the second route is in force", &ways("precedence"), |way| {
        let rule = way.try_ask(&way.get("/api/cart/items"))?.header("x-rule").to_owned();
        if rule == "longest" { Ok(()) } else { Err(rule) }
    });
    let both: &[(&str, &str)] = &[("x-a", "1"), ("x-b", "1")];
    check(
        "precedence",
        &[
            ("GET", "/", &[], "all"),
            ("GET", "/other", &[], "all"),
            ("GET", "/api", &[], "short"),
            ("GET", "/apis", &[], "regex"),
            ("GET", "/api/x", &[], "short"),
            ("GET", "/api/cart", &[], "exact"),
            ("POST", "/api/cart", both, "exact"),
            ("GET", "/api/cart/1", &[], "long"),
            ("POST", "/api/cart/1", &[], "post"),
            ("POST", "/api/cart/1", both, "post"),
            ("GET", "/api/cart/1", &[("x-a", "1")], "one-header"),
            ("GET", "/api/cart/1", both, "two-headers"),
            ("GET", "/api/cart/1?q=1", &[], "query"),
            ("GET", "/api/cart/1?q=1", &[("x-a", "1")], "one-header"),
            ("GET", "/api/cart/items/1", &[], "longest"),
        ],
    );
}

/// GEP-1294: by the dialled address and port, never by `Host`; a match of the header `Host` is looked at.
#[test]
fn the_dialled_address_counts_and_never_the_host() {
    let rules =
        rule("host", "{headers: [{name: Host, value: named.test}]}") + &rule("all", "{path: {value: /}}");
    let with_hostname = route("hosts", &rules).replace("spec:\n", "spec:\n  hostnames: [else.test]\n");
    cluster().put_all("hosts", &[&service(SHOP, "hosts", "one"), &with_hostname]);
    let ways = ways("hosts");
    routed(&ways, "/");
    for way in &ways {
        for (authority, rule) in [("named.test", "host"), ("else.test", "all"), ("two.shop", "all")] {
            let answer = way.ask(&way.get("/x").authority(authority));
            assert_eq!(answer.header("x-rule"), rule, "{way}: {authority}: {answer:?}");
            let seen = seen(way, &answer);
            assert_eq!((seen.pod.as_str(), seen.authority.as_str()), ("one", authority), "{way}");
        }
    }
}

/// GRPCRoute: service, method and header; what matches nothing is UNIMPLEMENTED.
#[test]
fn calls_of_grpc_are_matched_by_service_method_and_header() {
    let rules = [
        rule("method", "{method: {service: shop.Cart, method: Add}}"),
        rule("service", "{method: {service: shop.Cart}}"),
        rule("any-service", "{method: {method: Watch}}"),
        rule("regex", "{method: {type: RegularExpression, service: 'shop\\.v[0-9]', method: 'Get.*'}}"),
        rule("header", "{method: {service: shop.Pay}, headers: [{name: x-tier, value: gold}]}"),
    ];
    cluster().put_all(
        "calls",
        &[
            &service(SHOP, "calls", "one"),
            &route_of("GRPCRoute", SHOP, "calls", "name: calls, port: 80", &rules.concat()),
        ],
    );
    let ways = ways_of_grpc("calls");
    super::scene::settles("calls are routed", &ways, |way| {
        let answer = way.try_ask(&Ask::call(way.to, "/shop.Cart/Add", "x"))?;
        super::scene::seen_by_engine(&answer).map(drop)
    });
    for way in &ways {
        for (path, gold, rule) in [
            ("/shop.Cart/Add", false, "method"),
            ("/shop.Cart/Remove", false, "service"),
            ("/shop.Any/Watch", false, "any-service"),
            ("/shop.v2/GetAll", false, "regex"),
            ("/shop.v2/SetAll", false, ""),
            ("/shop.Pay/Charge", true, "header"),
            ("/shop.Pay/Charge", false, ""),
            ("/shop.Cart2/Add", false, ""),
        ] {
            let ask = Ask::call(way.to, path, "hello");
            let answer = way.ask(&if gold { ask.header("x-tier", "gold") } else { ask });
            if rule.is_empty() {
                assert_eq!((answer.status(), answer.grpc_status()), (200, "12"), "{way} {path}: {answer:?}");
                continue;
            }
            assert_eq!(
                (answer.grpc_status(), answer.header("x-rule")),
                ("0", rule),
                "{way} {path}: {answer:?}"
            );
            let seen = seen(way, &answer);
            assert_eq!((seen.target.as_str(), seen.version), (path, Version::Http2), "{way}");
        }
    }
}

/// GEP-1294: a consumer's route replaces the producer's for callers of its namespace, and for no others.
#[test]
fn a_consumers_route_replaces_the_producers_for_its_namespace() {
    let cluster = cluster();
    let parent = "name: consumed, namespace: shop, port: 80";
    let producers = rule("producer", "{path: {value: /producer}}") + &rule("both", "{path: {value: /both}}");
    let consumers = rule("consumer", "{path: {value: /consumer}}") + &rule("own", "{path: {value: /both}}");
    let consumers = consumers.replace("{name: one, port: 80}", "{name: two, namespace: shop, port: 80}");
    cluster.put_all(
        "consumed",
        &[
            &mesh_tests::trial::web("guest", "visitor"),
            &service(SHOP, "consumed", "one"),
            &route_of("HTTPRoute", SHOP, "producer", parent, &producers),
            &route_of("HTTPRoute", "guest", "consumer", parent, &consumers),
        ],
    );
    let guest = cluster.http("guest/visitor");
    let ways = ways("consumed");
    routed(&ways, "/producer");
    for &to in &cluster.service("shop/consumed", 80) {
        for version in mesh_tests::http::order::VERSIONS {
            let ask = |target: &str| guest.ask(&Ask::get(to, target).version(version)).expect("an answer");
            mesh_tests::trial::eventually("the consumer's route is in force", super::scene::SOON, || {
                (ask("/consumer").status() == 200).then_some(())
            });
            let own = ask("/both");
            assert_eq!(own.header("x-rule"), "own", "{to} {version:?}: {own:?}");
            assert_eq!(own.seen().map(|seen| seen.pod).as_deref(), Some("two"), "{to} {version:?}");
            assert_eq!(ask("/producer").status(), 404, "{to} {version:?}");
        }
    }
    for way in ways {
        assert_eq!(way.answer("/both").header("x-rule"), "both", "{way}");
        refused(&way, &way.answer("/consumer"), 404, "NoRoute");
    }
}
