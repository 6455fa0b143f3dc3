//! What valid routes come to.

use mesh_api::resources::{
    AppProtocol, RouteKind, path_match,
    path_modifier::Modifier,
    route_filter::Filter::{Cors, Mirror, Redirect, RequestHeaders, ResponseHeaders, Rewrite},
};

use super::{NEXT, WEB, accepted, elsewhere, mesh, of_web, route, said, table};

#[test]
fn a_canary_is_sent_with_its_weights_and_the_backends_protocols() {
    let rules = "[{name: split, backendRefs: [{name: web, port: 80, weight: 90}, {name: next, port: 80, weight: 10}]}]";
    let mesh = mesh(&of_web("HTTPRoute", "r", rules));
    assert_eq!(accepted(&mesh, "HTTPRoute/shop/r"), [""]);
    assert_eq!(said(&mesh, "HTTPRoute/shop/r", "ResolvedRefs"), [""]);
    assert!(said(&mesh, "HTTPRoute/shop/r", "PartiallyInvalid").is_empty());
    let routes = mesh.routes("shop/web").unwrap();
    assert_eq!(routes.ports.iter().map(|port| port.port).collect::<Vec<_>>(), [80]);
    let table = table(&mesh);
    assert_eq!((table.kind(), table.entries.len()), (RouteKind::Http, 1));
    let path = table.entries[0].http.as_ref().unwrap().path.as_ref().unwrap();
    assert_eq!((path.r#type(), path.value.as_str()), (path_match::Type::Prefix, "/"));
    let rule = &table.rules[0];
    assert_eq!((rule.route.as_str(), rule.rule.as_str(), rule.fail_status), ("HTTPRoute/shop/r", "split", 0));
    let backends: Vec<_> = rule
        .backends
        .iter()
        .map(|backend| (backend.weight, backend.service.as_str(), backend.port, backend.app_protocol()))
        .collect();
    assert_eq!(
        backends,
        [(90, "shop/web", 80, AppProtocol::Http1), (10, "shop/next", 80, AppProtocol::Http2)]
    );
    assert_eq!((rule.timeouts, rule.retry.clone()), (None, None));
}

#[test]
fn a_route_without_rules_matches_everything_and_leads_nowhere() {
    let mesh =
        mesh(&route("HTTPRoute", "r", &format!("{{parentRefs: [{WEB}], hostnames: [ignored.example]}}")));
    assert_eq!(accepted(&mesh, "HTTPRoute/shop/r"), [""]);
    let table = table(&mesh);
    assert_eq!((table.entries.len(), table.rules[0].backends.len()), (1, 0));
}

#[test]
fn without_a_port_a_route_is_for_every_port_that_may_speak_its_protocol() {
    let all = "{parentRefs: [{group: '', kind: Service, name: web}], rules: [{backendRefs: [{name: next, port: 80}]}]}";
    let ports = |kind: &str| {
        let mesh = mesh(&route(kind, "r", all));
        let routes = mesh.routes("shop/web").unwrap();
        routes.ports.iter().map(|port| port.port).collect::<Vec<_>>()
    };
    assert_eq!(ports("HTTPRoute"), [80, 90]);
    assert_eq!(ports("GRPCRoute"), [80, 90]);
    assert_eq!(ports("TLSRoute"), [90, 5432]);
    assert_eq!(ports("TCPRoute"), [80, 90, 5432]);
    assert_eq!(ports("UDPRoute"), [53]);
    let named = all.replace("name: web}", "name: web, sectionName: tcp-sql}");
    let mesh = mesh(&route("HTTPRoute", "r", &named));
    assert_eq!(mesh.routes("shop/web").unwrap().ports[0].port, 5432, "it is said");
}

#[test]
fn routes_from_elsewhere_are_for_callers_from_there_and_need_no_grant() {
    let consumer = format!(
        "{{parentRefs: [{WEB}], rules: [{{backendRefs: [{{name: next, namespace: shop, port: 80}}]}}]}}"
    );
    let both =
        elsewhere("HTTPRoute", "mine", &consumer) + &of_web("HTTPRoute", "r", &format!("[{{{NEXT}}}]"));
    let mesh = mesh(&both);
    assert_eq!(accepted(&mesh, "HTTPRoute/away/mine"), [""]);
    assert_eq!(said(&mesh, "HTTPRoute/away/mine", "ResolvedRefs"), [""]);
    let port = &mesh.routes("shop/web").unwrap().ports[0];
    assert_eq!(port.producer.as_ref().unwrap().rules[0].route, "HTTPRoute/shop/r");
    assert_eq!(port.consumers.len(), 1);
    assert_eq!(port.consumers[0].namespace, "away");
    assert_eq!(port.consumers[0].table.as_ref().unwrap().rules[0].route, "HTTPRoute/away/mine");
    // Alone it leaves other callers as they are.
    let alone = super::mesh(&elsewhere("HTTPRoute", "mine", &consumer));
    assert_eq!(alone.routes("shop/web").unwrap().ports[0].producer, None);
}

#[test]
fn one_kind_counts_for_a_port_and_the_others_are_told() {
    let rules = format!("[{{{NEXT}}}]");
    let all: String =
        ["HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute"].map(|kind| of_web(kind, "r", &rules)).concat();
    let mesh = mesh(&all);
    assert_eq!(table(&mesh).kind(), RouteKind::Grpc);
    assert_eq!(accepted(&mesh, "GRPCRoute/shop/r"), [""]);
    for kind in ["HTTPRoute", "TLSRoute", "TCPRoute"] {
        let said = accepted(&mesh, &format!("{kind}/shop/r"));
        assert_eq!(
            said,
            [format!(
                "Conflicted: port 80 of Service shop/web: it has a GRPCRoute, which goes before a {kind}"
            )]
        );
    }
}

#[test]
fn a_route_that_loses_one_port_and_has_another_is_accepted() {
    let all = "{parentRefs: [{group: '', kind: Service, name: web}], rules: [{backendRefs: [{name: next, port: 80}]}]}";
    let mesh = mesh(&(route("HTTPRoute", "h", all) + &of_web("GRPCRoute", "g", &format!("[{{{NEXT}}}]"))));
    assert_eq!(accepted(&mesh, "HTTPRoute/shop/h"), [""]);
    let routes = mesh.routes("shop/web").unwrap();
    let kinds: Vec<_> =
        routes.ports.iter().map(|port| (port.port, port.producer.as_ref().unwrap().kind())).collect();
    assert_eq!(kinds, [(80, RouteKind::Grpc), (90, RouteKind::Http)]);
}

#[test]
fn of_routes_without_matches_the_oldest_counts() {
    let rules = format!("[{{{NEXT}}}]");
    let aged = |name: &str, created: &str| {
        of_web("TCPRoute", name, &rules)
            .replace("generation: 3", &format!("generation: 3, creationTimestamp: '{created}'"))
    };
    let mesh = mesh(&(aged("a", "2026-01-02T00:00:00Z") + &aged("b", "2026-01-01T00:00:00Z")));
    let table = table(&mesh);
    assert_eq!((table.entries.len(), table.rules[0].route.as_str()), (1, "TCPRoute/shop/b"));
    assert!(
        accepted(&mesh, "TCPRoute/shop/a")[0]
            .starts_with("Conflicted: port 80 of Service shop/web: an older route")
    );
}

#[test]
fn server_names_go_from_the_narrow_to_the_wide() {
    let spec = |names: &str| format!("{{parentRefs: [{WEB}], hostnames: {names}, rules: [{{{NEXT}}}]}}");
    let routes = route("TLSRoute", "a", &spec("['*.b.c', a.b.c]"))
        + &route("TLSRoute", "b", &spec("['*.c', x.a.b.c]"))
        + &route("TLSRoute", "c", &spec("[]"));
    let table = table(&mesh(&routes));
    let names: Vec<_> = table.entries.iter().map(|entry| entry.server_name.as_str()).collect();
    assert_eq!(names, ["x.a.b.c", "a.b.c", "*.b.c", "*.c", ""]);
    assert!(table.entries.iter().all(|entry| entry.http.is_none()));
}

#[test]
fn grpc_matches_are_paths_of_posts() {
    let rules = "[{matches: [
        {method: {service: a.B, method: Get}}, {method: {service: a.B}}, {method: {method: Get}},
        {method: {type: RegularExpression, service: 'a\\..*'}}, {}]}]";
    let table = table(&mesh(&of_web("GRPCRoute", "r", rules)));
    let paths: Vec<_> = table
        .entries
        .iter()
        .map(|entry| {
            let http = entry.http.as_ref().unwrap();
            assert_eq!(http.method, "POST");
            let path = http.path.as_ref().unwrap();
            (path.r#type(), path.value.as_str())
        })
        .collect();
    use path_match::Type::{Exact, Prefix, Regex};
    assert_eq!(
        paths,
        [
            (Exact, "/a.B/Get"),
            (Prefix, "/a.B"),
            (Regex, "/(?:a\\..*)/[^/]+"),
            (Regex, "/[^/]+/Get"),
            (Prefix, "/"),
        ]
    );
}

#[test]
fn every_filter_is_carried_over() {
    let rules = "[{
        matches: [{path: {value: /old/}}],
        filters: [
          {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: '1'}, {name: x-a, value: '2'}], add: [{name: x-b, value: b}], remove: [X-C]}},
          {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [server]}},
          {type: URLRewrite, urlRewrite: {hostname: new.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}},
          {type: RequestMirror, requestMirror: {backendRef: {name: next, port: 80}, percent: 5}},
          {type: RequestMirror, requestMirror: {backendRef: {name: web, port: 80}, fraction: {numerator: 1, denominator: 3}}},
          {type: CORS, cors: {allowOrigins: ['https://*.example.com:8443'], allowMethods: ['*'], allowCredentials: true}}],
        backendRefs: [{name: next, port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x, value: y}]}}]}]
      }, {
        matches: [{path: {type: Exact, value: /gone}}],
        filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: a.example, path: {type: ReplaceFullPath, replaceFullPath: /there}, port: 8443, statusCode: 308}}]
      }]";
    let mesh = mesh(&of_web("HTTPRoute", "r", rules));
    assert_eq!(accepted(&mesh, "HTTPRoute/shop/r"), [""]);
    assert_eq!(said(&mesh, "HTTPRoute/shop/r", "ResolvedRefs"), [""]);
    let table = table(&mesh);
    assert_eq!(table.entries.iter().map(|entry| entry.rule).collect::<Vec<_>>(), [1, 0]);
    let filters: Vec<_> =
        table.rules[0].filters.iter().map(|filter| filter.filter.clone().unwrap()).collect();
    let [
        RequestHeaders(request),
        ResponseHeaders(response),
        Rewrite(rewrite),
        Mirror(first),
        Mirror(second),
        Cors(cors),
    ] = filters.as_slice()
    else {
        panic!("{filters:?}");
    };
    assert_eq!(
        (request.set.len(), request.set[0].name.as_str(), request.set[0].value.as_str()),
        (1, "x-a", "1")
    );
    assert_eq!((request.add[0].name.as_str(), request.remove[0].as_str()), ("x-b", "x-c"));
    assert_eq!(response.remove, ["server"]);
    assert_eq!(rewrite.path.clone().unwrap().modifier, Some(Modifier::Prefix("/new".to_owned())));
    assert_eq!((first.numerator, first.denominator, second.denominator), (5, 100, 3));
    assert_eq!(first.backend.as_ref().unwrap().service, "shop/next");
    assert!(cors.allow_credentials && cors.max_age_seconds == 5);
    assert_eq!(table.rules[0].backends[0].filters.len(), 1);
    let Some(Redirect(redirect)) = table.rules[1].filters[0].filter.clone() else { panic!() };
    assert_eq!((redirect.scheme.as_str(), redirect.port, redirect.status), ("https", 8443, 308));
    assert_eq!(redirect.path.unwrap().modifier, Some(Modifier::Full("/there".to_owned())));
}

#[test]
fn timeouts_and_retries_are_carried_over() {
    let rules = format!(
        "[{{{NEXT}, timeouts: {{request: 10s, backendRequest: 0s}}, retry: {{codes: [503, 500, 503], attempts: 2, backoff: 100ms}}}}]"
    );
    let rule = table(&mesh(&of_web("HTTPRoute", "r", &rules))).rules.remove(0);
    let timeouts = rule.timeouts.unwrap();
    assert_eq!(
        (timeouts.request_milliseconds, timeouts.backend_request_milliseconds),
        (Some(10_000), Some(0))
    );
    let retry = rule.retry.unwrap();
    assert_eq!(
        (retry.codes, retry.attempts, retry.backoff_milliseconds),
        (vec![500, 503], Some(2), Some(100))
    );
}

#[test]
fn routes_for_gateways_are_nobodys_business_here() {
    let gateway = "{parentRefs: [{name: edge}, {group: '', kind: Gateway, name: x}], odd: 1}";
    let mesh = mesh(&route("HTTPRoute", "r", gateway));
    assert!(mesh.parents("HTTPRoute/shop/r").is_empty());
    assert!(mesh.condition("HTTPRoute/shop/r", "Accepted").is_none());
    // Of a route for both, ours alone is judged.
    let both = format!("{{parentRefs: [{{name: edge}}, {WEB}], rules: [{{{NEXT}}}]}}");
    let mesh = super::mesh(&route("HTTPRoute", "r", &both));
    assert_eq!(accepted(&mesh, "HTTPRoute/shop/r"), [""]);
}
