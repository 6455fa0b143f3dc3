//! `meshctl explain pod/NAME` and `svc/NAME` against nodes that answer as agents do.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::{Format, serve, shown};
use crate::cli::run_dir::RunDir;
use crate::cli::{Outcome, explain};

fn pod(name: &str, state: &str, address: &str) -> Value {
    json!({ "namespace": "bank", "name": name, "uid": name, "state": state, "reason": "", "late_enrolled": state == "wired",
        "preexisting_connections": 2, "addresses": [address], "identity": "spiffe://cluster.local/ns/bank/sa/x" })
}

fn node(directory: &Path, name: &str, pods: Value, dump: Value) {
    let identities = json!([{ "id": "spiffe://cluster.local/ns/bank/sa/x", "state": "valid", "pods": ["bank/vault"],
        "expires_in_seconds": 7200, "error": "" }]);
    let answers = [
        ("/pods", pods),
        ("/identities", identities),
        ("/dump", dump),
        ("/reasons", json!([{ "name": "PolicyDenied", "meaning": "a rule denies it", "check": "" }])),
        ("/failures", json!([])),
    ];
    serve(&directory.join("nodes").join(name).join("admin.sock"), BTreeMap::from(answers));
}

fn dump(endpoints: Value) -> Value {
    json!({
        "pods": [{ "name": "bank/vault", "kernel": { "ingress": "0xa", "egress": "0x0" } }],
        "sets": { "0xa": { "entries": 1, "rules": ["AccessPolicy/bank/vault tellers"] } },
        "services": [
            { "name": "bank/vault:80", "frontends": ["10.96.0.7:80"], "endpoints": endpoints },
            { "name": "bank/vault-other:80", "frontends": ["10.96.0.8:80"], "endpoints": [] },
        ],
    })
}

#[tokio::test]
async fn a_pod_is_told_from_what_its_node_has_loaded() {
    let directory = tempfile::tempdir().unwrap();
    node(directory.path(), "n1", json!([pod("teller", "plain", "10.0.0.1")]), dump(json!([])));
    node(directory.path(), "n2", json!([pod("vault", "wired", "10.0.1.2")]), dump(json!(["10.0.1.2:8080"])));
    let nodes = RunDir::find(Some(directory.path())).unwrap().nodes(None).unwrap();
    for home in [None, Some("n2")] {
        let (view, outcome) = explain::pod(&nodes, "bank/vault", home, None).await.unwrap();
        assert_eq!(outcome, Outcome::Yes);
        assert_eq!(
            shown(&view, Format::Table),
            "Pod bank/vault on n2: wired, in the mesh\n\
             \x20 addresses     10.0.1.2\n\
             \x20 identity      spiffe://cluster.local/ns/bank/sa/x\n\
             \x20 certificate   valid, ends in 2h0m\n\
             \x20 late          it ran before it was wired\n\
             \x20 older         2 connections from before it was wired, without the mesh; `meshctl enroll --reset` ends them\n\
             \x20 behind        bank/vault:80\n\
             \x20 ingress       AccessPolicy/bank/vault tellers\n\
             \x20 egress        no policy; MeshConfig's defaults\n\
             \n\
             Nothing was refused or failed lately.\n"
        );
    }
    let missing = explain::pod(&nodes, "bank/nobody", None, None).await.unwrap_err().to_string();
    assert!(missing.starts_with("no node has a pod `bank/nobody`"), "{missing}");
    let no_agent = explain::pod(&nodes, "bank/vault", Some("n9"), None).await.unwrap_err().to_string();
    assert!(no_agent.contains("node `n9`, and no agent of the mesh is there"), "{no_agent}");
}

#[tokio::test]
async fn a_pod_that_waits_for_the_mesh_is_not_in_order() {
    let directory = tempfile::tempdir().unwrap();
    node(directory.path(), "n1", json!([pod("vault", "pending", "10.0.0.1")]), dump(json!([])));
    let nodes = RunDir::find(Some(directory.path())).unwrap().nodes(None).unwrap();
    let asked = Some("mesh.internal/mode: pod -, namespace enabled".to_owned());
    let (view, outcome) = explain::pod(&nodes, "bank/vault", None, asked).await.unwrap();
    assert_eq!(outcome, Outcome::No);
    let text = shown(&view, Format::Table);
    assert!(
        text.starts_with(
            "Pod bank/vault on n1: pending, to be in the mesh, and without network until it is\n"
        ),
        "{text}"
    );
    assert!(text.contains("  labels        mesh.internal/mode: pod -, namespace enabled\n"), "{text}");
}

#[tokio::test]
async fn a_service_is_told_with_who_is_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let both = json!(["10.0.0.1:8080", "10.0.1.2:8080"]);
    node(directory.path(), "n1", json!([pod("vault-1", "plain", "10.0.0.1")]), dump(both));
    node(
        directory.path(),
        "n2",
        json!([pod("vault-2", "wired", "10.0.1.2")]),
        dump(json!(["10.0.1.2:8080"])),
    );
    let nodes = RunDir::find(Some(directory.path())).unwrap().nodes(None).unwrap();
    let (view, outcome) = explain::service(&nodes, None, "bank/vault", None).await.unwrap();
    assert_eq!(outcome, Outcome::Yes);
    assert_eq!(
        shown(&view, Format::Table),
        "Service bank/vault:80 at 10.96.0.7:80\n\
         ENDPOINT       POD           NODE  STATE  IDENTITY\n\
         10.0.0.1:8080  bank/vault-1  n1    plain  spiffe://cluster.local/ns/bank/sa/x\n\
         10.0.1.2:8080  bank/vault-2  n2    wired  spiffe://cluster.local/ns/bank/sa/x\n\
         other endpoints on: n2\n\
         1 of 2 endpoints are in the mesh: pods of the mesh reach those by mTLS or kernel to kernel, the others in plaintext\n\
         No node says which routes it has\n\
         the controller is not there to say which routes are not in force\n"
    );
    let (view, outcome) = explain::service(&nodes, None, "bank/vault-other", None).await.unwrap();
    assert_eq!(outcome, Outcome::No);
    assert!(shown(&view, Format::Table).contains("nothing ready is behind it"));
    let missing = explain::service(&nodes, None, "bank/nothing", None).await.unwrap_err().to_string();
    assert!(missing.starts_with("no node knows `svc/bank/nothing`"), "{missing}");
}
