//! The cluster as it is wanted and as it is: which pods there should be, which there are, and on which node.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr},
};

use k8s_openapi::api::core::v1::{Pod, Service};

use super::{
    endpoints::{Backend, states},
    overlay,
    services::{Allocator, addresses, dns_key},
};
use crate::{
    addresses::{NODES, Numbers, Pair, Plan},
    layout::Layout,
    manifests::{Key, Manifests, PodManifest},
    node::{Desired, PodAssignment, Report, ServiceState},
};

/// On a Node with `absent` as its value no agent runs: its pods are in the mesh for everybody else, and a test can play
/// the mesh's part in them.
const AGENT_LABEL: &str = "testbed.mesh.internal/agent";

/// A pod that exists.
#[derive(Debug)]
struct Instance {
    manifest: PodManifest,
    uid: String,
    node: String,
    addresses: Pair,
    /// Its address's number, if it has one of its own.
    number: Option<u16>,
    /// No longer wanted as it is.
    leaving: bool,
    phase: String,
    ready: bool,
}

/// A node's number and the pod addresses it has.
#[derive(Debug)]
struct NodeState {
    number: u8,
    pods: Numbers,
}

/// The whole cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    layout: Layout,
    plan: Plan,
    manifests: Manifests,
    nodes: BTreeMap<String, NodeState>,
    pods: BTreeMap<Key, Instance>,
    allocator: Allocator,
    services: BTreeMap<Key, Service>,
}

impl Cluster {
    /// An empty cluster.
    pub(super) fn new(layout: &Layout, plan: Plan) -> Self {
        Self {
            layout: layout.clone(),
            plan,
            manifests: Manifests::default(),
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            allocator: Allocator::new(plan),
            services: BTreeMap::new(),
        }
    }

    /// Takes what the directory says now; gives the nodes that are new, with their numbers.
    pub(super) fn want(&mut self, manifests: Manifests) -> io::Result<Vec<(String, u8)>> {
        self.manifests = manifests;
        let mut new = Vec::new();
        for name in self.manifests.node_names() {
            if self.nodes.contains_key(&name) {
                continue;
            }
            let free = |number: &u8| self.nodes.values().all(|node| node.number != *number);
            let Some(number) = (1..=NODES).find(free) else {
                tracing::error!(node = name, "a testbed has at most {NODES} nodes; this one is left out");
                continue;
            };
            self.nodes.insert(name.clone(), NodeState { number, pods: Numbers::new(2, 254) });
            new.push((name, number));
        }
        for (name, node) in &self.nodes {
            overlay::write_node(
                &self.layout,
                name,
                self.manifests.nodes.get(name),
                self.plan.node(node.number),
            )?;
        }
        self.services = self.allocator.complete(&self.manifests.services);
        overlay::write_services(&self.layout, &self.services)?;
        self.reconcile();
        Ok(new)
    }

    /// Lets go of the nodes that nothing names any longer and that have no pod left; gives their names and numbers.
    pub(super) fn departed(&mut self) -> io::Result<Vec<(String, u8)>> {
        let named = self.manifests.node_names();
        let empty = |name: &String| self.pods.values().all(|pod| pod.node != *name);
        let gone: Vec<(String, u8)> = self
            .nodes
            .iter()
            .filter(|(name, _)| !named.contains(*name) && empty(name))
            .map(|(name, node)| (name.clone(), node.number))
            .collect();
        for (name, _) in &gone {
            self.nodes.remove(name);
            overlay::remove_node(&self.layout, name)?;
        }
        Ok(gone)
    }

    /// Takes a node's report; says whether anything follows from it for others.
    pub(super) fn take(&mut self, report: Report) -> bool {
        match report {
            Report::Up => false,
            Report::Pod { uid, phase, ready, .. } => {
                let Some(pod) = self.pods.values_mut().find(|pod| pod.uid == uid) else { return false };
                let changed = pod.phase != phase || pod.ready != ready;
                pod.phase = phase;
                pod.ready = ready;
                changed
            }
            Report::Gone { uid } => {
                let Some(key) = self.pods.iter().find(|(_, pod)| pod.uid == uid).map(|(key, _)| key.clone())
                else {
                    return false;
                };
                if let Some(Instance { node, number: Some(number), .. }) = self.pods.remove(&key)
                    && let Some(node) = self.nodes.get_mut(&node)
                {
                    node.pods.release(number);
                }
                self.reconcile();
                true
            }
        }
    }

    /// What each node should do.
    pub(super) fn desired(&self) -> BTreeMap<String, Desired> {
        let services = self.service_states();
        let desired = |node: &String| Desired {
            pods: self
                .pods
                .iter()
                .filter(|(_, pod)| pod.node == *node && !pod.leaving)
                .map(assignment)
                .collect(),
            services: services.clone(),
            config_maps: self.manifests.config_maps.clone(),
            secrets: self.manifests.secrets.clone(),
        };
        self.nodes.keys().map(|node| (node.clone(), desired(node))).collect()
    }

    /// Whether the mesh's agent runs on a node; it does if nothing is said.
    pub(super) fn has_agent(&self, node: &str) -> bool {
        let labels = self.manifests.nodes.get(node).and_then(|node| node.metadata.labels.as_ref());
        labels.and_then(|labels| labels.get(AGENT_LABEL)).is_none_or(|value| value != "absent")
    }

    /// Where the cluster's DNS answers.
    pub(super) fn dns_addresses(&self) -> Vec<IpAddr> {
        let service = self.services.get(&dns_key()).and_then(|service| service.spec.as_ref());
        service
            .map(addresses)
            .filter(|all| !all.is_empty())
            .unwrap_or_else(|| self.plan.dns().both().to_vec())
    }

    fn service_states(&self) -> Vec<ServiceState> {
        let exists = |pod: &&Instance| !matches!(pod.phase.as_str(), "" | "Succeeded" | "Failed");
        let backends: Vec<Backend<'_>> = self
            .pods
            .iter()
            .filter(|(_, pod)| exists(pod))
            .map(|(key, pod)| Backend {
                // Labels as they are now, not as they were when the pod was made.
                pod: self.manifests.pods.get(key).map_or(&pod.manifest.pod, |manifest| &manifest.pod),
                key,
                addresses: pod.addresses,
                node: &pod.node,
                ready: pod.ready && !pod.leaving,
            })
            .collect();
        states(&self.services, &backends, &self.manifests.slices)
    }

    /// Marks pods that are no longer wanted as they are, and makes those that are missing.
    fn reconcile(&mut self) {
        for (key, pod) in &mut self.pods {
            pod.leaving |= self.manifests.pods.get(key).is_none_or(|wanted| !same_pod(wanted, &pod.manifest));
        }
        let missing: BTreeSet<Key> =
            self.manifests.pods.keys().filter(|key| !self.pods.contains_key(*key)).cloned().collect();
        for key in missing {
            let manifest = self.manifests.pods[&key].clone();
            match self.schedule(&manifest) {
                Some(instance) => drop(self.pods.insert(key, instance)),
                None => {
                    tracing::error!(pod = %key, "its node has no address left, or is not part of the cluster")
                }
            }
        }
    }

    /// Finds the pod its node, the named one or the one with the fewest, and an address.
    fn schedule(&mut self, manifest: &PodManifest) -> Option<Instance> {
        let spec = manifest.pod.spec.as_ref()?;
        let load = |node: &String| self.pods.values().filter(|pod| pod.node == *node).count();
        let name =
            spec.node_name.clone().or_else(|| self.nodes.keys().min_by_key(|node| load(node)).cloned())?;
        let node = self.nodes.get_mut(&name)?;
        let (number, addresses) = if spec.host_network == Some(true) {
            (None, self.plan.node(node.number))
        } else {
            let number = match asked_for(&manifest.pod, self.plan, node.number) {
                Some(number) => node.pods.reserve(number).then_some(number)?,
                None => node.pods.take()?,
            };
            (Some(number), self.plan.pod(node.number, u8::try_from(number).ok()?))
        };
        let uid = manifest.pod.metadata.uid.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        Some(Instance {
            manifest: manifest.clone(),
            uid,
            node: name,
            addresses,
            number,
            leaving: false,
            phase: String::new(),
            ready: false,
        })
    }
}

/// Asks for an address of the pod's node, such as one that another pod had until just now; others come in turn.
const ADDRESS_ANNOTATION: &str = "testbed.mesh.internal/address";

/// The number of the address that a pod asks for.
fn asked_for(pod: &Pod, plan: Plan, node: u8) -> Option<u16> {
    let wanted: Ipv4Addr = pod.metadata.annotations.as_ref()?.get(ADDRESS_ANNOTATION)?.parse().ok()?;
    (2..=254).find(|number| plan.pod(node, *number).v4 == wanted).map(u16::from)
}

fn assignment((key, pod): (&Key, &Instance)) -> PodAssignment {
    PodAssignment {
        pod: pod.manifest.pod.clone(),
        key: key.clone(),
        uid: pod.uid.clone(),
        addresses: pod.addresses,
        generated: pod.manifest.generated,
    }
}

/// Whether a pod can go on under the new manifest: labels and annotations may change, what it runs may not. One that
/// a controller made is replaced with its template.
fn same_pod(wanted: &PodManifest, running: &PodManifest) -> bool {
    if wanted.generated || running.generated {
        wanted == running
    } else {
        wanted.pod.spec == running.pod.spec
    }
}
