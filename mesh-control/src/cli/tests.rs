//! The commands against sockets that answer as agents and controllers do.

mod certificates;
mod explained;
mod objects;
mod requested;
mod reset;

use std::collections::BTreeMap;
use std::path::Path;

use clap::Parser;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::endpoint::{Destination, source};
use super::output::{Format, View, outline, table};
use super::run_dir::RunDir;
use super::{Arguments, CanArguments, Outcome, can, check, status};

/// Serves fixed answers by the start of the path.
fn serve(socket: &Path, answers: BTreeMap<&'static str, Value>) {
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = request.split(' ').nth(1).unwrap();
            let found = answers.iter().rev().find(|(start, _)| path.starts_with(**start));
            let (code, body) = match found {
                Some((_, body)) => ("200 OK", body.to_string()),
                None => (
                    "404 Not Found",
                    json!({ "error": format!("`{path}` is not known on this node") }).to_string(),
                ),
            };
            let answer = format!(
                "HTTP/1.1 {code}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
}

fn pod(name: &str, address: &str) -> Value {
    json!({ "namespace": "bank", "name": name, "uid": name, "state": "wired", "addresses": [address] })
}

fn answer(node: &str, endpoints: &Value) -> Value {
    json!({
        "node": node, "source": "10.0.0.1", "destination": "10.96.0.7", "port": 80, "protocol": "tcp",
        "service": "bank/vault:80", "allowed": true, "reason": "", "explanation": "", "endpoints": endpoints,
    })
}

fn judged(node: &str, allowed: bool, reason: &str) -> Value {
    json!({
        "address": "10.0.1.2:8080", "pod": "bank/vault-1", "node": node, "allowed": allowed, "reason": reason,
        "explanation": if reason.is_empty() { "" } else { "because" }, "transport": "plaintext",
        "egress": null, "ingress": if node == "n2" && !allowed { json!({"policy": "AccessPolicy/bank/vault", "rule": "(no rule allows)"}) } else { Value::Null },
        "audit": null,
    })
}

fn arguments(source: &str, destination: &str) -> CanArguments {
    CanArguments {
        source: source.into(),
        destination: destination.into(),
        method: None,
        target: None,
        headers: Vec::new(),
        host: None,
        udp: false,
        namespace: None,
    }
}

fn shown(view: &View, format: Format) -> String {
    let mut text = Vec::new();
    view.print(format, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn the_way_in_is_judged_by_the_destinations_node() {
    let directory = tempfile::tempdir().unwrap();
    let socket = |node: &str| directory.path().join("nodes").join(node).join("admin.sock");
    serve(
        &socket("n1"),
        BTreeMap::from([
            ("/pods", json!([pod("teller-1", "10.0.0.1")])),
            ("/can?source=bank%2Fteller-1", answer("n1", &json!([judged("n2", true, "")]))),
        ]),
    );
    serve(
        &socket("n2"),
        BTreeMap::from([
            ("/pods", json!([pod("vault-1", "10.0.1.2")])),
            (
                "/can?source=10.0.0.1&destination=10.0.1.2&port=8080",
                answer("n2", &json!([judged("n2", false, "NoRuleAllows")])),
            ),
        ]),
    );
    let nodes = RunDir::find(Some(directory.path())).unwrap().nodes(None).unwrap();
    let (view, outcome) =
        can::can(&nodes, None, None, &arguments("bank/teller-1", "svc/bank/vault:80")).await.unwrap();
    assert_eq!(outcome, Outcome::No);
    assert_eq!(
        shown(&view, Format::Table),
        "bank/teller-1 -> svc/bank/vault:80 (10.96.0.7:80/tcp): denied\n\
         Service bank/vault:80\n\
         ENDPOINT       POD           NODE  VERDICT  TRANSPORT  EGRESS  INGRESS                                   REASON\n\
         10.0.1.2:8080  bank/vault-1  n2    denied   plaintext  -       AccessPolicy/bank/vault (no rule allows)  NoRuleAllows\n\
         NoRuleAllows: because\n"
    );
    let data: Value = serde_json::from_str(&shown(&view, Format::Json)).unwrap();
    assert_eq!(data["allowed"], false);
    let unknown =
        can::can(&nodes, None, None, &arguments("bank/nobody", "svc/bank/vault:80")).await.unwrap_err();
    assert!(unknown.to_string().starts_with("no node has a pod `bank/nobody`"), "{unknown}");
}

#[tokio::test]
async fn what_only_a_silent_node_could_tell_is_not_judged() {
    let directory = tempfile::tempdir().unwrap();
    let socket = |node: &str| directory.path().join("nodes").join(node).join("admin.sock");
    serve(
        &socket("n1"),
        BTreeMap::from([
            ("/pods", json!([pod("teller-1", "10.0.0.1")])),
            ("/can?source=bank%2Fteller-1", answer("n1", &json!([judged("n1", true, "")]))),
            ("/can?source=bank%2Fteller-1&destination=far", answer("n1", &json!([judged("n2", true, "")]))),
        ]),
    );
    std::fs::create_dir_all(directory.path().join("nodes/n2")).unwrap();
    let nodes = RunDir::find(Some(directory.path())).unwrap().nodes(None).unwrap();
    let (_, outcome) =
        can::can(&nodes, None, None, &arguments("bank/teller-1", "bank/near:1")).await.unwrap();
    assert_eq!(outcome, Outcome::Yes, "nobody else has to be asked");
    let (view, outcome) =
        can::can(&nodes, None, None, &arguments("bank/teller-1", "far/away:1")).await.unwrap();
    assert_eq!(outcome, Outcome::Unknown);
    let text = shown(&view, Format::Table);
    assert!(text.contains("  not judged  ") && text.contains("\nnode n2 does not answer at "), "{text}");
    let data: Value = serde_json::from_str(&shown(&view, Format::Json)).unwrap();
    assert_eq!(data["allowed"], false);
    let lost = can::can(&nodes, None, None, &arguments("bank/nobody", "bank/near:1")).await.unwrap_err();
    assert!(lost.to_string().starts_with("node n2 does not answer"), "{lost}");
}

#[tokio::test]
async fn a_missing_feature_is_no_unless_another_way_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let feature = |present| json!([{ "name": "tcx", "since": "6.6", "present": present, "detail": "source validation" }]);
    serve(&directory.path().join("nodes/n1/admin.sock"), BTreeMap::from([("/check", feature(true))]));
    serve(&directory.path().join("nodes/n2/admin.sock"), BTreeMap::from([("/check", feature(false))]));
    let run_dir = RunDir::find(Some(directory.path())).unwrap();
    let (_, outcome) = check::features(&run_dir.nodes(Some("n1")).unwrap()).await.unwrap();
    assert_eq!(outcome, Outcome::Yes);
    let (view, outcome) = check::features(&run_dir.nodes(None).unwrap()).await.unwrap();
    assert_eq!(outcome, Outcome::No);
    assert!(shown(&view, Format::Table).contains("tcx      6.6    MISSING  source validation"));
    let other_way =
        json!([{ "name": "NS_GET_ID", "since": "6.18", "present": false, "needed": false, "detail": "" }]);
    serve(&directory.path().join("nodes/n3/admin.sock"), BTreeMap::from([("/check", other_way)]));
    let (view, outcome) = check::features(&run_dir.nodes(Some("n3")).unwrap()).await.unwrap();
    assert_eq!(outcome, Outcome::Yes);
    assert!(shown(&view, Format::Table).contains("no, not needed"));
}

#[tokio::test]
async fn status_shows_what_needs_attention_and_who_is_silent() {
    let directory = tempfile::tempdir().unwrap();
    let condition = |kind: &str, status: &str| json!({ "type": kind, "status": status, "reason": "R", "message": "m", "observedGeneration": 1 });
    let conditions = json!([
        condition("Accepted", "True"),
        condition("Programmed", "False"),
        condition("Conflicted", "True")
    ]);
    serve(
        &directory.path().join("control.sock"),
        BTreeMap::from([(
            "/status",
            json!({
                "sequence": 7, "sourceError": null, "nodes": [{}],
                "objects": [{ "apiVersion": "x", "kind": "AccessPolicy", "namespace": "bank", "name": "vault", "conditions": conditions }],
            }),
        )]),
    );
    serve(
        &directory.path().join("nodes/n1/admin.sock"),
        BTreeMap::from([(
            "/status",
            json!({
                "ready": true, "unready": [], "wire": { "programmed": true }, "pods": { "wired": 3, "pending": 1 }, "problems": ["pod bank/x is pending: slow"],
            }),
        )]),
    );
    std::fs::create_dir_all(directory.path().join("nodes/n2")).unwrap();
    let run_dir = RunDir::find(Some(directory.path())).unwrap();
    let (view, outcome) = status::status(&run_dir.controller(), None, &run_dir.nodes(None).unwrap()).await;
    assert_eq!(outcome, Outcome::No);
    let text = shown(&view, Format::Table);
    for line in [
        "Controller: in order, 7 builds, 1 nodes",
        "n1    yes    yes         3      1        0      0        1",
        "  n1: pod bank/x is pending: slow",
        "  n2: node n2 does not answer at ",
        "AccessPolicy/bank/vault  Programmed  False   R       m",
        "AccessPolicy/bank/vault  Conflicted  True    R       m",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("Accepted"));
    assert!(shown(&view, Format::Yaml).contains("object: AccessPolicy/bank/vault"));
}

#[test]
fn destinations_and_sources_are_read() {
    let read = |text: &str| Destination::parse(text).map(|read| (read.name, read.port)).ok();
    let name = |name: &str, port| Some((name.to_owned(), port));
    assert_eq!(read("bank/vault:80"), name("bank/vault", Some(80)));
    assert_eq!(read("svc/bank/vault"), name("svc/bank/vault", None));
    assert_eq!(read("10.0.0.1:443"), name("10.0.0.1", Some(443)));
    assert_eq!(read("[fd00::1]:443"), name("fd00::1", Some(443)));
    assert_eq!(read("fd00::1"), name("fd00::1", None));
    for wrong in ["", "vault", "bank/vault:http", "bank/vault:0", "a/b/c/d", "bank/"] {
        assert_eq!(read(wrong), None, "{wrong}");
    }
    assert!(source("bank/teller").is_ok() && source("10.0.0.1").is_ok());
    assert!(source("teller").is_err());
}

#[test]
fn without_a_testbed_the_error_says_how_to_start_one() {
    let directory = tempfile::tempdir().unwrap();
    let none = RunDir::only_below(&directory.path().join("none")).unwrap_err().to_string();
    assert!(none.contains("cargo xtask up"), "{none}");
    std::fs::create_dir(directory.path().join("a")).unwrap();
    assert_eq!(
        RunDir::only_below(directory.path()).unwrap(),
        RunDir::find(Some(&directory.path().join("a"))).unwrap()
    );
    std::fs::create_dir(directory.path().join("b")).unwrap();
    let several = RunDir::only_below(directory.path()).unwrap_err().to_string();
    assert!(several.contains("a, b"), "{several}");
    let wanted =
        RunDir::find(Some(&directory.path().join("a"))).unwrap().nodes(None).unwrap_err().to_string();
    assert!(wanted.contains("has no nodes"), "{wanted}");
}

#[test]
fn any_dump_is_readable() {
    let dump = json!({ "armed": false, "maps": { "mesh_pods": { "entries": 2, "capacity": 4096 } }, "pods": [{ "uid": "u", "state": "Wired" }], "flows": [] });
    assert_eq!(
        outline("Node n1", &dump),
        "Node n1:\n  armed: false\n  flows: -\n  maps:\n    name       capacity  entries\n    mesh_pods  4096      2\n  pods:\n    state  uid\n    Wired  u\n"
    );
    assert_eq!(table(&["A"], &[]), "");
}

#[test]
fn options_stand_anywhere() {
    for line in [
        "meshctl -o json --run-dir /x can a/b c/d:1",
        "meshctl can a/b c/d:1 --udp -o yaml --node n1",
        "meshctl node dump n1 --flows 5",
        "meshctl check",
        "meshctl status",
        "meshctl status --wait --timeout 30s",
        "meshctl check --pre --kubeconfig /x --context y",
        "meshctl can teller svc/ledger -n bank --mesh-namespace mesh",
        "meshctl can a/b c/d GET /x?y=z -H x-a:1 -H x-b:2 --host shop.example",
        "meshctl can a/b svc/c/d:1 POST /pkg.Vault/Open -o json",
        "meshctl explain",
        "meshctl explain svc/bank/vault --from shop",
        "meshctl explain-denial 00d1ab2c3d4e5f60",
        "meshctl bug-report /tmp/x.tar",
        "meshctl explain pod/teller -n bank",
        "meshctl enroll bank --dry-run",
        "meshctl unenroll pod/teller -n bank --timeout 5s",
        "meshctl explain NameMismatch --node n1 --pod bank/teller -o json",
        "meshctl identity --expiring 1h30m",
        "meshctl ca status",
        "meshctl ca rotate -o yaml",
        "meshctl ca join n1",
    ] {
        Arguments::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    for line in [
        "meshctl explain --pod teller",
        "meshctl identity --expiring soon",
        "meshctl ca join",
        "meshctl can a/b c/d GET",
        "meshctl can a/b c/d -H x-a:1",
        "meshctl can a/b c/d GET / --udp",
        "meshctl explain-denial",
    ] {
        assert!(Arguments::try_parse_from(line.split(' ')).is_err(), "{line}");
    }
}
