//! What filters change of a request and of its answer, as server and client see it.

use std::time::Duration;

use mesh_tests::{
    http::{
        caller::Ask,
        order::{field, values},
        steer,
    },
    trial::eventually,
};

use super::scene::{
    SHOP, SOON, Way, cluster, route, route_of, routed, seen, service, settles, ways, ways_of_grpc,
};

/// A rule for paths under this one with these filters.
fn rule(path: &str, filters: &str, backends: &str) -> String {
    format!(
        "  - matches: [{{path: {{value: {path}}}}}]\n    filters: [{filters}]\n    backendRefs: [{backends}]\n"
    )
}

const ONE: &str = "{name: one, port: 80}";

/// RequestHeaderModifier and ResponseHeaderModifier: set, add and remove, of requests, answers and calls.
#[test]
fn headers_are_set_added_and_removed_both_ways() {
    let modifier = "{set: [{name: X-Set, value: new}], add: [{name: x-add, value: more}], remove: [x-gone]}";
    let filters = format!(
        "{{type: RequestHeaderModifier, requestHeaderModifier: {modifier}}}, \
         {{type: ResponseHeaderModifier, responseHeaderModifier: {modifier}}}"
    );
    cluster().put_all(
        "modified",
        &[
            &service(SHOP, "modified", "one"),
            &route("modified", &rule("/", &filters, ONE)),
            &service(SHOP, "modified-calls", "one"),
            &route_of(
                "GRPCRoute",
                SHOP,
                "modified-calls",
                "name: modified-calls, port: 80",
                &format!("  - filters: [{filters}]\n    backendRefs: [{ONE}]\n"),
            ),
        ],
    );
    let with_headers = |ask: Ask| {
        ["x-set", "x-add", "x-gone"]
            .iter()
            .fold(ask, |ask, name| ask.header(name, "old").header(steer::HEADER, format!("{name}=old")))
    };
    let check = |way: &Way, ask: Ask| {
        let answer = way.ask(&with_headers(ask));
        let seen = seen(way, &answer);
        for fields in [&seen.headers, &answer.head.headers] {
            assert_eq!(values(fields, "x-set"), ["new"], "{way}: {fields:?}");
            let added: Vec<&str> = values(fields, "x-add")
                .into_iter()
                .flat_map(|value| value.split(','))
                .map(str::trim)
                .collect();
            assert_eq!(added, ["old", "more"], "{way}: {fields:?}");
            assert!(values(fields, "x-gone").is_empty(), "{way}: {fields:?}");
        }
    };
    routed(&ways("modified"), "/");
    for way in ways("modified") {
        check(&way, way.get("/"));
    }
    settles("calls are routed", &ways_of_grpc("modified-calls"), |way| {
        super::scene::seen_by_engine(way.try_ask(&Ask::call(way.to, "/shop.Cart/Add", "x"))?.as_ref())
            .map(drop)
    });
    for way in ways_of_grpc("modified-calls") {
        check(&way, Ask::call(way.to, "/shop.Cart/Add", "x"));
    }
}

/// URLRewrite: the host, the whole path, a prefix by whole segments; the query stays.
#[test]
fn host_and_path_are_rewritten() {
    let rewrite = |what: &str| format!("{{type: URLRewrite, urlRewrite: {{{what}}}}}");
    let prefix = |to: &str| rewrite(&format!("path: {{type: ReplacePrefixMatch, replacePrefixMatch: {to}}}"));
    let rules = [
        rule("/host", &rewrite("hostname: new.test"), ONE),
        rule("/full", &rewrite("path: {type: ReplaceFullPath, replaceFullPath: /all/new}"), ONE),
        rule("/prefix", &prefix("/other/place"), ONE),
        rule("/strip", &prefix("/"), ONE),
    ];
    cluster()
        .put_all("rewritten", &[&service(SHOP, "rewritten", "one"), &route("rewritten", &rules.concat())]);
    let ways = ways("rewritten");
    routed(&ways, "/host");
    for way in &ways {
        for (target, host, arrives) in [
            ("/host/a?q=1", "new.test", "/host/a?q=1"),
            ("/full/a?q=1", "old.test", "/all/new?q=1"),
            ("/prefix", "old.test", "/other/place"),
            ("/prefix/a/b?q=1", "old.test", "/other/place/a/b?q=1"),
            ("/strip", "old.test", "/"),
            ("/strip/a", "old.test", "/a"),
        ] {
            let answer = way.ask(&way.get(target).authority("old.test"));
            let seen = seen(way, &answer);
            assert_eq!((seen.authority.as_str(), seen.target.as_str()), (host, arrives), "{way} {target}");
        }
    }
}

/// HTTPBackendRef.filters: they apply to what goes to that backend, after the rule's.
#[test]
fn filters_of_a_backend_apply_to_its_share_only() {
    let header = |value: &str| {
        format!(
            "{{type: RequestHeaderModifier, requestHeaderModifier: {{add: [{{name: x-by, value: {value}}}]}}}}"
        )
    };
    let backends = format!(
        "{{name: one, port: 80, filters: [{}]}}, {{name: two, port: 80, filters: [{}]}}",
        header("for-one"),
        header("for-two")
    );
    let rules = rule("/", &header("rule"), &backends);
    cluster().put_all("by-backend", &[&service(SHOP, "by-backend", "one"), &route("by-backend", &rules)]);
    let ways = ways("by-backend");
    routed(&ways, "/");
    for way in &ways {
        let mut pods = Vec::new();
        for _ in 0..24 {
            let answer = way.answer("/");
            let seen = seen(way, &answer);
            let by: Vec<&str> = values(&seen.headers, "x-by")
                .into_iter()
                .flat_map(|value| value.split(','))
                .map(str::trim)
                .collect();
            assert_eq!(by, ["rule".to_owned(), format!("for-{}", seen.pod)], "{way}: {seen:?}");
            pods.push(seen.pod);
        }
        for pod in ["one", "two"] {
            assert!(pods.iter().any(|other| other == pod), "{way}: half go to {pod}: {pods:?}");
        }
    }
}

/// RequestMirror: a copy goes to the other backend, whose answer nobody sees; of a part, as many as was said.
#[test]
fn requests_are_mirrored_all_or_in_part() {
    let mirror = |share: &str| {
        format!("{{type: RequestMirror, requestMirror: {{backendRef: {{name: two, port: 80}}{share}}}}}")
    };
    let rules = [
        rule("/all", &mirror(""), ONE),
        rule("/half", &mirror(", percent: 50"), ONE),
        rule("/third", &mirror(", fraction: {numerator: 1, denominator: 3}"), ONE),
        rule("/none", &mirror(", percent: 0"), ONE),
    ];
    cluster().put_all("mirrored", &[&service(SHOP, "mirrored", "one"), &route("mirrored", &rules.concat())]);
    let ways = ways("mirrored");
    routed(&ways, "/all");
    for (index, way) in ways.iter().enumerate() {
        for (path, least, most) in [("all", 60, 60), ("half", 12, 48), ("third", 5, 38), ("none", 0, 0)] {
            let key = format!("mirror-{path}-{index}");
            for _ in 0..60 {
                let ask = way.get(&format!("/{path}")).header(steer::KEY, &key);
                let answer = way.ask(&ask);
                assert_eq!((answer.status(), seen(way, &answer).pod.as_str()), (200, "one"), "{way} {path}");
            }
            std::thread::sleep(Duration::from_millis(200));
            let found = copies(&key);
            assert!((least..=most).contains(&found), "{way}: {found} copies of 60 of {path}");
        }
    }
}

/// How many requests with this key have come to `two`.
fn copies(key: &str) -> u64 {
    let to = cluster().service("shop/two", 80)[0];
    let answer =
        super::scene::caller("near").ask(&Ask::get(to, "/").header(steer::KEY, key)).expect("an answer");
    answer.header(steer::COUNT).parse().expect("a number")
}

/// CORS: a preflight is answered by the route, an actual request by the server with the route's headers added.
#[test]
fn preflights_are_answered_and_actual_requests_marked() {
    let cors = "{type: CORS, cors: {allowOrigins: ['https://app.test', 'https://*.shop.test'], allowCredentials: true, \
                allowMethods: [GET, PUT], allowHeaders: [x-own], exposeHeaders: [x-shown], maxAge: 600}}";
    cluster().put_all("cors", &[&service(SHOP, "cors", "one"), &route("cors", &rule("/", cors, ONE))]);
    let ways = ways("cors");
    routed(&ways, "/");
    for way in &ways {
        for origin in ["https://app.test", "https://eu.shop.test"] {
            let preflight = way.ask(
                &way.get("/")
                    .method("OPTIONS")
                    .header("origin", origin)
                    .header("access-control-request-method", "PUT")
                    .header("access-control-request-headers", "x-own"),
            );
            assert!(matches!(preflight.status(), 200 | 204), "{way}: {preflight:?}");
            assert!(preflight.seen().is_none(), "{way}: the route answers it: {preflight:?}");
            let header = |name| field(&preflight.head.headers, name);
            assert_eq!(header("access-control-allow-origin"), origin, "{way}: {preflight:?}");
            assert_eq!(header("access-control-allow-credentials"), "true", "{way}: {preflight:?}");
            assert!(header("access-control-allow-methods").contains("PUT"), "{way}: {preflight:?}");
            assert!(header("access-control-allow-headers").contains("x-own"), "{way}: {preflight:?}");
            assert_eq!(header("access-control-max-age"), "600", "{way}: {preflight:?}");
            let actual = way.ask(&way.get("/").header("origin", origin));
            seen(way, &actual);
            assert_eq!(actual.header("access-control-allow-origin"), origin, "{way}: {actual:?}");
            assert_eq!(actual.header("access-control-expose-headers"), "x-shown", "{way}: {actual:?}");
        }
        let stranger = way.ask(&way.get("/").header("origin", "https://evil.test"));
        assert_eq!(stranger.header("access-control-allow-origin"), "", "{way}: {stranger:?}");
    }
}

/// A filter that is not known refuses its rule's requests with 500, and no other rule's; the status says which.
#[test]
fn a_filter_that_is_not_supported_answers_500_for_its_rule() {
    let unknown = "{type: ExtensionRef, extensionRef: {group: a.b, kind: Odd, name: one}}";
    let rules = rule("/odd", unknown, ONE) + &rule("/", "", ONE);
    cluster().put_all("refused", &[&service(SHOP, "refused", "one"), &route("refused", &rules)]);
    let ways = ways("refused");
    routed(&ways, "/");
    for way in &ways {
        super::scene::refused(way, &way.answer("/odd"), 500, "BadRoute");
        seen(way, &way.answer("/even"));
    }
    let said = eventually("the route says so", SOON, || {
        cluster().condition("HTTPRoute", "shop/refused", "PartiallyInvalid")
    });
    assert!(said.status == "True" && said.message.contains("ExtensionRef"), "{said:?}");
}
