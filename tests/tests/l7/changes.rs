//! What changes under open streams: what is still allowed goes on, what no longer is ends.

use std::time::Duration;

use mesh_tests::{
    http::{
        caller::{Ask, Pending},
        order::Version,
    },
    trial::web,
};

use super::{
    access::{denies, guarded, verdict},
    scene::{FAR, SHOP, SOON, Way, cluster, policy, route, routed, service, settles, ways},
};

const EVERY: Duration = Duration::from_millis(20);

/// A WebSocket and, in HTTP/2, a stream of gRPC on every way.
fn streams(ways: &[Way]) -> Vec<(String, Pending)> {
    let mut open = Vec::new();
    for way in ways {
        let socket = Ask::web_socket(way.to, "/ws", EVERY).version(way.version);
        open.push((format!("{way}: WebSocket"), way.caller.begin(&socket)));
        if way.version == Version::Http2 {
            let call = Ask::conversation(way.to, "/shop.Cart/Watch", EVERY);
            open.push((format!("{way}: gRPC"), way.caller.begin(&call)));
        }
    }
    go_on(&mut open, "at first");
    open
}

fn go_on(streams: &mut [(String, Pending)], when: &str) {
    for (which, stream) in streams {
        stream.goes_on(5, SOON).unwrap_or_else(|end| panic!("{which} {when}: {end:?}"));
    }
}

/// Issue, 4: streams stay open through a change of routes, a change of policy that allows them still, and the loss of
/// another endpoint.
#[test]
fn streams_stay_open_through_changes_that_are_not_theirs() {
    let cluster = cluster();
    let pod = |name: &str| web("long", name).on(FAR).label("app", "long").named("http", 8080);
    let rules = "  - backendRefs: [{name: long, namespace: long, port: 80}]\n";
    let allows = |what: &str| {
        let all = policy("long", "long", &format!("ingress: [{{ports: [{{port: http}}], http: [{what}]}}]"));
        all.replace(&format!("namespace: {SHOP}"), "namespace: long")
    };
    cluster.put("long-policy", allows("{methods: [GET, POST, CONNECT]}"));
    cluster
        .put_all("long", &[&pod("stays"), &service("long", "long", "long"), &service(SHOP, "long", "one")]);
    cluster.put("long-route", route("long", rules));
    let ways = ways("long");
    routed(&ways, "/");
    let mut open = streams(&ways);
    // Another endpoint comes, and goes at once with all that it had.
    cluster.put("long-other", pod("goes").spec("terminationGracePeriodSeconds: 0"));
    settles("the other is asked", &ways, |way| {
        let pods: Vec<String> =
            (0..20).filter_map(|_| Some(way.try_ask(&way.get("/")).ok()?.seen()?.pod)).collect();
        if pods.iter().any(|pod| pod == "goes") { Ok(()) } else { Err(format!("{pods:?}")) }
    });
    go_on(&mut open, "with another endpoint");
    cluster.remove("long-other");
    cluster.bed().wait_gone("long", "goes", SOON).unwrap();
    go_on(&mut open, "without another endpoint");
    cluster.put("long-route", route("long", "  - backendRefs: [{name: two, port: 80}]\n"));
    settles("new requests go elsewhere", &ways, |way| {
        let seen = way.try_ask(&way.get("/"))?.seen().ok_or("no server")?;
        if seen.pod == "two" { Ok(()) } else { Err(seen.pod) }
    });
    go_on(&mut open, "after a change of the route");
    cluster.put("long-policy", allows("{paths: [{prefix: /}]}"));
    std::thread::sleep(Duration::from_secs(1));
    go_on(&mut open, "after a change of the policy");
    cluster.remove("long-route");
    std::thread::sleep(Duration::from_secs(1));
    go_on(&mut open, "without the route");
}

/// SEMANTICS 5.5: a change of the policy counts for the next request of an open connection, and ends a stream that it
/// denies; what it allows goes on, on the same connection.
#[test]
fn a_change_of_policy_counts_on_open_connections() {
    let rules = |paths: &str| {
        format!("ingress: [{{name: some, ports: [{{port: http}}], http: [{{paths: [{paths}]}}]}}]")
    };
    let all = "{prefix: /ws}, {prefix: /shop.Cart}, {prefix: /open}";
    let ways = guarded("revised", &rules(all));
    denies(&ways, |way| way.get("/other"));
    let over = |way: &Way, target: &str| way.get(target).over(&format!("revised {way}"));
    let locals: Vec<_> = ways.iter().map(|way| way.ask(&over(way, "/open")).head.local).collect();
    let mut open = streams(&ways);
    cluster().put("revised-policy", policy("revised", "revised", &rules("{prefix: /ws}")));
    for (way, local) in ways.iter().zip(locals) {
        settles("the next request is denied", std::slice::from_ref(way), |way| {
            match verdict(way, &over(way, "/open"))? {
                403 => Ok(()),
                other => Err(other.to_string()),
            }
        });
        let after = way.ask(&over(way, "/ws"));
        assert_eq!(after.head.local, local, "{way}: it is still the same connection");
        assert_eq!(after.status(), 200, "{way}: {after:?}");
    }
    let (mut ended, mut going): (Vec<_>, Vec<_>) =
        open.drain(..).partition(|(which, _)| which.ends_with("gRPC"));
    assert_eq!((ended.len(), going.len()), (4, 8));
    for (which, stream) in &mut ended {
        let end = stream.end_within(SOON).unwrap_or_else(|| panic!("{which} goes on"));
        if let Ok(answer) = &end {
            assert_eq!(answer.grpc_status(), "7", "{which}: {answer:?}");
        }
    }
    go_on(&mut going, "which the policy allows");
    cluster().put("revised-policy", policy("revised", "revised", &rules("{prefix: /none}")));
    for (which, stream) in &mut going {
        assert!(stream.end_within(SOON).is_some(), "{which} goes on");
    }
}
