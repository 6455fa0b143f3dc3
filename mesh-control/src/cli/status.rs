//! `meshctl status`: how the controller and the nodes are, and what needs attention.

use std::collections::BTreeMap;
use std::path::Path;

use mesh_api::condition::{Condition, ConditionStatus, PROGRAMMED};
use mesh_api::labels::API_VERSION;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Outcome;
use super::client::Socket;
use super::cluster::Cluster;
use super::node::{Node, each};
use super::output::{View, cell, table};
use super::place::Place;
use crate::check::WARNINGS;

/// The whole answer.
#[derive(Debug, Serialize)]
struct Status {
    controller: Controller,
    nodes: Vec<NodeStatus>,
    /// Conditions that need attention.
    conditions: Vec<Attention>,
}

#[derive(Debug, Serialize)]
struct Controller {
    /// Why it does not answer, or cannot read its source.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// What it says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<ControllerStatus>,
}

/// What the controller's socket answers, as far as it is shown.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ControllerStatus {
    sequence: u64,
    source_error: Option<String>,
    nodes: Vec<Value>,
    objects: Vec<Object>,
}

/// An object and its conditions.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Object {
    kind: String,
    #[serde(default)]
    namespace: String,
    name: String,
    conditions: Vec<Condition>,
}

/// A node, or why it does not answer.
#[derive(Debug, Serialize)]
struct NodeStatus {
    node: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    status: Option<Agent>,
}

/// What a node's socket answers, as far as it is shown.
#[derive(Debug, Serialize, Deserialize)]
struct Agent {
    ready: bool,
    unready: Vec<String>,
    wire: Wire,
    pods: BTreeMap<String, usize>,
    problems: Vec<String>,
    /// Certificate, trust, tunnel and more, for programs.
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Wire {
    programmed: bool,
}

/// A condition that needs attention.
#[derive(Debug, Serialize)]
struct Attention {
    object: String,
    #[serde(flatten)]
    condition: Condition,
}

/// An answer, and what it has to be waited for until everything is in force.
pub(super) struct Waited {
    pub view: View,
    pub outcome: Outcome,
    pub reasons: Vec<String>,
}

/// Asks everyone; who does not answer is part of the answer.
pub(super) async fn status(controller: &Socket, place: Option<&Place>, nodes: &[Node]) -> (View, Outcome) {
    let Waited { view, outcome, .. } = waited(controller, place, nodes).await;
    (view, outcome)
}

/// The same, with what is not in force yet.
pub(super) async fn waited(controller: &Socket, place: Option<&Place>, nodes: &[Node]) -> Waited {
    let controller = match controller.get::<ControllerStatus>("/status").await {
        Ok(status) => Controller { error: status.source_error.clone(), status: Some(status) },
        Err(error) => Controller { error: Some(error.to_string()), status: None },
    };
    let statuses = each(nodes, |node| async move {
        let (error, status) = match node.agent.get::<Agent>("/status").await {
            Ok(status) => (None, Some(status)),
            Err(error) => (Some(error.to_string()), None),
        };
        NodeStatus { node: node.name.clone(), error, status }
    })
    .await;
    // What the controller wrote outlives it.
    let objects = match (&controller.status, place) {
        (Some(status), _) => status.objects.clone(),
        (None, Some(Place::RunDir(run_dir))) => written(&run_dir.conditions()),
        (None, Some(Place::Cluster(cluster))) => kept(cluster).await,
        (None, None) => Vec::new(),
    };
    let status = Status { controller, nodes: statuses, conditions: attention(objects) };
    let ready = |node: &NodeStatus| node.status.as_ref().is_some_and(|status| status.ready);
    let fine = status.controller.error.is_none() && status.nodes.iter().all(ready);
    let text = text(&status);
    let outcome = if fine { Outcome::Yes } else { Outcome::No };
    Waited { view: View::new(&status, text), outcome, reasons: reasons(&status) }
}

/// What is not in force yet.
fn reasons(status: &Status) -> Vec<String> {
    let mut reasons: Vec<String> = status.controller.error.iter().cloned().collect();
    for node in &status.nodes {
        reasons.extend(node.error.clone());
        let Some(agent) = &node.status else { continue };
        let unready = agent.unready.iter().map(|reason| format!("node {}: {reason}", node.node));
        reasons.extend(unready);
        if !agent.wire.programmed {
            reasons.push(format!("node {}: not everything that was told is in the kernel", node.node));
        }
    }
    let waiting = status.conditions.iter().filter(|attention| attention.condition.kind == PROGRAMMED);
    reasons.extend(waiting.map(|attention| format!("{}: {}", attention.object, attention.condition.message)));
    reasons
}

/// The conditions that need attention: what should be True and is not, and warnings.
fn attention(objects: Vec<Object>) -> Vec<Attention> {
    let mut found = Vec::new();
    for object in objects {
        let name = match object.namespace.as_str() {
            "" => format!("{}/{}", object.kind, object.name),
            namespace => format!("{}/{namespace}/{}", object.kind, object.name),
        };
        let worth_telling = |condition: &Condition| {
            let holds = condition.status == ConditionStatus::True;
            holds == WARNINGS.contains(&condition.kind.as_str())
        };
        let told = object.conditions.into_iter().filter(worth_telling);
        found.extend(told.map(|condition| Attention { object: name.clone(), condition }));
    }
    found
}

/// An object as it was written with its conditions.
#[derive(Deserialize)]
struct Written {
    kind: String,
    metadata: Metadata,
    status: Conditions,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct Conditions {
    #[serde(default)]
    conditions: Vec<Condition>,
}

impl From<Written> for Object {
    fn from(written: Written) -> Self {
        Self {
            kind: written.kind,
            namespace: written.metadata.namespace,
            name: written.metadata.name,
            conditions: written.status.conditions,
        }
    }
}

/// The mesh's objects that the API server has; what cannot be read is passed over.
async fn kept(cluster: &Cluster) -> Vec<Object> {
    let mut objects = Vec::new();
    for plural in ["meshconfigs", "accesspolicies", "clusteraccesspolicies"] {
        let listed = cluster.raw(&format!("/apis/{API_VERSION}/{plural}")).await.unwrap_or_default();
        let read = listed.into_iter().filter_map(|item| serde_json::from_value::<Written>(item).ok());
        objects.extend(read.map(Object::from));
    }
    objects
}

/// The objects of the status files below a directory; what cannot be read is passed over.
fn written(directory: &Path) -> Vec<Object> {
    let below = |path: &Path| {
        let mut paths: Vec<_> =
            std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        paths.sort_unstable();
        paths
    };
    below(directory)
        .iter()
        .flat_map(|kind| below(kind))
        .filter_map(|path| serde_yaml_ng::from_slice::<Written>(&std::fs::read(path).ok()?).ok())
        .map(Object::from)
        .collect()
}

fn text(status: &Status) -> String {
    let mut text = match (&status.controller.status, &status.controller.error) {
        (_, Some(error)) => format!("Controller: {error}\n"),
        (Some(controller), None) => {
            format!(
                "Controller: in order, {} builds, {} nodes\n",
                controller.sequence,
                controller.nodes.len()
            )
        }
        (None, None) => String::new(),
    };
    let rows: Vec<Vec<String>> = status.nodes.iter().map(node_row).collect();
    let head = ["NODE", "READY", "PROGRAMMED", "WIRED", "PENDING", "PLAIN", "UNKNOWN", "PROBLEMS"];
    text.push_str(&format!("\n{}", table(&head, &rows)));
    for node in &status.nodes {
        let agent = node.status.iter();
        let told = agent.flat_map(|agent| agent.unready.iter().chain(&agent.problems));
        for problem in node.error.iter().chain(told) {
            text.push_str(&format!("  {}: {problem}\n", node.node));
        }
    }
    let rows: Vec<Vec<String>> = status
        .conditions
        .iter()
        .map(|attention| {
            let condition = &attention.condition;
            vec![
                attention.object.clone(),
                condition.kind.clone(),
                format!("{:?}", condition.status),
                cell(&condition.reason),
                cell(&condition.message),
            ]
        })
        .collect();
    if rows.is_empty() {
        return text + "\nEvery object's conditions are in order.\n";
    }
    text + "\n" + &table(&["OBJECT", "CONDITION", "STATUS", "REASON", "MESSAGE"], &rows)
}

fn node_row(node: &NodeStatus) -> Vec<String> {
    let yes = |holds: bool| if holds { "yes" } else { "NO" }.to_owned();
    let Some(agent) = &node.status else {
        let dash = || "-".to_owned();
        return vec![node.node.clone(), yes(false), dash(), dash(), dash(), dash(), dash(), dash()];
    };
    let pods = |state: &str| agent.pods.get(state).copied().unwrap_or_default().to_string();
    vec![
        node.node.clone(),
        yes(agent.ready),
        yes(agent.wire.programmed),
        pods("wired"),
        pods("pending"),
        pods("plain"),
        pods("unknown"),
        agent.problems.len().to_string(),
    ]
}
