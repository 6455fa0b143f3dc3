//! `meshctl status`: how the controller and the nodes are, and what needs attention.

use std::collections::BTreeMap;
use std::path::Path;

use mesh_api::condition::{CONFLICTED, Condition, ConditionStatus, UDP_UNPROVEN};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Outcome;
use super::output::{View, cell, table};
use super::run_dir::{Node, RunDir};

/// Conditions that say something when they are True.
const WARNINGS: [&str; 2] = [CONFLICTED, UDP_UNPROVEN];

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

/// Asks everyone; who does not answer is part of the answer.
pub(super) async fn status(run_dir: &RunDir, nodes: &[Node]) -> (View, Outcome) {
    let controller = match run_dir.controller().get::<ControllerStatus>("/status").await {
        Ok(status) => Controller { error: status.source_error.clone(), status: Some(status) },
        Err(error) => Controller { error: Some(error.to_string()), status: None },
    };
    let mut statuses = Vec::new();
    for node in nodes {
        let (error, status) = match node.agent.get::<Agent>("/status").await {
            Ok(status) => (None, Some(status)),
            Err(error) => (Some(error.to_string()), None),
        };
        statuses.push(NodeStatus { node: node.name.clone(), error, status });
    }
    // The files that the controller wrote outlive it.
    let objects = match &controller.status {
        Some(status) => status.objects.clone(),
        None => written(&run_dir.conditions()),
    };
    let status = Status { controller, nodes: statuses, conditions: attention(objects) };
    let ready = |node: &NodeStatus| node.status.as_ref().is_some_and(|status| status.ready);
    let fine = status.controller.error.is_none() && status.nodes.iter().all(ready);
    let text = text(&status);
    (View::new(&status, text), if fine { Outcome::Yes } else { Outcome::No })
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

/// The objects of the status files below a directory; what cannot be read is passed over.
fn written(directory: &Path) -> Vec<Object> {
    #[derive(Deserialize)]
    struct File {
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
    let below = |path: &Path| {
        let mut paths: Vec<_> =
            std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        paths.sort_unstable();
        paths
    };
    below(directory)
        .iter()
        .flat_map(|kind| below(kind))
        .filter_map(|path| {
            let file: File = serde_yaml_ng::from_slice(&std::fs::read(path).ok()?).ok()?;
            Some(Object {
                kind: file.kind,
                namespace: file.metadata.namespace,
                name: file.metadata.name,
                conditions: file.status.conditions,
            })
        })
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
