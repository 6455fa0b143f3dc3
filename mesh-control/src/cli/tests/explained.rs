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
