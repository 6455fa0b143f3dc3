//! A real client over a Unix socket.

pub(crate) mod client;
mod order;
mod protocol;

use std::sync::Arc;

use tempfile::TempDir;
use tokio_stream::wrappers::UnixListenerStream;

use super::{Acks, Ads, Store, listen};
use crate::{build::Builder, source::of_yaml, status::report};
use client::Client;

/// A controller without a source: the test hands it objects.
struct Controller {
    builder: Builder,
    store: Arc<Store>,
    acks: Arc<Acks>,
    directory: TempDir,
}

impl Controller {
    fn start() -> Self {
        let (store, acks): (Arc<Store>, Arc<Acks>) = Default::default();
        let directory = tempfile::tempdir().unwrap();
        let listener = listen(&directory.path().join("ads.sock"), None).unwrap();
        let service = Ads::open(store.clone(), acks.clone()).service();
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        Self { builder: Builder::default(), store, acks, directory }
    }

    /// Takes over a state; returns the conditions as they are once all is answered.
    fn set(&mut self, yaml: &str) -> crate::objects::Conditions {
        let changes = self.builder.update(of_yaml(yaml).objects);
        self.store.apply(&changes);
        changes.conditions
    }

    async fn connect(&self, node: &str) -> Client {
        Client::connect(&self.directory.path().join("ads.sock"), node).await
    }
}

fn pod(name: &str, node: &str, ready: bool) -> String {
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: shop, uid: u-{name}, labels: {{app: web}}}}
spec: {{nodeName: {node}, containers: [{{name: main}}]}}
status: {{podIP: 10.0.0.1, conditions: [{{type: Ready, status: '{}'}}]}}
",
        if ready { "True" } else { "False" }
    )
}

const SERVICE: &str = "---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80}]}
";

const POLICY: &str = "---
apiVersion: mesh.internal/v1alpha1
kind: AccessPolicy
metadata: {name: web, namespace: shop, generation: 4}
spec: {selector: {}, ingress: []}
";

#[tokio::test]
async fn an_agent_is_sent_everything_and_then_what_changes() {
    let mut controller = Controller::start();
    controller.set(&(pod("a", "n1", false) + &pod("b", "n2", false) + SERVICE));
    let mut client = controller.connect("n1").await;
    client.subscribe("Workload", &["*"], &[]).await;
    client.subscribe("Service", &[], &[]).await;
    client.subscribe("PodPolicy", &["*"], &[]).await;
    let workloads = client.take("Workload").await;
    assert_eq!(workloads.updated, ["shop/a/u-a", "shop/b/u-b"]);
    assert_eq!(client.take("Service").await.updated, ["shop/web"]);
    assert_eq!(client.take("PodPolicy").await.updated, ["shop/a/u-a"], "of its own pods only");

    controller.set(&(pod("a", "n1", true) + &pod("b", "n2", false) + SERVICE));
    assert_eq!(client.take("Service").await.updated, ["shop/web"]);
    controller.set(&(pod("a", "n1", true) + SERVICE));
    assert_eq!(client.take("Workload").await.removed, ["shop/b/u-b"]);
    assert!(client.silent().await);
}

#[tokio::test]
async fn after_a_reconnect_only_the_differences_are_sent() {
    let mut controller = Controller::start();
    controller.set(&(pod("a", "n1", true) + &pod("b", "n2", true) + &pod("c", "n2", true)));
    let mut client = controller.connect("n1").await;
    client.subscribe("Workload", &["*"], &[]).await;
    let first = client.take("Workload").await;
    drop(client);

    controller.set(&(pod("a", "n1", true) + &pod("b", "n1", true) + &pod("d", "n2", true)));
    let mut client = controller.connect("n1").await;
    client.subscribe("Workload", &["*"], &first.versions).await;
    let second = client.take("Workload").await;
    assert_eq!(second.updated, ["shop/b/u-b", "shop/d/u-d"], "b moved here, d is new, a is the same");
    assert_eq!(second.removed, ["shop/c/u-c"]);

    // With nothing new the answer is empty, and it comes.
    let mut held = first.versions.clone();
    held.retain(|(name, _)| name != "shop/b/u-b" && name != "shop/c/u-c");
    held.extend(second.versions);
    let mut client = controller.connect("n1").await;
    client.subscribe("Workload", &["*"], &held).await;
    let third = client.take("Workload").await;
    assert!(third.updated.is_empty() && third.removed.is_empty());
}

#[tokio::test]
async fn a_restarted_controller_gives_the_same_versions() {
    let yaml = pod("a", "n1", true) + SERVICE + POLICY;
    let mut first = Controller::start();
    first.set(&yaml);
    let mut client = first.connect("n1").await;
    client.subscribe("PodPolicy", &["*"], &[]).await;
    let held = client.take("PodPolicy").await.versions;
    let mut second = Controller::start();
    second.set(&yaml);
    let mut client = second.connect("n1").await;
    client.subscribe("PodPolicy", &["*"], &held).await;
    assert!(client.take("PodPolicy").await.updated.is_empty());
}

#[tokio::test]
async fn a_refused_resource_shows_in_status_and_waits_for_a_change() {
    let mut controller = Controller::start();
    let conditions = controller.set(&(pod("a", "n1", true) + &pod("b", "n1", true) + POLICY));
    let programmed = |controller: &Controller, conditions: &crate::objects::Conditions| {
        let reported = report(conditions, &controller.store, &controller.acks);
        let (_, of_policy) = reported.into_iter().find(|(object, _)| object.kind == "AccessPolicy").unwrap();
        of_policy.into_iter().find(|condition| condition.kind == "Programmed").unwrap()
    };
    assert_eq!(
        programmed(&controller, &conditions).message,
        "0/1 nodes at generation 4; waiting for n1 (not connected)"
    );
    let mut client = controller.connect("n1").await;
    client.subscribe("PodPolicy", &["*"], &[]).await;
    let sent = client.receive("PodPolicy").await;
    assert_eq!(sent.updated.len(), 2);
    client.refuse(&sent, "PodPolicy shop/a/u-a: rules[0] cannot be taken").await;
    // The other one is sent again by itself, and acknowledged.
    assert_eq!(client.take("PodPolicy").await.updated, ["shop/b/u-b"]);
    assert!(client.silent().await);
    let refused = programmed(&controller, &conditions);
    assert_eq!((refused.reason.as_str(), refused.observed_generation), ("Refused", 4));
    for part in ["0/1 nodes", "node n1 refused PodPolicy shop/a/u-a", "rules[0] cannot be taken"] {
        assert!(refused.message.contains(part), "{refused:?}");
    }

    let conditions = controller
        .set(&(pod("a", "n1", true) + &pod("b", "n1", true) + &POLICY.replace("ingress: []", "egress: []")));
    assert_eq!(client.take("PodPolicy").await.updated, ["shop/a/u-a", "shop/b/u-b"]);
    client.settled().await;
    assert_eq!(programmed(&controller, &conditions).message, "1/1 nodes at generation 4");
}

#[tokio::test]
async fn a_pods_policy_is_sent_before_the_pod() {
    let mut controller = Controller::start();
    controller.set(&pod("a", "n1", true));
    let mut client = controller.connect("n1").await;
    client.subscribe("PodPolicy", &["*"], &[]).await;
    client.subscribe("Workload", &["*"], &[]).await;
    // Not answered, so the next policy cannot be sent yet, and the pod waits for it.
    let policies = client.receive("PodPolicy").await;
    client.take("Workload").await;
    controller.set(&(pod("a", "n1", true) + &pod("b", "n1", true)));
    assert!(client.silent().await);
    client.acknowledge(&policies).await;
    assert_eq!(client.receive("PodPolicy").await.updated, ["shop/b/u-b"]);
    assert_eq!(client.take("Workload").await.updated, ["shop/b/u-b"]);
}

#[tokio::test]
async fn an_agent_may_ask_for_less() {
    let mut controller = Controller::start();
    controller.set(&(pod("a", "n1", true) + &pod("b", "n2", true)));
    let mut client = controller.connect("n1").await;
    client.subscribe("Workload", &["shop/b/u-b", "shop/x/u-x"], &[]).await;
    let answer = client.take("Workload").await;
    assert_eq!(
        (answer.updated, answer.removed),
        (vec!["shop/b/u-b".to_owned()], vec!["shop/x/u-x".to_owned()])
    );
    controller.set(&pod("b", "n2", true));
    assert!(client.silent().await);
}

#[tokio::test]
async fn two_streams_of_a_node_go_on_and_the_oldest_of_three_is_ended() {
    let mut controller = Controller::start();
    controller.set(&pod("a", "n1", true));
    let mut old = controller.connect("n1").await;
    old.subscribe("Workload", &["*"], &[]).await;
    old.take("Workload").await;
    let mut new = controller.connect("n1").await;
    new.subscribe("Workload", &["*"], &[]).await;
    new.take("Workload").await;
    // Of an agent that is being replaced, and of the one that replaces it.
    controller.set(&(pod("a", "n1", true) + &pod("b", "n1", true)));
    old.take("Workload").await;
    new.take("Workload").await;
    let mut newest = controller.connect("n1").await;
    newest.subscribe("Workload", &["*"], &[]).await;
    newest.take("Workload").await;
    assert!(old.ended().await.contains("newer streams of this node"));
    controller.set(&pod("a", "n1", true));
    new.take("Workload").await;
}

#[tokio::test]
async fn a_stream_without_a_node_or_with_an_unknown_type_is_ended_with_the_reason() {
    let mut controller = Controller::start();
    controller.set("");
    let mut nameless = controller.connect("").await;
    nameless.subscribe("Workload", &["*"], &[]).await;
    assert!(nameless.ended().await.contains("node.id"));
    let mut client = controller.connect("n1").await;
    client.subscribe("Banana", &["*"], &[]).await;
    assert!(client.ended().await.contains("mesh.internal.v1alpha1.Banana` is not one of"));
}

#[tokio::test]
async fn nothing_is_said_before_the_first_build() {
    let mut controller = Controller::start();
    let mut client = controller.connect("n1").await;
    client.subscribe("Workload", &["*"], &[("shop/a/u-a".to_owned(), "1".to_owned())]).await;
    assert!(client.silent().await);
    controller.set("");
    assert_eq!(client.take("Workload").await.removed, ["shop/a/u-a"]);
}
