//! A whole controller, over TCP and TLS, with clients that are written here.

mod client;
mod flood;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mesh_api::reports::{PodReport, PodReportState, PodReports};
use tempfile::TempDir;
use tonic::Code;

use super::{Listen, serve};
use crate::{
    ads::Ads,
    build::Builder,
    ca::{self, Agents, Authority, Directories, JoinFile, Timestamp},
    pipeline::Shared,
    reports::ReportService,
    source::of_yaml,
};
use client::{Agent, certificate};

struct Controller {
    directory: TempDir,
    address: std::net::SocketAddr,
    shared: Arc<Shared>,
    builder: Builder,
    authority: Arc<Authority>,
}

const CONFIG: &str = "
apiVersion: mesh.internal/v1alpha1
kind: MeshConfig
metadata: {name: default}
spec: {}
";

fn world(nodes: &[&str]) -> String {
    let mut text = CONFIG.to_owned();
    for node in nodes {
        text += &format!(
            "---
apiVersion: v1
kind: Node
metadata: {{name: {node}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: p-{node}, namespace: shop, uid: u-{node}, labels: {{mesh.internal/mode: enabled}}}}
spec: {{nodeName: {node}, serviceAccountName: web, containers: [{{name: main}}]}}
status: {{podIP: 10.0.0.1}}
"
        );
    }
    text
}

impl Controller {
    async fn start(nodes: &[&str]) -> Self {
        let controller = Self::start_with(nodes, None).await;
        controller.wait_for_join_files(nodes).await;
        controller
    }

    /// Where nodes join by their agents' ServiceAccount, if there are agents.
    async fn start_with(nodes: &[&str], agents: Option<Agents>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let shared = Arc::new(Shared::default());
        let directories = Directories {
            authority: directory.path().join("ca"),
            join: directory.path().join("join"),
            agent_uid: None,
            join_ttl: Duration::from_secs(600),
        };
        let authority = Authority::open(directories, shared.placements.clone(), Timestamp::now()).unwrap();
        let authority = Arc::new(match agents {
            Some(agents) => authority.with_agents(agents),
            None => authority,
        });
        let listener = "127.0.0.1:0".parse::<Listen>().unwrap().bind(None).await.unwrap();
        let super::Listener::Tcp(tcp) = &listener else { panic!() };
        let address = tcp.local_addr().unwrap();
        let ads = Ads::new(shared.store.clone(), shared.acks.clone(), authority.clone());
        let reports = ReportService::new(shared.reports.clone(), authority.clone());
        tokio::spawn(serve(listener, authority.clone(), ads, reports));
        tokio::spawn(ca::run(authority.clone(), shared.clone()));
        let mut controller = Self { directory, address, shared, builder: Builder::default(), authority };
        controller.set(nodes);
        controller.authority.trust().wait_for(Option::is_some).await.unwrap();
        controller
    }

    fn set(&mut self, nodes: &[&str]) {
        self.shared.take(&mut self.builder, Ok(Some(of_yaml(&world(nodes)))));
    }

    async fn wait_for_join_files(&self, nodes: &[&str]) {
        for node in nodes {
            let path = self.directory.path().join("join").join(node);
            for _ in 0..500 {
                if path.exists() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    fn join_file(&self, node: &str) -> JoinFile {
        let text = std::fs::read_to_string(self.directory.path().join("join").join(node)).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    async fn join(&self, node: &str) -> Agent {
        Agent::join(self.address, &self.join_file(node)).await.unwrap()
    }
}

#[tokio::test]
async fn a_node_joins_gets_its_pods_identities_and_its_own_resources() {
    let controller = Controller::start(&["n1", "n2"]).await;
    let agent = controller.join("n1").await;
    let mut node = agent.connect(controller.address).await.unwrap();
    let leaf = certificate(&node.issue("u-n1").await.unwrap());
    assert_eq!(leaf, "spiffe://cluster.local/ns/shop/sa/web");
    let error = node.issue("u-n2").await.unwrap_err();
    assert_eq!((error.code(), error.message().contains("is not on node n1")), (Code::PermissionDenied, true));
    assert_eq!(certificate(&node.renew().await.unwrap()), "spiffe://cluster.local/mesh/node/n1");

    let mut stream = node.discover("n1", "TrustBundle").await.unwrap();
    let sent = stream.message().await.unwrap().unwrap();
    assert_eq!(sent.resources[0].name, "default");
    let error = node.discover("n2", "Workload").await.unwrap().message().await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    assert!(error.message().contains("node.id is `n2`, the certificate is of node `n1`"), "{error}");
}

#[tokio::test]
async fn a_node_tells_of_its_own_pods_and_of_no_others() {
    let controller = Controller::start(&["n1", "n2"]).await;
    let file = controller.join_file("n1");
    let agent = controller.join("n1").await;
    let mut node = agent.connect(controller.address).await.unwrap();
    let wired = |uid: &str| PodReport {
        uid: uid.to_owned(),
        state: PodReportState::Wired.into(),
        ..PodReport::default()
    };
    let pods = vec![wired("u-n1"), wired("u-n2")];
    let (stream, taken) = node.report(PodReports { pods, gone: Vec::new(), whole: true }).await.unwrap();
    assert_eq!(taken.refused, ["u-n2"]);
    let standings = controller.shared.reports.standings(Instant::now());
    let (name, condition) = standings.conditions.iter().next().unwrap();
    assert_eq!((name.to_string().as_str(), condition.reason.as_str()), ("shop/p-n1", "Enrolled"));
    assert_eq!((standings.conditions.len(), standings.later.len()), (1, 1), "node n2 has told nothing");
    drop(stream);

    let mut nameless = Agent::nameless(&file).connect(controller.address).await.unwrap();
    let error = nameless.report(PodReports::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated, "{error}");
}

#[tokio::test]
async fn without_a_nodes_certificate_one_may_only_join() {
    let controller = Controller::start(&["n1"]).await;
    let file = controller.join_file("n1");
    let mut nameless = Agent::nameless(&file).connect(controller.address).await.unwrap();
    for error in [
        nameless.issue("u-n1").await.unwrap_err(),
        nameless.renew().await.unwrap_err(),
        nameless.discover("n1", "Workload").await.unwrap_err(),
    ] {
        assert_eq!(error.code(), Code::Unauthenticated, "{error}");
        assert!(error.message().contains("a client certificate is required"), "{error}");
    }
    let other = JoinFile { token: "0".repeat(64), ..file.clone() };
    let error = Agent::join(controller.address, &other).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    let agent = controller.join("n1").await;
    let error = Agent::join(controller.address, &file).await.unwrap_err();
    assert!(error.message().contains("has been used"), "{error}");

    // A pod's certificate is no node's, a stranger's none at all.
    let mut node = agent.connect(controller.address).await.unwrap();
    let workload = agent.as_workload(&mut node, "u-n1").await;
    let mut workload = workload.connect(controller.address).await.unwrap();
    let error = workload.issue("u-n1").await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    assert!(error.message().contains("`spiffe://cluster.local/ns/shop/sa/web`, which is no node"), "{error}");
    let stranger = Agent::self_signed(&file);
    let refused = match stranger.connect(controller.address).await {
        Ok(mut stranger) => stranger.issue("u-n1").await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
}

#[tokio::test]
async fn a_removed_nodes_streams_are_cut_and_others_are_told() {
    let mut controller = Controller::start(&["n1", "n2"]).await;
    let (first, second) = (controller.join("n1").await, controller.join("n2").await);
    let mut first = first.connect(controller.address).await.unwrap();
    let mut second = second.connect(controller.address).await.unwrap();
    let mut cut = first.discover("n1", "Workload").await.unwrap();
    cut.message().await.unwrap().unwrap();
    let mut told = second.discover("n2", "TrustBundle").await.unwrap();
    let sent = told.message().await.unwrap().unwrap();
    second.acknowledge(&sent).await;
    controller.set(&["n2"]);
    let removed = std::time::Instant::now();
    let error = loop {
        match tokio::time::timeout(Duration::from_secs(10), cut.message()).await.unwrap() {
            Ok(message) => assert!(message.is_some()),
            Err(error) => break error,
        }
    };
    assert!(error.message().contains("node n1 has been removed since it joined"), "{error}");
    let bundle =
        tokio::time::timeout(Duration::from_secs(10), told.message()).await.unwrap().unwrap().unwrap();
    let bundle = client::bundle(&bundle);
    assert_eq!(bundle.revoked.len(), 1);
    assert!(removed.elapsed() < Duration::from_secs(10));
    assert_eq!(first.issue("u-n1").await.unwrap_err().code(), Code::PermissionDenied);
    controller.set(&["n1", "n2"]);
    controller.wait_for_join_files(&["n1"]).await;
    let again = controller.join("n1").await;
    let mut again = again.connect(controller.address).await.unwrap();
    assert!(again.issue("u-n1").await.is_ok());
    assert!(first.issue("u-n1").await.is_err(), "the first joining stays refused");
}

#[tokio::test]
async fn half_a_handshake_and_plain_bytes_are_closed_in_time() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let controller = Controller::start(&["n1"]).await;
    let mut silent = tokio::net::TcpStream::connect(controller.address).await.unwrap();
    let mut plain = tokio::net::TcpStream::connect(controller.address).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    for stream in [&mut plain, &mut silent] {
        let closed = tokio::time::timeout(Duration::from_secs(8), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "closed, with or without an alert");
    }
    assert!(controller.join("n1").await.connect(controller.address).await.is_ok(), "others are served");
}

#[tokio::test]
async fn whoever_is_no_node_takes_a_share_and_nodes_have_theirs() {
    let controller = Controller::start(&["n1", "n2"]).await;
    let (file, node) = (controller.join_file("n2"), controller.join("n1").await);
    let pod = node.as_workload(&mut node.connect(controller.address).await.unwrap(), "u-n1").await;
    // A pod's certificate counts like none.
    let mut strangers = Vec::new();
    for agent in [&pod, &Agent::nameless(&file)].iter().cycle() {
        let mut connected = agent.connect(controller.address).await.unwrap();
        match connected.issue("u-n1").await.unwrap_err().code() {
            Code::PermissionDenied | Code::Unauthenticated => strangers.push(connected),
            _ => break,
        }
    }
    assert!((4..=8).contains(&strangers.len()), "{}", strangers.len());
    // A node is no stranger, but it has a bound of its own.
    let mut nodes = Vec::new();
    loop {
        let mut connected = node.connect(controller.address).await.unwrap();
        if connected.issue("u-n1").await.is_err() {
            break;
        }
        nodes.push(connected);
    }
    assert!((4..=8).contains(&nodes.len()), "{}", nodes.len());
    drop(strangers);
    let joined = async {
        loop {
            if let Ok(agent) = Agent::join(controller.address, &file).await {
                break agent;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let second = tokio::time::timeout(Duration::from_secs(10), joined).await.unwrap();
    assert!(second.connect(controller.address).await.unwrap().issue("u-n2").await.is_ok());
}
