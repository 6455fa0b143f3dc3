//! `enroll --reset` and `unenroll --reset` against sockets that answer as agents do.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Parser;
use serde_json::{Value, json};

use super::super::output::Format;
use super::super::place::Place;
use super::super::run_dir::RunDir;
use super::super::{Arguments, CliError, Command, Outcome, Question, enrol};
use super::{serve, shown};

fn pod(name: &str, state: &str) -> Value {
    json!({ "namespace": "bank", "name": name, "state": state, "reason": "" })
}

fn at<const N: usize>(run_dir: &Path, node: &str, answers: [(&'static str, Value); N]) {
    serve(&run_dir.join("nodes").join(node).join("admin.sock"), BTreeMap::from(answers));
}

async fn asked(run_dir: &Path, arguments: &[&str]) -> Result<(String, Value, Outcome), CliError> {
    let arguments = Arguments::try_parse_from([&["meshctl"], arguments].concat()).unwrap();
    let Command::Question(question) = arguments.command else { panic!("no question") };
    let place = Place::RunDir(RunDir::find(Some(run_dir)).unwrap());
    let (view, outcome) = match question {
        Question::Enroll(wanted) => enrol::enrol(&place, &wanted, true).await?,
        Question::Unenroll(wanted) => enrol::enrol(&place, &wanted, false).await?,
        other => panic!("{other:?}"),
    };
    let json = serde_json::from_str(&shown(&view, Format::Json)).unwrap();
    Ok((shown(&view, Format::Table), json, outcome))
}

#[tokio::test]
async fn each_pods_node_is_asked_and_says_how_many_were_ended() {
    let directory = tempfile::tempdir().unwrap();
    at(
        directory.path(),
        "n1",
        [
            ("/pods", json!([pod("teller", "wired"), pod("vault", "plain")])),
            ("/reset?pod=bank%2Fteller&enrolled=true", json!({ "ended": 3, "left": 0 })),
            ("/reset?pod=bank%2Fvault&enrolled=false", json!({ "ended": 1, "left": 0 })),
        ],
    );
    at(
        directory.path(),
        "n2",
        [
            (
                "/pods",
                json!([pod("ledger", "wired"), { "namespace": "shop", "name": "till", "state": "wired" }]),
            ),
            ("/reset?pod=bank%2Fledger&enrolled=true", json!({ "ended": 0, "left": 0 })),
        ],
    );
    let (table, _, outcome) = asked(directory.path(), &["enroll", "bank", "--reset"]).await.unwrap();
    assert_eq!(outcome, Outcome::Yes);
    assert_eq!(
        table,
        "POD          NODE  EXPECTED     STATE  ENDED  REASON\n\
         bank/teller  n1    in the mesh  wired  3      -\n\
         bank/vault   n1    unchanged    plain  -      it is not enrolled: label it, or its namespace, in its manifest\n\
         bank/ledger  n2    in the mesh  wired  0      -\n"
    );
    let (_, json, outcome) =
        asked(directory.path(), &["unenroll", "pod/bank/vault", "--reset"]).await.unwrap();
    assert_eq!(outcome, Outcome::Yes);
    assert_eq!((&json["reset"], &json["pods"][0]["ended"]), (&json!(true), &json!(1)), "{json}");
    // What would happen, and nothing more.
    let dry = ["enroll", "pod/teller", "-n", "bank", "--reset", "--dry-run"];
    let (_, json, outcome) = asked(directory.path(), &dry).await.unwrap();
    assert_eq!((outcome, &json["pods"][0]["ended"]), (Outcome::Yes, &Value::Null));
}

#[tokio::test]
async fn pods_of_one_name_on_two_nodes_are_two() {
    let directory = tempfile::tempdir().unwrap();
    let pods = |state: &str| ("/pods", json!([pod("teller", state)]));
    let reset = |ended: u64| ("/reset?pod=bank%2Fteller&enrolled=true", json!({ "ended": ended, "left": 0 }));
    at(directory.path(), "n1", [pods("wired"), reset(3)]);
    at(directory.path(), "n2", [pods("wired"), reset(5)]);
    at(directory.path(), "n3", [pods("wired")]);
    at(directory.path(), "n4", [pods("pending"), reset(7)]);
    let (table, json, outcome) =
        asked(directory.path(), &["enroll", "bank", "--reset", "--timeout", "1s"]).await.unwrap();
    assert_eq!(outcome, Outcome::No);
    let of = |field: &str| json["pods"].as_array().unwrap().iter().map(|row| row[field].clone()).collect();
    let ended: Vec<Value> = of("ended");
    assert_eq!(ended, [json!(3), json!(5), Value::Null, Value::Null], "{table}");
    let states: Vec<Value> = of("state");
    assert_eq!(states, ["wired", "wired", "wired", "pending"], "{table}");
    let reasons: Vec<Value> = of("reason");
    assert!(reasons[2].as_str().unwrap().contains("may not all be ended: node n3: "), "{table}");
}

#[tokio::test]
async fn what_could_not_be_ended_is_said_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    at(
        directory.path(),
        "n1",
        [
            ("/pods", json!([pod("teller", "wired"), pod("clerk", "pending"), pod("old", "wired")])),
            ("/reset?pod=bank%2Fteller&enrolled=true", json!({ "ended": 2, "left": 1 })),
        ],
    );
    let (table, json, outcome) =
        asked(directory.path(), &["enroll", "bank", "--reset", "--timeout", "1s"]).await.unwrap();
    assert_eq!(outcome, Outcome::No);
    let reason = |number: usize| json["pods"][number]["reason"].as_str().unwrap().to_owned();
    assert!(
        reason(0).contains("1 connections from before could not be ended; wire's log on node n1"),
        "{table}"
    );
    assert_eq!(json["pods"][1]["ended"], Value::Null, "it is not in the mesh yet");
    assert!(
        reason(2).contains("may not all be ended: node n1: ")
            && reason(2).contains("run the same command again"),
        "{table}"
    );
}

#[tokio::test]
async fn labels_of_a_run_directory_are_in_its_manifests() {
    let directory = tempfile::tempdir().unwrap();
    at(directory.path(), "n1", [("/pods", json!([]))]);
    for command in ["enroll", "unenroll"] {
        let error = asked(directory.path(), &[command, "bank"]).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{command}` asks a cluster")), "{error}");
        let error =
            asked(directory.path(), &[command, "pod/bank/x", "--reset"]).await.unwrap_err().to_string();
        assert!(error.starts_with("no node has a pod `bank/x`"), "{error}");
    }
}

/// It names no pods, and would be of no help against ending too much if it were passed over.
#[tokio::test]
async fn a_single_node_is_not_taken() {
    for command in ["enroll", "unenroll"] {
        let line = ["meshctl", "--node", "n1", command, "bank", "--reset"];
        let arguments = Arguments::try_parse_from(line).unwrap();
        let Command::Question(question) = &arguments.command else { panic!("no question") };
        let refused = super::super::answered(&arguments, question).await.map(|_| ()).unwrap_err();
        assert!(refused.to_string().starts_with("--node is for questions"), "{refused}");
    }
}
