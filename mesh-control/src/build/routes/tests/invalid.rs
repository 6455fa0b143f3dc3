//! What is wrong with routes, where it is told, and what stays in force.

use super::{NEXT, SERVICES, WEB, accepted, mesh, of_web, route, said, table};
use crate::{
    build::{Builder, tests::Mesh},
    source::of_yaml,
};

#[test]
fn what_cannot_be_taken_over_is_refused_by_name() {
    for (rule, told) in [
        (
            "{matches: [{path: {type: Glob, value: /a}}]}",
            "spec.rules[0].matches[0].path.type: `Glob` is not supported",
        ),
        (
            "{matches: [{path: {value: a}}]}",
            "spec.rules[0].matches[0].path.value: `a` is no path that a request can have",
        ),
        ("{matches: [{path: {value: /a%2Fb}}]}", "matches[0].path.value: `/a%2Fb` has an encoded slash"),
        (
            "{matches: [{path: {type: RegularExpression, value: '('}}]}",
            "path.value: \"(\" is no regular expression",
        ),
        ("{matches: [{method: get}]}", "matches[0].method: `get` is not supported; valid are GET"),
        (
            "{matches: [{headers: [{name: 'a b', value: c}]}]}",
            "headers[0].name: `a b` is no name of a header",
        ),
        ("{matches: [{cookie: x}]}", "spec.rules[0].matches[0].cookie: unknown field"),
        ("{match: []}", "spec.rules[0].match: unknown field; valid are name, matches"),
        ("{sessionPersistence: {}}", "spec.rules[0].sessionPersistence: unknown field"),
        (
            "{filters: [{type: ExtensionRef, extensionRef: {}}]}",
            "filters[0].type: `ExtensionRef` is not supported in a HTTPRoute",
        ),
        (
            "{filters: [{type: ExternalAuth, externalAuth: {}}]}",
            "filters[0].type: `ExternalAuth` is not supported",
        ),
        ("{filters: [{type: Odd}]}", "spec.rules[0].filters[0].type: `Odd` is not supported"),
        ("{filters: [{type: CORS}]}", "spec.rules[0].filters[0]: of type CORS needs its field"),
        (
            "{filters: [{type: CORS, cors: {}, urlRewrite: {}}]}",
            "spec.rules[0].filters[0].urlRewrite: is for type URLRewrite, not CORS",
        ),
        (
            "{filters: [{type: CORS, cors: {allowOrigins: [example.com]}}]}",
            "cors.allowOrigins[0]: `example.com` is not valid",
        ),
        (
            "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Content-Length, value: '0'}]}}]}",
            "requestHeaderModifier: `content-length` belongs to the connection",
        ),
        (
            "{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: a, value: \"b\\r\\nc: d\"}]}}]}",
            "add[0].value: `b\\r\\nc: d` is no value of a header",
        ),
        (
            "{filters: [{type: RequestRedirect, requestRedirect: {statusCode: 200}}]}",
            "requestRedirect.statusCode: 200 is not supported",
        ),
        (
            "{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}}], matches: [{path: {type: Exact, value: /a}}]}",
            "spec.rules[0].filters: ReplacePrefixMatch needs exactly one match",
        ),
        (
            "{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: next, port: 80}, percent: 101}}]}",
            "requestMirror: 101/100 is no fraction",
        ),
        ("{timeouts: {request: 10}}", "spec.rules[0].timeouts.request: invalid type"),
        ("{timeouts: {request: 1s, backendRequest: 2s}}", "timeouts.backendRequest: cannot be longer"),
        ("{retry: {codes: [200]}}", "retry.codes: 200 is not a status from 400"),
        ("{backendRefs: [{name: next, port: 80, weight: -1}]}", "spec.rules[0].backendRefs[0].weight"),
        ("{backendRefs: [{name: next, prot: 80}]}", "spec.rules[0].backendRefs[0].prot: unknown field"),
    ] {
        let mesh = mesh(&of_web("HTTPRoute", "r", &format!("[{rule}]")));
        let said = accepted(&mesh, "HTTPRoute/shop/r");
        assert!(said[0].starts_with("UnsupportedValue: ") && said[0].contains(told), "{rule}: {said:?}");
        assert!(said[0].ends_with("until then the route has no effect"), "{said:?}");
        assert!(mesh.routes("shop/web").is_none(), "{rule}: as without routes");
        assert_eq!(
            mesh.condition("HTTPRoute/shop/r", "Accepted").unwrap().message,
            said[0]["UnsupportedValue: ".len()..]
        );
    }
}

#[test]
fn filters_that_do_not_go_together_have_a_reason_of_their_own() {
    let rules =
        "[{filters: [{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {}}]}]";
    let mesh = mesh(&of_web("HTTPRoute", "r", rules));
    assert!(
        accepted(&mesh, "HTTPRoute/shop/r")[0]
            .starts_with("IncompatibleFilters: spec.rules[0].filters: RequestRedirect and")
    );
}

#[test]
fn one_good_rule_is_in_force_beside_bad_ones() {
    let rules = format!(
        "[{{matches: [{{path: {{value: /good}}}}], {NEXT}}},
          {{name: odd, matches: [{{path: {{value: /odd}}}}], filters: [{{type: Odd}}], {NEXT}}},
          {{matches: [{{method: get}}], {NEXT}}}]"
    );
    let mesh = mesh(&of_web("HTTPRoute", "r", &rules));
    assert_eq!(accepted(&mesh, "HTTPRoute/shop/r"), [""]);
    let said = said(&mesh, "HTTPRoute/shop/r", "PartiallyInvalid");
    assert!(said[0].starts_with("Dropped Rule: spec.rules[1].filters[0].type: `Odd`"), "{said:?}");
    assert!(
        said[0].contains("spec.rules[2].matches[0].method")
            && said[0].ends_with("requests of odd are answered 500")
    );
    let table = table(&mesh);
    let rules: Vec<_> = table.rules.iter().map(|rule| (rule.rule.as_str(), rule.fail_status)).collect();
    assert_eq!(rules, [("rules[0]", 0), ("odd", 500)]);
    assert!(table.rules[1].backends.is_empty());
}

#[test]
fn references_that_lead_nowhere_keep_their_share() {
    for (backend, reason, told) in [
        ("{name: gone, port: 80}", "BackendNotFound", "there is no Service shop/gone"),
        ("{name: next, port: 81}", "BackendNotFound", "Service shop/next has no port 81"),
        ("{name: next}", "BackendNotFound", "Service shop/next is named without a port"),
        ("{kind: Bucket, group: store.example, name: b}", "InvalidKind", "Bucket b of group store.example"),
        ("{name: web, port: 53}", "UnsupportedProtocol", "port 53 of Service shop/web is not a TCP port"),
        ("{name: secure, port: 443}", "UnsupportedProtocol", "speaks TLS of its own"),
    ] {
        let rules = format!("[{{backendRefs: [{{name: next, port: 80, weight: 3}}, {backend}]}}]");
        let mesh = mesh(&of_web("HTTPRoute", "r", &rules));
        assert_eq!(accepted(&mesh, "HTTPRoute/shop/r"), [""], "a reference is no reason to refuse the route");
        let said = said(&mesh, "HTTPRoute/shop/r", "ResolvedRefs");
        assert!(said[0].starts_with(&format!("{reason}: ")) && said[0].contains(told), "{backend}: {said:?}");
        let backends = table(&mesh).rules.remove(0).backends;
        assert_eq!((backends[0].weight, backends[0].invalid.as_str()), (3, ""));
        assert!(
            backends[1].weight == 1 && backends[1].invalid.contains(told) && backends[1].service.is_empty()
        );
    }
    let rules = format!(
        "[{{filters: [{{type: RequestMirror, requestMirror: {{backendRef: {{name: gone, port: 80}}}}}}], {NEXT}}}]"
    );
    let mesh = mesh(&of_web("HTTPRoute", "r", &rules));
    assert!(said(&mesh, "HTTPRoute/shop/r", "ResolvedRefs")[0].starts_with("BackendNotFound"));
}

#[test]
fn parents_that_are_none_are_told_one_by_one() {
    let parent = |more: &str| format!("{{group: '', kind: Service, {more}}}");
    let spec = |parents: &[String]| format!("{{parentRefs: [{}], rules: [{{{NEXT}}}]}}", parents.join(", "));
    let parents = [
        "name: web, port: 80",
        "name: gone",
        "name: headless",
        "name: web, port: 81",
        "name: web, sectionName: nobody",
        "name: web, port: 80, sectionName: other",
        "name: next, weight: 1",
    ]
    .map(parent);
    let mesh = mesh(&route("HTTPRoute", "r", &spec(&parents)));
    let said = accepted(&mesh, "HTTPRoute/shop/r");
    let expected = [
        "",
        "NoMatchingParent: there is no Service shop/gone",
        "NoMatchingParent: Service shop/headless has no address of its own",
        "NoMatchingParent: Service shop/web has no TCP port 81 that",
        "NoMatchingParent: Service shop/web has no TCP port named `nobody`",
        "NoMatchingParent: Service shop/web has no TCP port that is 80 and has the name `other`",
        "UnsupportedValue: spec.parentRefs[6].weight: unknown field",
    ];
    assert_eq!(said.len(), expected.len());
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.starts_with(expected) && said.is_empty() == expected.is_empty(), "{said} / {expected}");
    }
    let together = mesh.condition("HTTPRoute/shop/r", "Accepted").unwrap();
    assert!(
        together.message.starts_with("parent gone: there is no Service shop/gone; parent headless: "),
        "{together:?}"
    );
    assert!(together.message.contains("parent web (other) port 80: "), "{together:?}");
}

#[test]
fn a_route_that_turns_bad_stays_what_it_was_as_long_as_it_is_remembered() {
    let good = of_web("HTTPRoute", "r", &format!("[{{{NEXT}}}]"));
    let bad =
        of_web("HTTPRoute", "r", "[{filters: [{type: Odd}]}]").replace("generation: 3", "generation: 4");
    let state = |routes: &str| of_yaml(&(SERVICES.to_owned() + routes)).objects;
    let mut builder = Builder::default();
    let mut mesh = Mesh::default();
    mesh.apply(builder.update(state(&good)));
    let before = mesh.routes("shop/web");
    mesh.apply(builder.update(state(&bad)));
    assert_eq!(mesh.routes("shop/web"), before);
    let condition = mesh.condition("HTTPRoute/shop/r", "Accepted").unwrap();
    assert_eq!((condition.reason.as_str(), condition.observed_generation), ("UnsupportedValue", 4));
    assert!(condition.message.ends_with("until then the route stays in force as it was at generation 3"));
    // Another change around it does not forget.
    mesh.apply(builder.update(state(&(bad.clone() + &of_web("HTTPRoute", "s", "[{}]")))));
    assert_eq!(mesh.routes("shop/web").unwrap().ports[0].producer.as_ref().unwrap().rules.len(), 2);
    // Gone is gone.
    mesh.apply(builder.update(state("")));
    assert_eq!(mesh.routes("shop/web"), None);
    mesh.apply(builder.update(state(&bad)));
    assert_eq!(mesh.routes("shop/web"), None);
}

#[test]
fn services_that_come_and_go_take_routes_with_them() {
    let route = of_web("HTTPRoute", "r", &format!("[{{{NEXT}}}]"));
    let state = |text: &str| of_yaml(text).objects;
    let mut builder = Builder::default();
    let mut mesh = Mesh::default();
    mesh.apply(builder.update(state(&route)));
    assert_eq!(accepted(&mesh, "HTTPRoute/shop/r"), ["NoMatchingParent: there is no Service shop/web"]);
    mesh.apply(builder.update(state(&(SERVICES.to_owned() + &route))));
    assert_eq!(accepted(&mesh, "HTTPRoute/shop/r"), [""]);
    let without_next = SERVICES.replace("name: next", "name: moved");
    mesh.apply(builder.update(state(&(without_next + &route))));
    assert!(said(&mesh, "HTTPRoute/shop/r", "ResolvedRefs")[0].starts_with("BackendNotFound"));
    assert!(!table(&mesh).rules[0].backends[0].invalid.is_empty());
    mesh.apply(builder.update(state(&route)));
    assert_eq!(mesh.routes("shop/web"), None);
}

#[test]
fn too_much_is_refused() {
    let rules = format!("[{}]", vec![format!("{{{NEXT}}}"); 17].join(", "));
    let mesh = mesh(&of_web("HTTPRoute", "r", &rules));
    assert!(accepted(&mesh, "HTTPRoute/shop/r")[0].contains("spec.rules: has 17 entries; 1 to 16 are taken"));
    let matches = vec!["{path: {value: /a}}"; 64].join(", ");
    let rules = vec![format!("{{matches: [{matches}], {NEXT}}}"); 3].join(", ");
    let mesh = super::mesh(&route("HTTPRoute", "r", &format!("{{parentRefs: [{WEB}], rules: [{rules}]}}")));
    assert!(accepted(&mesh, "HTTPRoute/shop/r")[0].contains("more than 128 matches"));
}

#[test]
fn a_backend_to_which_tls_is_wanted_is_refused_until_that_is_built() {
    let route = of_web("HTTPRoute", "r", &format!("[{{{NEXT}}}]"));
    let policy = |name: &str, port: &str| {
        format!(
            "---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {{name: tls, namespace: shop, generation: 2}}
spec: {{targetRefs: [{{group: '', kind: Service, name: {name}{port}}}], validation: {{hostname: next.example}}}}
"
        )
    };
    let state = |policy: &str| of_yaml(&(SERVICES.to_owned() + &route + policy)).objects;
    let mut builder = Builder::default();
    let mut mesh = Mesh::default();
    for (policy, refused) in [
        (policy("next", ""), true),
        (policy("next", ", sectionName: http"), true),
        (policy("next", ", sectionName: other"), false),
        (policy("next", ""), true),
        (policy("web", ""), false),
        (String::new(), false),
    ] {
        mesh.apply(builder.update(state(&policy)));
        let said = said(&mesh, "HTTPRoute/shop/r", "ResolvedRefs");
        let told = "UnsupportedProtocol: port 80 of Service shop/next is to be spoken to by TLS (BackendTLSPolicy shop/tls)";
        assert_eq!(said[0].starts_with(told), refused, "{policy}: {said:?}");
        assert_eq!(!table(&mesh).rules[0].backends[0].invalid.is_empty(), refused);
        let condition = mesh.condition("BackendTLSPolicy/shop/tls", "Accepted");
        assert_eq!(
            condition.map(|condition| condition.reason.as_str()),
            (!policy.is_empty()).then_some("KindNotBuilt")
        );
    }
}
