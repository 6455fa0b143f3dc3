//! What nodes acknowledged and refused: what `Programmed` is made of.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::subscription::Event;
use crate::build::{ResourceKey, ResourceKind};

/// Streams that a node has at once: of an agent, and of the one that is taking its place.
const STREAMS: usize = 2;

/// The answers of every connected node.
#[derive(Debug)]
pub struct Acks {
    /// Of each of a node's streams, the oldest first; never none.
    nodes: Mutex<BTreeMap<Arc<str>, Vec<NodeAcks>>>,
    changes: watch::Sender<u64>,
}

/// The answers of one stream of a node, for as long as it is connected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeAcks {
    /// The stream that they came on.
    stream: u64,
    /// The versions that it holds of what something waits for: policies, settings, trust.
    pub held: BTreeMap<ResourceKey, String>,
    /// What it refused.
    pub refused: BTreeMap<ResourceKey, Refusal>,
}

/// A refused resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The version that was refused.
    pub version: String,
    /// What the agent says is wrong with it.
    pub error: String,
}

impl Default for Acks {
    fn default() -> Self {
        Self { nodes: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Acks {
    /// Counts whatever changes here, to be waited on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The answers of every connected node, on its newest stream.
    pub fn snapshot(&self) -> BTreeMap<Arc<str>, NodeAcks> {
        let nodes = self.lock();
        nodes.iter().filter_map(|(node, streams)| Some((node.clone(), streams.last()?.clone()))).collect()
    }

    /// A node's stream begins. Of older ones of the same node only the last goes on.
    pub(super) fn connected(&self, node: &Arc<str>, stream: u64) {
        let mut nodes = self.lock();
        let streams = nodes.entry(node.clone()).or_default();
        streams.push(NodeAcks { stream, ..NodeAcks::default() });
        let too_many = streams.len().saturating_sub(STREAMS);
        streams.drain(..too_many);
        drop(nodes);
        self.notify();
    }

    /// A stream ends.
    pub(super) fn disconnected(&self, node: &Arc<str>, stream: u64) {
        let mut nodes = self.lock();
        if let Some(streams) = nodes.get_mut(node) {
            streams.retain(|acks| acks.stream != stream);
            if streams.is_empty() {
                nodes.remove(node);
            }
        }
        drop(nodes);
        self.notify();
    }

    /// Whether a stream still goes on.
    pub(super) fn is_current(&self, node: &Arc<str>, stream: u64) -> bool {
        self.lock().get(node).is_some_and(|streams| streams.iter().any(|acks| acks.stream == stream))
    }

    /// What a stream's agent answered.
    pub(super) fn record(&self, node: &Arc<str>, stream: u64, events: Vec<Event>) {
        let mut nodes = self.lock();
        let streams = nodes.get_mut(node).into_iter().flatten();
        let Some(acks) = streams.into_iter().find(|acks| acks.stream == stream) else { return };
        let mut changed = false;
        for event in events {
            match event {
                Event::Acked(resources) => {
                    for (key, version) in resources {
                        changed |= acks.refused.remove(&key).is_some();
                        if !is_watched(key.kind) {
                            continue;
                        }
                        changed |= match version {
                            Some(version) => acks.held.insert(key, version.clone()) != Some(version),
                            None => acks.held.remove(&key).is_some(),
                        };
                    }
                }
                Event::Nacked(key, version, error) => {
                    tracing::warn!(node = %node, kind = key.kind.name(), name = %key.name, %error, "resource refused");
                    acks.held.remove(&key);
                    acks.refused.insert(key, Refusal { version, error });
                    changed = true;
                }
            }
        }
        drop(nodes);
        if changed {
            self.notify();
        }
    }

    /// The connected nodes that hold another version of a resource than this, or none, on any of their streams.
    pub fn lacking(&self, key: &ResourceKey, version: &str) -> Vec<Arc<str>> {
        let nodes = self.lock();
        let lacks = |acks: &NodeAcks| acks.held.get(key).map(String::as_str) != Some(version);
        let lacking = nodes.iter().filter(|(_, streams)| streams.iter().any(lacks));
        lacking.map(|(node, _)| node.clone()).collect()
    }

    /// The connected nodes.
    pub fn connected_nodes(&self) -> Vec<Arc<str>> {
        self.lock().keys().cloned().collect()
    }

    fn notify(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Vec<NodeAcks>>> {
        // Entries are written whole, so what a panic left behind is still true.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether anything waits for nodes to have resources of this kind.
fn is_watched(kind: ResourceKind) -> bool {
    matches!(kind, ResourceKind::NodeConfig | ResourceKind::TrustBundle | ResourceKind::PodPolicy)
}
