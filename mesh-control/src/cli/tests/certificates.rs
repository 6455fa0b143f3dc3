//! `meshctl identity` and `meshctl ca`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{serve, shown};
use crate::ca::{CaReport, JoinReport, Phase, RevokedNode, Timestamp};
use crate::cli::output::Format;
use crate::cli::run_dir::RunDir;
use crate::cli::{CaCommand, Outcome, ca, identity};

fn row(account: &str, state: &str, expires_in_seconds: Option<i64>, error: &str) -> Value {
    json!({
        "id": format!("spiffe://cluster.local/ns/bank/sa/{account}"), "state": state,
        "pods": [format!("bank/{account}-1")], "serial": "41ff", "issuer": "0a", "not_before": "",
        "not_after": "2026-11-22T10:00:00Z", "expires_in_seconds": expires_in_seconds,
        "next_attempt": "2026-11-21T10:00:30Z", "failed_attempts": 2, "error": error,
    })
}

#[tokio::test]
async fn identities_of_every_node_are_filtered_by_their_end() {
    let directory = tempfile::tempdir().unwrap();
    let socket = |node: &str| directory.path().join("nodes").join(node).join("admin.sock");
    let of_one = json!([row("teller", "valid", Some(43_200), "")]);
    let of_two = json!([row("vault", "valid", Some(1_800), ""), row("clerk", "failed", None, "no answer")]);
    serve(&socket("n1"), BTreeMap::from([("/identities", of_one)]));
    serve(&socket("n2"), BTreeMap::from([("/identities", of_two)]));
    let run_dir = RunDir::find(Some(directory.path())).unwrap();
    let nodes = run_dir.nodes(None).unwrap();
    let (view, outcome) = identity::identity(&nodes, None).await.unwrap();
    assert_eq!(outcome, Outcome::No, "one has no certificate");
    assert_eq!(
        shown(&view, Format::Table),
        "NODE  IDENTITY                                  STATE   EXPIRES   SERIAL  PODS\n\
         n1    spiffe://cluster.local/ns/bank/sa/teller  valid   in 12h0m  41ff    bank/teller-1\n\
         n2    spiffe://cluster.local/ns/bank/sa/vault   valid   in 30m0s  41ff    bank/vault-1\n\
         n2    spiffe://cluster.local/ns/bank/sa/clerk   failed  -         41ff    bank/clerk-1\n\
         \x20 n2 spiffe://cluster.local/ns/bank/sa/clerk: no answer (2 attempts failed, the next at 2026-11-21T10:00:30Z)\n"
    );
    let hour = Some(Duration::from_secs(3600));
    let (view, outcome) = identity::identity(&nodes, hour).await.unwrap();
    assert_eq!(outcome, Outcome::No);
    let data: Value = serde_json::from_str(&shown(&view, Format::Json)).unwrap();
    let names: Vec<_> = data.as_array().unwrap().iter().map(|row| (&row["node"], &row["state"])).collect();
    assert_eq!(names, [(&json!("n2"), &json!("valid")), (&json!("n2"), &json!("failed"))]);
    let first = run_dir.nodes(Some("n1")).unwrap();
    let (view, outcome) = identity::identity(&first, hour).await.unwrap();
    assert_eq!((outcome, shown(&view, Format::Table).as_str()), (Outcome::Yes, "None.\n"));
}

fn report() -> CaReport {
    CaReport {
        trust_domain: "cluster.local".into(),
        origin: "generated".into(),
        phase: Phase::Distributing,
        phase_since: Timestamp::from_unix(1_795_272_612),
        waiting_for: vec!["node n2 to acknowledge both roots".into()],
        generation: 2,
        issuer_key_id: "0a0b".into(),
        issuer_expires: Timestamp::from_unix(1_803_048_612),
        root_expires: Timestamp::from_unix(2_110_632_612),
        roots: 2,
        live: 7,
        revoked: vec![RevokedNode { node: "n3".into(), until: Timestamp::from_unix(1_795_359_012) }],
        joining: vec!["n4".into()],
        tokens_not_asked: 12,
        problem: None,
    }
}

#[tokio::test]
async fn the_authority_says_what_its_rotation_waits_for() {
    let directory = tempfile::tempdir().unwrap();
    let join = JoinReport {
        node: "n4".into(),
        file: "/run/mesh/join/n4".into(),
        expires: Timestamp::from_unix(1_795_359_012),
    };
    let answers = BTreeMap::from([
        (
            "/ca",
            serde_json::to_value(CaReport { problem: Some("Secret a/b has no key".into()), ..report() })
                .unwrap(),
        ),
        ("/ca/rotate", serde_json::to_value(report()).unwrap()),
        ("/join?node=n4", serde_json::to_value(join).unwrap()),
    ]);
    serve(&directory.path().join("control.sock"), answers);
    let controller = RunDir::find(Some(directory.path())).unwrap().controller();
    let (view, outcome) = ca::ca(&controller, &CaCommand::Rotate).await.unwrap();
    assert_eq!(outcome, Outcome::Yes);
    assert_eq!(
        shown(&view, Format::Table),
        "Trust domain  cluster.local\n\
         Authority     generated, generation 2\n\
         Issuer        0a0b, until 2027-02-19T14:50:12Z\n\
         Root          until 2036-11-18T14:50:12Z; 2 believed\n\
         Rotation      since 2026-11-21T14:50:12Z: nodes are told of the new root\n\
         Certificates  7 live\n\
         Waiting for   node n2 to acknowledge both roots\n\
         Revoked       node n3 until 2026-11-22T14:50:12Z\n\
         Joining       node n4 has a join file and has not used it\n\
         Not asked     the API server about 12 tokens of joining agents: more came than it is asked about\n"
    );
    let (view, outcome) = ca::ca(&controller, &CaCommand::Status).await.unwrap();
    assert_eq!(outcome, Outcome::No);
    assert!(shown(&view, Format::Table).ends_with("Problem       Secret a/b has no key\n"));
    let (view, _) = ca::ca(&controller, &CaCommand::Join { node: "n4".into() }).await.unwrap();
    assert!(shown(&view, Format::Table).contains("once with /run/mesh/join/n4 until 2026-11-22T14:50:12Z"));
    assert!(shown(&view, Format::Json).contains(r#""file": "/run/mesh/join/n4""#));
}
