//! relay between a fake controller and a fake wire, over real sockets.

mod account;
mod controller;
mod discovery;
mod fake_wire;
mod reports;
mod takeover;
mod tls;

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use mesh_api::resources as api;
use mesh_ebpf::abi::{EventKind, Origin, Reason};
use mesh_ebpf::policy::{Direction, SetId, rule};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::LocalSet;

use super::node::Node;
use super::{Options, start};
use crate::handover::{Counts, FlowEvent, FromWire, uid_hash};
use controller::Controller;
use fake_wire::FakeWire;

/// Runs a test with everything it needs, in a directory of its own.
fn scene<F: Future<Output = ()>>(test: impl FnOnce(Scene) -> F) {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let path = directory.path().to_owned();
    LocalSet::new().block_on(&runtime, async move {
        let controller = Controller::start(&path.join("ads.sock"));
        controller.write_join_file(&path.join("join"), "n1");
        let wire = FakeWire::start(&path.join("wire.sock"));
        let node = start(&options(&path)).await.unwrap();
        let limit = Duration::from_secs(20);
        let scene = Scene { controller, wire, node, directory: path };
        tokio::time::timeout(limit, test(scene)).await.expect("the test took too long");
    });
}

/// How relay is started in a directory.
fn options(path: &Path) -> Options {
    Options {
        node: "n1".into(),
        run_dir: path.to_owned(),
        pod_dir: None,
        control: format!("unix:{}", path.join("ads.sock").display()).parse().unwrap(),
        join: Some(path.join("join")),
        service_account: None,
        max_snapshot_age: Duration::from_secs(3600),
        metrics: "127.0.0.1:0".parse().unwrap(),
        access_log: None,
        workers: std::num::NonZeroUsize::new(1),
        drain: Duration::from_secs(1),
    }
}

struct Scene {
    controller: Controller,
    wire: FakeWire,
    node: Rc<Node>,
    directory: std::path::PathBuf,
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came: {what}");
}

fn workload(name: &str, address: u8, enrolled: bool) -> api::Workload {
    api::Workload {
        uid: format!("uid-{name}"),
        namespace: "bank".into(),
        name: name.into(),
        service_account: name.into(),
        addresses: vec![vec![10, 0, 0, address]],
        node: "n1".into(),
        workload: name.into(),
        enrolled,
        group: u64::from(address),
        local: Some(api::LocalPod::default()),
        ..Default::default()
    }
}

fn isolated(pod: &str) -> api::PodPolicy {
    api::PodPolicy {
        pod_uid: format!("uid-{pod}"),
        ingress: Some(api::DirectionPolicy {
            rules: vec![api::Rule {
                tier: api::Tier::Access.into(),
                action: api::Action::Allow.into(),
                policy: "AccessPolicy/bank/vault".into(),
                rule: "tellers".into(),
                peers: vec![api::Peer { groups: Some(api::Groups { ids: vec![1] }), ..Default::default() }],
                ..Default::default()
            }],
            isolated: true,
            ..Default::default()
        }),
        egress: None,
    }
}

fn service() -> api::Service {
    api::Service {
        namespace: "bank".into(),
        name: "vault".into(),
        addresses: vec![vec![10, 96, 0, 7]],
        ports: vec![api::ServicePort {
            protocol: api::Protocol::Tcp.into(),
            port: 80,
            endpoints: vec![api::Endpoint {
                address: vec![10, 0, 0, 2],
                port: 8080,
                weight: 1,
                enrolled: true,
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// The whole state of a small bank.
async fn tell_bank(controller: &Controller) {
    let config = api::NodeConfig {
        trust_domain: "cluster.local".into(),
        access_log: Some(api::AccessLog { level: api::access_log::Level::All.into(), ..Default::default() }),
        ..Default::default()
    };
    controller.send(&[("n1", config)], &[]).await;
    controller.send(&[("default", controller.trust_bundle())], &[]).await;
    controller
        .send(
            &[
                ("bank/vault/uid-vault", isolated("vault")),
                (
                    "bank/teller/uid-teller",
                    api::PodPolicy { pod_uid: "uid-teller".into(), ..Default::default() },
                ),
            ],
            &[],
        )
        .await;
    controller
        .send(
            &[
                ("bank/teller/uid-teller", workload("teller", 1, true)),
                ("bank/vault/uid-vault", workload("vault", 2, true)),
            ],
            &[],
        )
        .await;
    controller.send(&[("bank/vault", service())], &[]).await;
}

async fn http(directory: &Path, request: &str) -> (u16, serde_json::Value) {
    let mut stream = UnixStream::connect(directory.join("admin.sock")).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
}

#[test]
fn the_state_reaches_wire_and_is_acknowledged() {
    scene(async |scene| {
        tell_bank(&scene.controller).await;
        let acks = &scene.controller;
        until("five acknowledgements", || acks.acknowledged().len() == 5).await;
        assert_eq!(acks.refused(), Vec::<String>::new());
        let held = scene.wire.held();
        assert_eq!(held.pods.len(), 2);
        assert_eq!(held.peers.len(), 2);
        assert_eq!(held.services.len(), 1);
        assert!(held.synced);
        let vault = &held.pods["uid-vault"];
        assert!(held.sets.contains_key(&vault.ingress));
        assert_eq!(vault.egress, SetId::EMPTY);
        let first = scene.controller.first_request();
        assert_eq!(first.node.unwrap().id, "n1");
        assert_eq!(first.resource_names_subscribe, ["*"]);
    });
}

#[test]
fn one_change_tells_only_what_it_changed() {
    scene(async |scene| {
        tell_bank(&scene.controller).await;
        until("the first state", || scene.controller.acknowledged().len() == 5).await;
        scene.wire.forget_messages();
        scene.controller.send(&[("bank/teller/uid-teller", workload("teller", 9, true))], &[]).await;
        until("the change", || scene.controller.acknowledged().len() == 6).await;
        let messages = scene.wire.messages();
        let names: Vec<&str> = messages.iter().map(String::as_str).collect();
        assert_eq!(names, ["Peer 10.0.0.9", "PeerGone 10.0.0.1", "Pod uid-teller", "Commit"]);
        scene.wire.forget_messages();
        scene.controller.send::<api::Workload>(&[], &["bank/teller/uid-teller"]).await;
        until("the removal", || scene.controller.acknowledged().len() == 7).await;
        assert_eq!(scene.wire.messages(), ["PeerGone 10.0.0.9", "PodGone uid-teller", "Commit"]);
    });
}

#[test]
fn what_does_not_parse_is_named_and_the_rest_is_taken() {
    scene(async |scene| {
        tell_bank(&scene.controller).await;
        until("the first state", || scene.controller.acknowledged().len() == 5).await;
        let bad = api::Workload { group: 0, ..workload("teller", 1, true) };
        let good = workload("clerk", 3, false);
        scene.controller.send(&[("bank/teller/uid-teller", bad), ("bank/clerk/uid-clerk", good)], &[]).await;
        until("the refusal", || scene.controller.refused().len() == 1).await;
        assert_eq!(
            scene.controller.refused(),
            ["Workload bank/teller/uid-teller: group is 0: 0 is no group"]
        );
        let held = scene.wire.held();
        assert_eq!(held.pods["uid-teller"].group, 1, "the last good one stays");
        assert!(held.pods.contains_key("uid-clerk"));
    });
}

#[test]
fn what_wire_refuses_is_refused_to_the_controller() {
    scene(async |scene| {
        scene.wire.refuse("uid-vault");
        tell_bank(&scene.controller).await;
        until("the refusal", || scene.controller.refused().len() == 1).await;
        assert_eq!(scene.controller.refused(), ["Workload bank/vault/uid-vault: refused for the test"]);
        let (_, status) = http(&scene.directory, "GET /status").await;
        assert_eq!(status["problems"][0], "wire refused pod uid-vault: refused for the test");
    });
}

#[test]
fn a_wire_that_comes_back_is_told_everything_again() {
    scene(async |scene| {
        tell_bank(&scene.controller).await;
        until("the first state", || scene.controller.acknowledged().len() == 5).await;
        let before = scene.wire.held();
        scene.wire.restart();
        until("the state again", || scene.wire.held().synced).await;
        assert_eq!(scene.wire.held().pods, before.pods);
        assert_eq!(scene.wire.held().sets, before.sets);
    });
}

#[test]
fn a_stream_that_broke_resumes_from_the_versions_held() {
    scene(async |scene| {
        tell_bank(&scene.controller).await;
        until("the first state", || scene.controller.acknowledged().len() == 5).await;
        scene.controller.break_stream();
        until("a new stream", || scene.controller.subscriptions().len() >= 10).await;
        let again = scene.controller.subscriptions()[5..].to_vec();
        let held: usize = again.iter().map(|request| request.initial_resource_versions.len()).sum();
        assert_eq!(held, 7);
        assert_eq!(scene.wire.held().pods.len(), 2, "nothing is taken away meanwhile");
    });
}

#[test]
fn a_pod_whose_policy_never_comes_denies_everything() {
    scene(async |scene| {
        tell_bank(&scene.controller).await;
        until("the first state", || scene.controller.acknowledged().len() == 5).await;
        scene.controller.send(&[("bank/late/uid-late", workload("late", 8, true))], &[]).await;
        until("the pod", || scene.wire.held().pods.contains_key("uid-late")).await;
        let held = scene.wire.held();
        assert_eq!(held.sets[&held.pods["uid-late"].ingress], rule::MISSING);
    });
}

#[test]
fn a_first_state_in_several_responses_is_told_as_one() {
    scene(async |scene| {
        let config = api::NodeConfig { trust_domain: "cluster.local".into(), ..Default::default() };
        scene.controller.send(&[("n1", config)], &[]).await;
        scene.controller.send(&[("default", scene.controller.trust_bundle())], &[]).await;
        scene.controller.send::<api::PodPolicy>(&[], &[]).await;
        scene.controller.send::<api::Service>(&[], &[]).await;
        let chunk = |from: u32| -> Vec<(String, api::Workload)> {
            let peers = (from..from + 2000).map(|number| {
                let name = format!("peer-{number}");
                let addresses = vec![(0x0a00_0000 + number).to_be_bytes().to_vec()];
                let padding = "x".repeat(200);
                let peer =
                    api::Workload { local: None, addresses, workload: padding, ..workload(&name, 1, false) };
                (name, peer)
            });
            peers.collect()
        };
        for round in 0..3_u32 {
            let peers = chunk(1 + round * 2000);
            let peers: Vec<(&str, api::Workload)> =
                peers.iter().map(|(name, peer)| (name.as_str(), peer.clone())).collect();
            scene.controller.send(&peers, &[]).await;
            // Like the real one, the controller waits before it goes on.
            let acknowledged = 5 + round as usize;
            until("its acknowledgement", || scene.controller.acknowledged().len() == acknowledged).await;
            assert!(!scene.wire.held().synced, "a part was told as the whole");
        }
        until("the whole state", || scene.wire.held().synced).await;
        assert_eq!(scene.wire.held().peers.len(), 6000);
    });
}

fn denied() -> FlowEvent {
    FlowEvent {
        unix_nanoseconds: 1_795_255_200_000_000_000,
        kind: EventKind::Denied as u8,
        origin: Origin::Unproven as u8,
        reason: Reason::NoRuleAllows,
        direction: Direction::Ingress,
        set: SetId::EMPTY,
        rule: rule::ISOLATED,
        uid: uid_hash("uid-vault"),
        group: 2,
        peer_uid: 0,
        peer_group: 0,
        protocol: 6,
        source: ("10.9.9.9".parse().unwrap(), 4000),
        destination: ("10.0.0.2".parse().unwrap(), 8080),
        dialled: ("10.0.0.2".parse().unwrap(), 8080),
        cookie: 0,
        duration: 0,
        bytes_sent: 0,
        bytes_received: 0,
        rtt_microseconds: 0,
        retransmits: 0,
    }
}

#[test]
fn reports_become_lines_answers_and_readiness() {
    scene(async |scene| {
        assert!(!scene.node.unready().is_empty());
        tell_bank(&scene.controller).await;
        until("the first state", || scene.controller.acknowledged().len() == 5).await;
        let set = scene.wire.held().pods["uid-vault"].ingress;
        scene.wire.report(FromWire::Events(vec![FlowEvent { set, ..denied() }]));
        scene.wire.report(FromWire::Pod(reports::wired_late("uid-vault")));
        scene.wire.report(FromWire::Counts(Counts { local_proof: true, ..Counts::default() }));
        until("readiness", || scene.node.unready().is_empty()).await;

        let log = scene.directory.join("access.log");
        until("the line", || std::fs::read_to_string(&log).unwrap().ends_with('\n')).await;
        let line: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&log).unwrap()).unwrap();
        assert_eq!(line["policy"], "AccessPolicy/bank/vault");
        assert_eq!(line["rule"], "(no rule allows)");
        assert_eq!(line["proof"], "unproven");

        let (code, status) = http(&scene.directory, "GET /status").await;
        assert_eq!((code, &status["ready"]), (200, &true.into()), "{status}");
        assert_eq!(status["pods"]["wired"], 1);
        assert_eq!(status["wire"]["programmed"], true);
        assert_eq!(
            status["problems"],
            serde_json::json!(["pod bank/vault: Tunnel=False: too many open files"])
        );
        let (_, failures) = http(&scene.directory, "GET /failures?pod=bank/vault").await;
        assert_eq!(failures[0]["reason"], line["reason"], "{failures}");
        assert_eq!(http(&scene.directory, "GET /failures?pod=bank/other").await.1, serde_json::json!([]));
        let (_, identities) = http(&scene.directory, "GET /identities").await;
        assert!(identities.to_string().contains(r#""pods":["bank/vault"]"#), "{identities}");
        let (_, pods) = http(&scene.directory, "GET /pods").await;
        assert_eq!(pods[1]["name"], "vault");
        assert_eq!(pods[1]["state"], "wired");
        assert_eq!(pods[1]["identity"], "spiffe://cluster.local/ns/bank/sa/vault");
        assert_eq!(pods[0]["state"], "unknown", "wire has not found it");

        let request = "GET /can?source=bank/teller&destination=svc/bank/vault&port=80";
        let (code, can) = http(&scene.directory, request).await;
        assert_eq!(code, 200, "{can}");
        assert_eq!(can["source"], "10.0.0.1");
        assert_eq!(can["destination"], "10.96.0.7");
        assert_eq!(can["endpoints"][0]["pod"], "bank/vault");
        assert_eq!(can["endpoints"][0]["ingress"]["rule"], "tellers");
        let (code, error) =
            http(&scene.directory, "GET /can?source=bank/nobody&destination=10.0.0.2&port=1").await;
        assert_eq!(code, 404);
        assert_eq!(error["error"], "pod `bank/nobody` is not known on this node");
        let (code, level) = http(&scene.directory, "PUT /log?level=Off").await;
        assert_eq!((code, &level["access_log"]), (200, &"Off".into()));
        assert_eq!(http(&scene.directory, "GET /nothing").await.0, 404);
    });
}
