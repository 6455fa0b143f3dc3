//! What the build needs to know of nodes.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::api::core::v1::Node;

use crate::objects::ObjectName;

/// The nodes by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Nodes(BTreeMap<String, NodeView>);

/// One node.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct NodeView {
    /// Empty where the node has no zone label.
    pub(super) zone: String,
    pub(super) addresses: Vec<IpAddr>,
    /// Allocatable CPU in cores; nothing where the node does not say.
    pub(super) cpu: Option<f64>,
}

impl Nodes {
    /// Every node that has an object, or a pod.
    pub(super) fn of<'a>(
        objects: &BTreeMap<ObjectName, Arc<Node>>,
        of_pods: impl Iterator<Item = &'a str>,
    ) -> Self {
        let mut nodes: BTreeMap<_, _> =
            objects.iter().map(|(name, node)| (name.name.clone(), NodeView::of(node))).collect();
        for name in of_pods.filter(|name| !name.is_empty()) {
            if !nodes.contains_key(name) {
                nodes.insert(name.to_owned(), NodeView::default());
            }
        }
        Self(nodes)
    }

    /// Names and nodes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &NodeView)> {
        self.0.iter().map(|(name, node)| (name.as_str(), node))
    }

    /// A node's zone, empty where it is not known.
    pub(super) fn zone(&self, node: &str) -> &str {
        self.0.get(node).map_or("", |node| &node.zone)
    }

    /// Whether there is a node of this name.
    pub(super) fn has(&self, node: &str) -> bool {
        self.0.contains_key(node)
    }
}

impl NodeView {
    fn of(node: &Node) -> Self {
        let labels = node.metadata.labels.as_ref();
        let zone = labels.and_then(|labels| {
            ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"]
                .into_iter()
                .find_map(|key| labels.get(key))
        });
        let status = node.status.as_ref();
        let addresses = status.iter().flat_map(|status| status.addresses.iter().flatten());
        let addresses =
            addresses.filter(|address| matches!(address.type_.as_str(), "InternalIP" | "ExternalIP"));
        let cpu = status.and_then(|status| status.allocatable.as_ref()?.get("cpu"));
        Self {
            zone: zone.cloned().unwrap_or_default(),
            addresses: addresses.filter_map(|address| address.address.parse().ok()).collect(),
            cpu: cpu.and_then(|quantity| cores(&quantity.0)),
        }
    }
}

/// A CPU quantity: cores, or thousandths of one with the suffix `m`.
fn cores(quantity: &str) -> Option<f64> {
    match quantity.strip_suffix('m') {
        Some(thousandths) => thousandths.parse::<f64>().ok().map(|value| value / 1000.0),
        None => quantity.parse().ok(),
    }
}
