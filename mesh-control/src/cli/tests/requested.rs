//! `meshctl can` about requests, and `meshctl explain-denial`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{answer, arguments, judged, pod, serve, shown};
use crate::cli::output::Format;
use crate::cli::run_dir::RunDir;
use crate::cli::{CanArguments, Outcome, can, explain};

fn request(source: &str, destination: &str, target: &str) -> CanArguments {
    CanArguments {
        method: Some("GET".into()),
        target: Some(target.into()),
        headers: vec!["x-a: 1".into()],
        host: Some("shop".into()),
        ..arguments(source, destination)
    }
}

fn told(target: &str) -> Value {
    json!({ "method": "GET", "target": target, "host": "shop", "headers": ["x-a: 1"] })
}

fn with(mut answer: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().unwrap() {
        answer[name] = value.clone();
    }
    answer
}

#[tokio::test]
async fn a_request_goes_to_the_other_node_as_routes_have_made_it() {
    let directory = tempfile::tempdir().unwrap();
    let socket = |node: &str| directory.path().join("nodes").join(node).join("admin.sock");
    let share = with(
        judged("n2", true, ""),
        json!({ "backend": "bank/v2:80", "weight": 10, "sent": told("/new/a?b=c"), "transport": "tunnel" }),
    );
    let routed = with(
        answer("n1", &json!([share])),
        json!({
            "request": told("/old/a?b=c"), "routed": "by request",
            "route": "HTTPRoute/bank/vault", "route_rule": "rules[1]",
        }),
    );
    serve(
        &socket("n1"),
        BTreeMap::from([
            ("/pods", json!([pod("teller-1", "10.0.0.1")])),
            (
                "/can?source=bank%2Fteller-1&destination=svc%2Fbank%2Fvault&port=80&protocol=tcp&method=GET&target=%2Fold%2Fa%3Fb%3Dc&host=shop&header=x-a%3A%201",
                routed,
            ),
        ]),
    );
    let refused = with(
        judged("n2", false, "PolicyDenied"),
        json!({ "ingress": { "policy": "AccessPolicy/bank/vault", "rule": "no-new" } }),
    );
    serve(
        &socket("n2"),
        BTreeMap::from([
            ("/pods", json!([])),
            (
                "/can?source=10.0.0.1&destination=10.0.1.2&port=8080&protocol=tcp&method=GET&target=%2Fnew%2Fa%3Fb%3Dc&host=shop&header=x-a%3A%201",
                answer("n2", &json!([refused])),
            ),
        ]),
    );
    let nodes = RunDir::find(Some(directory.path())).unwrap().nodes(None).unwrap();
    let asked = request("bank/teller-1", "svc/bank/vault:80", "/old/a?b=c");
    let (view, outcome) = can::can(&nodes, None, None, &asked).await.unwrap();
    assert_eq!(outcome, Outcome::No);
    assert_eq!(
        shown(&view, Format::Table),
        "bank/teller-1 -> svc/bank/vault:80 GET /old/a?b=c (10.96.0.7:80/tcp): denied\n\
         Service bank/vault:80\n\
         Route HTTPRoute/bank/vault rules[1]\n\
         Sent as GET /new/a?b=c host shop\n\
         BACKEND     WEIGHT  ENDPOINT       POD           NODE  VERDICT  TRANSPORT  EGRESS  INGRESS                         REASON\n\
         bank/v2:80  10      10.0.1.2:8080  bank/vault-1  n2    denied   tunnel     -       AccessPolicy/bank/vault no-new  PolicyDenied\n\
         PolicyDenied: because\n"
    );
    let data: Value = serde_json::from_str(&shown(&view, Format::Json)).unwrap();
    assert_eq!((&data["allowed"], &data["route"]), (&json!(false), &json!("HTTPRoute/bank/vault")));
}

#[tokio::test]
async fn what_depends_on_the_request_says_on_which_rules() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nodes/n1/admin.sock");
    let depends = json!([{ "policy": "AccessPolicy/bank/vault", "rule": "read" }]);
    let local = with(judged("n1", true, ""), json!({ "depends_on": depends }));
    let known = answer("n1", &json!([local.clone(), local]));
    let nowhere = with(
        answer("n1", &json!([])),
        json!({
            "request": told("/nowhere"), "routed": "by request",
            "answers": [{ "weight": 1, "status": 404, "reason": "NoRoute", "explanation": "none", "detail": "no rule", "refused": true }],
        }),
    );
    let moved = with(
        answer("n1", &json!([])),
        json!({
            "request": told("/moved"), "routed": "by request", "route": "HTTPRoute/bank/vault", "route_rule": "moved",
            "answers": [{ "weight": 1, "status": 301, "reason": "Answered", "explanation": "redirect", "detail": "location: http://x/", "refused": false }],
        }),
    );
    serve(
        &socket,
        BTreeMap::from([
            ("/pods", json!([pod("teller-1", "10.0.0.1")])),
            ("/can?source=bank%2Fteller-1&destination=svc%2Fbank%2Fvault&port=80&protocol=tcp", known),
            (
                "/can?source=bank%2Fteller-1&destination=svc%2Fbank%2Fvault&port=80&protocol=tcp&method=GET&target=%2Fnowhere",
                nowhere,
            ),
            (
                "/can?source=bank%2Fteller-1&destination=svc%2Fbank%2Fvault&port=80&protocol=tcp&method=GET&target=%2Fmoved",
                moved,
            ),
        ]),
    );
    let nodes = RunDir::find(Some(directory.path())).unwrap().nodes(None).unwrap();
    let ask = |asked: CanArguments| {
        let nodes = &nodes;
        async move {
            let (view, outcome) = can::can(nodes, None, None, &asked).await.unwrap();
            (outcome, shown(&view, Format::Table))
        }
    };
    let (outcome, text) = ask(arguments("bank/teller-1", "svc/bank/vault:80")).await;
    assert_eq!(outcome, Outcome::Unknown, "{text}");
    assert!(
        text.contains("(10.96.0.7:80/tcp): depends on the request\n") && text.contains("  depends  "),
        "{text}"
    );
    assert!(
        text.ends_with(
            "It depends on the request: rules AccessPolicy/bank/vault read; ask with METHOD PATH\n"
        ),
        "{text}"
    );
    let (outcome, text) = ask(request("bank/teller-1", "svc/bank/vault:80", "/nowhere")).await;
    assert_eq!(outcome, Outcome::No);
    assert!(text.contains(": refused\n") && text.ends_with("NoRoute: 404 no rule\n"), "{text}");
    let (outcome, text) = ask(request("bank/teller-1", "svc/bank/vault:80", "/moved")).await;
    assert_eq!(outcome, Outcome::Yes);
    assert!(
        text.ends_with("Route HTTPRoute/bank/vault moved\nAnswered: 301 location: http://x/\n"),
        "{text}"
    );
}

#[tokio::test]
async fn a_denial_is_found_on_whichever_node_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let socket = |node: &str| directory.path().join("nodes").join(node).join("admin.sock");
    let line = json!({
        "time": "2026-11-21T10:00:00Z", "verdict": "denied", "reporter": "destination", "protocol": "HTTP/1.1",
        "source": { "address": "192.0.2.1:4000" },
        "destination": { "address": "10.0.1.2:8080", "pod": "vault-1", "namespace": "bank" },
        "method": "GET", "path": "/accounts", "status": 403, "denial": "00aa",
        "policy": "AccessPolicy/bank/vault", "rule": "(no rule allows)", "reason": "Denied",
    });
    serve(&socket("n1"), BTreeMap::from([("/pods", json!([]))]));
    serve(&socket("n2"), BTreeMap::from([("/denial?id=00aa", line)]));
    let run_dir = RunDir::find(Some(directory.path())).unwrap();
    let nodes = run_dir.nodes(None).unwrap();
    let (view, outcome) = explain::denial(&nodes, "00aa").await.unwrap();
    assert_eq!(outcome, Outcome::Yes);
    assert_eq!(
        shown(&view, Format::Table),
        "Denial 00aa, n2 2026-11-21T10:00:00Z\n\
         \x20 192.0.2.1:4000 -> bank/vault-1 10.0.1.2:8080\n\
         \x20 request GET /accounts\n\
         \x20 rule AccessPolicy/bank/vault (no rule allows)\n"
    );
    let unknown = explain::denial(&nodes, "00bb").await.unwrap_err().to_string();
    assert!(unknown.starts_with("no node knows a denial `00bb`"), "{unknown}");
    std::fs::create_dir_all(directory.path().join("nodes/n3")).unwrap();
    let nodes = run_dir.nodes(None).unwrap();
    let silent = explain::denial(&nodes, "00bb").await.unwrap_err().to_string();
    assert!(silent.starts_with("node n3 does not answer"), "{silent}");
}
