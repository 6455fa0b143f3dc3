//! Conditions with the nodes' answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mesh_api::condition::{ACCEPTED, Condition, PROGRAMMED};

use crate::{
    ads::{Acks, NodeAcks, Store},
    build::{ResourceKey, ResourceKind},
    objects::{Conditions, ObjectName, ObjectRef},
};

/// A message names at most this many nodes or refusals.
const NAMED: usize = 5;

/// How far an object has come on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Progress {
    pending: bool,
    refused: Vec<String>,
}

/// Every object's conditions: what the build decided, and for policies and settings whether the
/// nodes that need them have them.
pub fn report(conditions: &Conditions, store: &Store, acks: &Acks) -> Conditions {
    let acks = acks.snapshot();
    let mut progress: BTreeMap<ObjectRef, BTreeMap<Arc<str>, Progress>> = BTreeMap::new();
    store.for_each_own(|node, key, encoded| {
        let answers = acks.get(node);
        let current = answers.and_then(|answers| answers.held.get(key)) == Some(&encoded.version);
        let refusal = answers.and_then(|answers| answers.refused.get(key));
        let refusal = refusal.filter(|refusal| refusal.version == encoded.version);
        for origin in encoded.origins.iter() {
            let on_node = progress.entry(origin.clone()).or_default().entry(node.clone()).or_default();
            match refusal {
                Some(refusal) => {
                    on_node.refused.push(format!("{} {}: {}", key.kind.name(), key.name, refusal.error))
                }
                None => on_node.pending |= !current,
            }
        }
    });
    let mut reported = conditions.clone();
    for (reference, conditions) in &mut reported {
        let generation =
            conditions.iter().find(|condition| condition.kind == ACCEPTED && is_shaping(reference));
        if let Some(generation) = generation.map(|condition| condition.observed_generation) {
            let nodes = progress.remove(reference).unwrap_or_default();
            conditions.push(programmed(&nodes, &acks, generation).at(generation));
        }
    }
    for (reference, message) in refused_of_objects(&acks) {
        let condition = Condition::failed(PROGRAMMED, "Refused", message);
        reported.entry(reference).or_default().push(condition);
    }
    reported
}

/// Whether objects of this kind shape what nodes are sent, and wait for their answer.
fn is_shaping(reference: &ObjectRef) -> bool {
    ["MeshConfig", "AccessPolicy", "ClusterAccessPolicy"].contains(&reference.kind.as_str())
}

fn programmed(
    nodes: &BTreeMap<Arc<str>, Progress>,
    acks: &BTreeMap<Arc<str>, NodeAcks>,
    generation: i64,
) -> Condition {
    let done = nodes.values().filter(|node| !node.pending && node.refused.is_empty()).count();
    let count = format!("{done}/{} nodes at generation {generation}", nodes.len());
    let refused: Vec<String> = nodes
        .iter()
        .flat_map(|(node, progress)| {
            progress.refused.iter().map(move |error| format!("node {node} refused {error}"))
        })
        .collect();
    if !refused.is_empty() {
        return Condition::failed(PROGRAMMED, "Refused", format!("{count}; {}", some_of(&refused)));
    }
    let waiting: Vec<String> = nodes
        .iter()
        .filter(|(_, progress)| progress.pending)
        .map(
            |(node, _)| {
                if acks.contains_key(node) { node.to_string() } else { format!("{node} (not connected)") }
            },
        )
        .collect();
    if waiting.is_empty() {
        let note = if nodes.is_empty() { "; no pod is selected" } else { "" };
        return Condition::holds(PROGRAMMED, PROGRAMMED, format!("{count}{note}"));
    }
    Condition::failed(PROGRAMMED, "Pending", format!("{count}; waiting for {}", some_of(&waiting)))
}

fn some_of(items: &[String]) -> String {
    let shown = items.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match items.len().checked_sub(NAMED) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

/// Refused resources that no policy shaped: they are reported under the Service or Pod they are
/// made of.
pub(super) fn refused_of_objects(acks: &BTreeMap<Arc<str>, NodeAcks>) -> BTreeMap<ObjectRef, String> {
    let mut refusals: BTreeMap<ObjectRef, BTreeSet<String>> = BTreeMap::new();
    for (node, answers) in acks {
        for (key, refusal) in &answers.refused {
            if let Some(reference) = object_of(key) {
                let message =
                    format!("node {node} refused {} {}: {}", key.kind.name(), key.name, refusal.error);
                refusals.entry(reference).or_default().insert(message);
            }
        }
    }
    let joined = |messages: BTreeSet<String>| some_of(&messages.into_iter().collect::<Vec<_>>());
    refusals.into_iter().map(|(reference, messages)| (reference, joined(messages))).collect()
}

fn object_of(key: &ResourceKey) -> Option<ObjectRef> {
    let mut parts = key.name.split('/');
    let name = ObjectName::new(parts.next()?, parts.next()?);
    let kind = match key.kind {
        ResourceKind::NodeConfig | ResourceKind::TrustBundle => return None,
        ResourceKind::Service | ResourceKind::ServiceRoutes => "Service",
        ResourceKind::PodPolicy | ResourceKind::Workload => "Pod",
    };
    Some(ObjectRef { api_version: "v1".to_owned(), kind: kind.to_owned(), name })
}
