//! AccessPolicy about requests (SEMANTICS 5.4, 5.5, 5.8): who is refused what, how it is told, and that nobody gets
//! around it.

use std::time::Duration;

use mesh_tests::{
    http::{
        caller::Ask,
        order::{VERSIONS, Version},
    },
    trial::{eventually, web},
};

use super::scene::{FAR, SHOP, SOON, Way, caller, cluster, policy, service, settles, ways, ways_to};

/// Puts up a server of this name on the other node, behind a Service of the same name, with this policy.
pub(crate) fn guarded(name: &str, spec: &str) -> Vec<Way> {
    let cluster = cluster();
    cluster.put_all(
        name,
        &[&web(SHOP, name).on(FAR).account(name).named("http", 8080), &service(SHOP, name, name)],
    );
    let ways = ways(name);
    settles("it answers without a policy", &ways, |way| way.try_ask(&way.get("/")).map(drop));
    cluster.put(&format!("{name}-policy"), policy(name, name, spec));
    ways
}

/// The status of an answer, and whether the engine or the server gave it.
pub(crate) fn verdict(way: &Way, ask: &Ask) -> Result<u16, String> {
    let answer = way.try_ask(ask)?;
    match (answer.status(), answer.seen()) {
        (200, Some(_)) => Ok(200),
        (403, None) if !answer.header("x-mesh-denied-by").is_empty() => Ok(403),
        _ => Err(format!("{answer:?}")),
    }
}

/// Waits until this request is refused on every way.
pub(crate) fn denies(ways: &[Way], ask: impl Fn(&Way) -> Ask) {
    settles("the policy is in force", ways, |way| match verdict(way, &ask(way))? {
        403 => Ok(()),
        other => Err(other.to_string()),
    });
}

/// `http` of a rule: methods, paths, headers and hosts, of requests by Service and by the pod's own address alike.
#[test]
fn rules_about_requests_hold_however_the_pod_is_dialled() {
    let rules = "ingress: [{name: read, ports: [{port: http}], http: [\
                 {methods: [GET, HEAD], paths: [{prefix: /accounts}, {exact: /healthz}, {regex: '/v[0-9]+/.*'}]}, \
                 {paths: [{prefix: /gold}], headers: [{name: x-tier, exact: gold}]}, {hosts: [open.test]}]}]";
    let mut all = guarded("teller", rules);
    all.extend(ways_to(&cluster().resolve("shop/teller:8080")));
    denies(&all, |way| way.get("/"));
    for way in &all {
        for (ask, expected) in [
            (way.get("/accounts"), 200),
            (way.get("/accounts/1?x=1"), 200),
            (way.get("/accountsx"), 403),
            (way.get("/accounts").method("DELETE"), 403),
            (way.get("/healthz"), 200),
            (way.get("/healthz/x"), 403),
            (way.get("/v1/x"), 200),
            (way.get("/v1"), 403),
            (way.get("/gold").header("x-tier", "gold"), 200),
            (way.get("/gold").header("x-tier", "silver"), 403),
            (way.get("/gold"), 403),
            (way.get("/any").authority("open.test"), 200),
            (way.get("/any").authority("open.test:80"), 200),
            (way.get("/any").authority("shut.test"), 403),
        ] {
            assert_eq!(verdict(way, &ask), Ok(expected), "{way}: {ask:?}");
        }
    }
}

/// SEMANTICS 5.8: a proven caller is told policy and rule; one that is not, an id that `meshctl` resolves.
#[test]
fn a_denial_is_told_by_name_to_the_proven_and_by_id_to_others() {
    let rules = "ingress: [{name: all, ports: [{port: http}], http: [{paths: [{prefix: /}]}]}, \
                 {name: no-deletes, action: Deny, ports: [{port: http}], http: [{methods: [DELETE]}]}]";
    let ways = guarded("told", rules);
    let delete = |way: &Way| way.get("/x").method("DELETE");
    denies(&ways, delete);
    for way in &ways {
        let answer = way.ask(&delete(way));
        let by = answer.header("x-mesh-denied-by");
        assert!(by.contains("shop/told") && by.contains("no-deletes"), "{way}: {answer:?}");
        assert_eq!(answer.header("x-mesh-reason"), "Denied", "{way}: {answer:?}");
    }
    for to in cluster().service("shop/told", 80) {
        for version in VERSIONS {
            let way = Way { caller: caller("outside"), from: "outside", to, version };
            assert_eq!(verdict(&way, &way.get("/x")), Ok(200), "{way}");
            let answer = way.ask(&delete(&way));
            let id = answer.header("x-mesh-denied-by");
            assert!(answer.status() == 403 && !id.is_empty() && !id.contains("told"), "{way}: {answer:?}");
            eventually("meshctl knows the id", SOON, || {
                let output = cluster().meshctl(&["explain-denial", id]);
                String::from_utf8_lossy(&output.stdout).contains("no-deletes").then_some(())
            });
        }
    }
}

/// `grpc` of a rule: PERMISSION_DENIED as gRPC has it, for any method of any name that is not allowed.
#[test]
fn calls_are_denied_as_grpc_has_it() {
    let rules =
        "ingress: [{ports: [{port: http}], grpc: [{service: shop.Cart, method: Add}, {service: shop.Open}]}]";
    let ways = guarded("cart", rules);
    denies(&ways, |way| way.get("/"));
    for way in ways.iter().filter(|way| way.version == Version::Http2) {
        for (path, status) in [
            ("/shop.Cart/Add", "0"),
            ("/shop.Cart/Remove", "7"),
            ("/shop.Open/Any", "0"),
            ("/shop.Opener/Any", "7"),
        ] {
            let answer = way.ask(&Ask::call(way.to, path, "x"));
            assert_eq!((answer.status(), answer.grpc_status()), (200, status), "{way} {path}: {answer:?}");
            let denied = !answer.header("x-mesh-denied-by").is_empty();
            assert_eq!(
                (answer.messages.len(), denied),
                if status == "0" { (1, false) } else { (0, true) },
                "{way}"
            );
        }
        // What has no content type of gRPC is judged by its path all the same.
        assert_eq!(verdict(way, &way.get("/shop.Cart/Remove").method("POST")), Ok(403), "{way}");
    }
}

/// An identity and a request in one rule: both must fit.
#[test]
fn identity_and_request_are_judged_together() {
    let rules = "ingress: [{from: [{serviceAccounts: [near]}], ports: [{port: http}], http: [{methods: [GET]}]}, \
                 {from: [{serviceAccounts: [far]}], ports: [{port: http}], http: [{methods: [PUT]}]}]";
    let ways = guarded("both", rules);
    denies(&ways, |way| way.get("/").method("POST"));
    for way in &ways {
        let (may, may_not) = if way.from == "near" { ("GET", "PUT") } else { ("PUT", "GET") };
        assert_eq!(verdict(way, &way.get("/").method(may)), Ok(200), "{way} {may}");
        assert_eq!(verdict(way, &way.get("/").method(may_not)), Ok(403), "{way} {may_not}");
    }
    // No request of somebody who is not proven could be allowed: the connection is refused.
    let way = Way { caller: caller("outside"), from: "outside", ..ways[0] };
    let refused = way.try_ask(&way.get("/")).expect_err("it has no account");
    assert!(refused.contains("Connection refused"), "{refused}");
}

/// Audit: nothing is refused, and the log says of a request what would have been.
#[test]
fn audit_refuses_nothing_and_says_what_it_would() {
    let rules = "mode: Audit, ingress: [{name: read, ports: [{port: http}], http: [{methods: [GET]}]}]";
    let ways = guarded("trial", rules);
    let told = |path: &str| {
        let lines = cluster().access_log();
        lines.iter().any(|(_, line)| line.contains(path) && line.contains("audit") && line.contains("trial"))
    };
    for (index, way) in ways.iter().enumerate() {
        eventually(&format!("{way}: the log has it"), SOON, || {
            let path = format!("/would-{index}");
            assert_eq!(verdict(way, &way.get(&path).method("PUT")), Ok(200), "{way}");
            std::thread::sleep(Duration::from_millis(300));
            told(&path).then_some(())
        });
        let path = format!("/would-not-{index}");
        assert_eq!(verdict(way, &way.get(&path)), Ok(200), "{way}");
        assert!(!told(&path), "{way}: what is allowed would not have been refused");
    }
}
