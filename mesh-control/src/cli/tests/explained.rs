//! `meshctl explain`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{serve, shown};
use crate::cli::output::Format;
use crate::cli::run_dir::RunDir;
use crate::cli::{Outcome, explain};

fn reasons() -> Value {
    json!([
        { "name": "PolicyDenied", "meaning": "a rule denies it", "check": "the rule" },
        { "name": "NameMismatch", "meaning": "another identity", "check": "discovery" },
        { "name": "TunnelRefused", "meaning": "a RST", "check": "the agent there" },
    ])
}

fn mismatch() -> Value {
    json!({
        "time": "2026-11-21T10:00:05Z", "first": "2026-11-21T10:00:00Z", "count": 3, "verdict": "failed",
        "reason": "NameMismatch", "reporter": "source", "detail": "the peer proved spiffe://x",
        "expected_identity": "spiffe://cluster.local/ns/bank/sa/vault", "transport": "tunnel",
        "source": { "address": "10.0.0.1:4000", "pod": "teller-1", "namespace": "bank", "identity": "spiffe://cluster.local/ns/bank/sa/teller" },
        "destination": { "address": "10.0.1.2:8080" },
    })
}

fn denied() -> Value {
    json!({
        "time": "2026-11-21T10:00:09Z", "first": "2026-11-21T10:00:09Z", "count": 1, "verdict": "denied",
        "reason": "PolicyDenied", "reporter": "destination", "policy": "AccessPolicy/bank/vault", "rule": "no-shop",
        "source": { "address": "" }, "destination": { "address": "10.0.1.2:8080", "pod": "vault-1", "namespace": "bank" },
    })
}

#[tokio::test]
async fn what_happened_is_explained_the_latest_first() {
    let directory = tempfile::tempdir().unwrap();
    let socket = |node: &str| directory.path().join("nodes").join(node).join("admin.sock");
    serve(&socket("n1"), BTreeMap::from([("/reasons", reasons()), ("/failures", json!([mismatch()]))]));
    serve(
        &socket("n2"),
        BTreeMap::from([
            ("/reasons", reasons()),
            ("/failures", json!([denied()])),
            ("/failures?pod=bank%2Fother", json!([])),
        ]),
    );
    std::fs::create_dir_all(directory.path().join("nodes/n3")).unwrap();
    let run_dir = RunDir::find(Some(directory.path())).unwrap();
    let nodes = run_dir.nodes(None).unwrap();
    let (view, outcome) = explain::explain(&nodes, None, None).await.unwrap();
    assert_eq!(outcome, Outcome::No);
    let text = shown(&view, Format::Table);
    assert!(
        text.starts_with(
            "PolicyDenied: a rule denies it\n\
             \x20 check the rule\n\
             \x20 n2 2026-11-21T10:00:09Z, told by the destination\n\
             \x20   (unknown address) -> bank/vault-1 10.0.1.2:8080\n\
             \x20   rule AccessPolicy/bank/vault no-shop\n\
             \n\
             NameMismatch: another identity\n\
             \x20 check discovery\n\
             \x20 n1 2026-11-21T10:00:05Z, 3 times since 2026-11-21T10:00:00Z, told by the source\n\
             \x20   bank/teller-1 10.0.0.1:4000 spiffe://cluster.local/ns/bank/sa/teller -> 10.0.1.2:8080\n\
             \x20   expected spiffe://cluster.local/ns/bank/sa/vault\n\
             \x20   detail the peer proved spiffe://x\n"
        ),
        "{text}"
    );
    assert!(text.contains("\nnode n3 does not answer at "), "{text}");
    let data: Value = serde_json::from_str(&shown(&view, Format::Json)).unwrap();
    assert_eq!(data["failures"][1]["transport"], "tunnel", "nothing is lost for programs");
    assert_eq!(data["failures"][1]["node"], "n1");

    let second = run_dir.nodes(Some("n2")).unwrap();
    let (view, outcome) = explain::explain(&second, None, Some("bank/other")).await.unwrap();
    assert_eq!(
        (outcome, shown(&view, Format::Table).as_str()),
        (Outcome::Yes, "Nothing was refused or failed lately.\n")
    );
    let (view, outcome) = explain::explain(&second, Some("tunnelrefused"), None).await.unwrap();
    assert_eq!(outcome, Outcome::Yes);
    assert_eq!(
        shown(&view, Format::Table),
        "TunnelRefused: a RST\n  check the agent there\n\nNothing was refused or failed for this reason lately.\n"
    );
    let unknown = explain::explain(&second, Some("Nothing"), None).await.unwrap_err().to_string();
    assert_eq!(unknown, "there is no reason `Nothing`; there are: PolicyDenied, NameMismatch, TunnelRefused");
    let silent = explain::explain(&run_dir.nodes(Some("n3")).unwrap(), None, None).await;
    assert!(silent.unwrap_err().to_string().starts_with("node n3 does not answer"));
}

fn routes(ready: usize) -> Value {
    let backend = |name: &str, weight: u32| {
        let endpoints: Vec<String> = (0..ready).map(|number| format!("10.0.0.{number}:8080")).collect();
        json!({ "backend": name, "weight": weight, "filters": [], "ready": ready, "endpoints": endpoints })
    };
    let rule = |route: &str, backends: Value| json!({ "route": route, "rule": "rules[0]", "filters": ["rewrite, prefix /"], "backends": backends, "timeouts": "request 10s", "retry": "" });
    let table = |consumer: &str, rule: Value| {
        json!({
            "consumer": consumer, "decides_on": "requests",
            "entries": [{ "matches": "path /a or below", "rule": 0 }, { "matches": "any path, method GET", "rule": 0 }],
            "rules": [rule],
        })
    };
    json!({ "node": "n", "service": "bank/vault", "ports": [{
        "port": 80, "protocol": "tcp",
        "tables": [
            table("", rule("HTTPRoute/bank/vault", json!([backend("bank/v1:80", 90), { "backend": "", "weight": 10, "filters": [], "ready": 0, "endpoints": [], "invalid": "no such Service" }]))),
            table("shop", rule("HTTPRoute/shop/vault", json!([backend("shop/mock:80", 1)]))),
        ],
    }]})
}

#[tokio::test]
async fn the_routes_of_a_service_are_told_for_a_caller() {
    let directory = tempfile::tempdir().unwrap();
    let pod = |name: &str, state: &str, address: &str| json!({ "namespace": "shop", "name": name, "state": state, "addresses": [address], "identity": "" });
    let dump = json!({ "services": [{ "name": "bank/vault:80", "frontends": ["10.96.0.7:80"], "endpoints": ["10.0.0.1:8080"] }] });
    for (node, pods, ready) in [
        ("n1", json!([pod("clerk", "wired", "10.0.0.8")]), 1),
        ("n2", json!([pod("old", "plain", "10.0.0.9")]), 2),
    ] {
        serve(
            &directory.path().join("nodes").join(node).join("admin.sock"),
            BTreeMap::from([
                ("/pods", pods),
                ("/dump", dump.clone()),
                ("/routes?service=bank%2Fvault", routes(ready)),
            ]),
        );
    }
    let trouble = json!([{
        "route": "HTTPRoute/bank/wrong", "parent": { "kind": "Service", "name": "vault", "port": 81 },
        "type": "Accepted", "status": "False", "reason": "NoMatchingParent", "message": "bank/vault has no port 81",
    }]);
    serve(
        &directory.path().join("control.sock"),
        BTreeMap::from([("/routes?service=bank%2Fvault", trouble)]),
    );
    let run_dir = RunDir::find(Some(directory.path())).unwrap();
    let nodes = run_dir.nodes(None).unwrap();
    let controller = run_dir.controller();
    let told = |from: Option<&'static str>| {
        let (nodes, controller) = (&nodes, &controller);
        async move {
            let (view, outcome) = explain::service(nodes, Some(controller), "bank/vault", from).await?;
            let text = shown(&view, Format::Table);
            let routes = text.split_once("in plaintext\n").unwrap().1.to_owned();
            Ok::<_, crate::cli::CliError>((outcome, routes))
        }
    };
    let (outcome, text) = told(Some("shop/clerk")).await.unwrap();
    assert_eq!(outcome, Outcome::No, "a route is not in force");
    assert_eq!(
        text,
        "Port 80/tcp: requests for callers in shop, in the place of the producer's (consumer)\n\
         \x20 1. path /a or below -> HTTPRoute/shop/vault rules[0]\n\
         \x20 2. any path, method GET -> HTTPRoute/shop/vault rules[0]\n\
         \x20 otherwise: 404\n\
         \x20 HTTPRoute/shop/vault rules[0]\n\
         \x20   filter rewrite, prefix /\n\
         \x20   backend shop/mock:80, weight 1, 1 ready: 10.0.0.0:8080\n\
         \x20   timeouts request 10s\n\
         Routes are for callers in the mesh that dial a cluster address: not for others, nor for node ports, external and load-balancer addresses\n\
         HTTPRoute/bank/wrong for port 81: Accepted False, NoMatchingParent: bank/vault has no port 81\n"
    );
    let (_, text) = told(Some("mail")).await.unwrap();
    assert!(text.contains("(producer)\n") && !text.contains("(consumer)"), "{text}");
    assert!(text.contains("    backend leads nowhere (500), weight 10: no such Service\n"), "{text}");
    let (_, text) = told(None).await.unwrap();
    assert!(text.contains("(producer)\n") && text.contains("(consumer)\n"), "{text}");
    let (_, text) = told(Some("shop/old")).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(text.starts_with("No route applies to shop/old: it is not in the mesh\n"), "{text}");
    let unknown = told(Some("shop/nobody")).await.unwrap_err().to_string();
    assert!(unknown.starts_with("no node has a pod `shop/nobody`"), "{unknown}");
}
