//! What this node is to enforce: the resources, what they compile to, and what wire still has to
//! be told.
//!
//! A change to one resource recompiles that resource and nothing else: a workload its pod and its
//! addresses, a policy its two sets, a Service its entries and those whose routes lead to it. What changed by it is left in
//! [`Changes`] until the link to wire has room for it, so a burst costs one message an entry
//! however often the entry changed, and memory is bounded by the state itself.

mod changes;
mod faults;
mod services;
mod sets;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use mesh_ebpf::abi::Workload as Flags;
use mesh_ebpf::policy::{Direction, SetId};

use super::access::PodRules;
use super::compile::{self, CompileError, local_pod, peer_flags};
use super::resource::{Kind, NodeConfig, PodPolicy, Resource, Workload};
use crate::handover::{LocalPod, NodeSettings, PeerEntry, PolicySet, ToWire};
use changes::{Changes, Key};
use services::Services;
use sets::Sets;

/// The state of the node as discovery wants it.
#[derive(Debug)]
pub(crate) struct Desired {
    node: Option<NodeConfig>,
    /// A trust bundle came; it is not wire's to know.
    trusts: bool,
    workloads: BTreeMap<String, Workload>,
    services: Services,
    policies: BTreeMap<String, Compiled>,
    /// Resource names of the workloads at an address.
    at_address: BTreeMap<IpAddr, BTreeSet<String>>,
    /// Resource name of the local pod of a UID.
    local: BTreeMap<String, String>,
    /// Resource name of the policy of a UID.
    policy_of: BTreeMap<String, String>,
    sets: Sets,
    deny_all: Rc<PolicySet>,
    changes: Changes,
    /// By entry: why wire refused it.
    refused: BTreeMap<Key, String>,
    revision: u64,
}

/// A policy and the sets it compiled to.
#[derive(Debug)]
struct Compiled {
    policy: PodPolicy,
    ingress: SetId,
    egress: SetId,
    /// For what is decided by request; none while everything is denied because of a problem.
    rules: Option<Arc<PodRules>>,
    problem: Option<CompileError>,
}

impl Desired {
    /// Nothing known.
    pub(crate) fn new() -> Self {
        let deny_all = Rc::new(compile::denies_all());
        let mut sets = Sets::default();
        sets.hold(&deny_all);
        Self {
            node: None,
            trusts: false,
            workloads: BTreeMap::new(),
            services: Services::default(),
            policies: BTreeMap::new(),
            at_address: BTreeMap::new(),
            local: BTreeMap::new(),
            policy_of: BTreeMap::new(),
            sets,
            deny_all,
            changes: Changes::default(),
            refused: BTreeMap::new(),
            revision: 0,
        }
    }

    /// Counts the changes from discovery so far.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Takes the resource `name`, new or changed.
    pub(crate) fn set(&mut self, name: &str, resource: Resource) {
        self.revision += 1;
        match resource {
            Resource::NodeConfig(config) => {
                self.node = Some(config);
                self.changes.changed(Key::Node);
            }
            Resource::TrustBundle(_) => self.trusts = true,
            Resource::Workload(workload) => self.set_workload(name, Some(workload)),
            Resource::Service(service) => {
                let changed = self.services.set(name, Some(service));
                self.changed_services(changed);
            }
            Resource::ServiceRoutes(routes) => {
                let changed = self.services.set_routes(name, Some(routes));
                self.changed_services(changed);
            }
            Resource::PodPolicy(policy) => self.set_policy(name, Some(policy)),
        }
    }

    /// Forgets the resource `name`.
    pub(crate) fn remove(&mut self, kind: Kind, name: &str) {
        self.revision += 1;
        match kind {
            // Settings and roots stay what they were: a node without them is no more open than before,
            // and no less able to talk.
            Kind::NodeConfig | Kind::TrustBundle => {}
            Kind::Workload => self.set_workload(name, None),
            Kind::Service => {
                let changed = self.services.set(name, None);
                self.changed_services(changed);
            }
            Kind::ServiceRoutes => {
                let changed = self.services.set_routes(name, None);
                self.changed_services(changed);
            }
            Kind::PodPolicy => self.set_policy(name, None),
        }
    }

    fn set_workload(&mut self, name: &str, workload: Option<Workload>) {
        if workload.is_some() && self.workloads.get(name) == workload.as_ref() {
            return;
        }
        let before = match workload {
            Some(workload) => {
                for &address in &workload.addresses {
                    self.at_address.entry(address).or_default().insert(name.to_owned());
                    self.changes.changed(Key::Peer(address));
                }
                if workload.local.is_some() {
                    self.local.insert(workload.uid.clone(), name.to_owned());
                    self.changes.changed(Key::Pod(workload.uid.clone()));
                }
                self.workloads.insert(name.to_owned(), workload)
            }
            None => self.workloads.remove(name),
        };
        let Some(before) = before else { return };
        let now = self.workloads.get(name);
        for address in &before.addresses {
            if now.is_some_and(|now| now.addresses.contains(address)) {
                continue;
            }
            if let Some(names) = self.at_address.get_mut(address) {
                names.remove(name);
                if names.is_empty() {
                    self.at_address.remove(address);
                }
            }
            self.changes.changed(Key::Peer(*address));
        }
        let still = now.is_some_and(|now| now.local.is_some() && now.uid == before.uid);
        if before.local.is_some() && !still {
            if self.local.get(&before.uid).is_some_and(|holder| holder == name) {
                self.local.remove(&before.uid);
            }
            self.changes.changed(Key::Pod(before.uid));
        }
    }

    fn changed_services(&mut self, entries: Vec<u64>) {
        for id in entries {
            self.changes.changed(Key::Service(id));
        }
    }

    fn set_policy(&mut self, name: &str, policy: Option<PodPolicy>) {
        if policy
            .as_ref()
            .is_some_and(|policy| self.policies.get(name).is_some_and(|now| now.policy == *policy))
        {
            return;
        }
        let before = self.policies.remove(name);
        if let Some(policy) = policy {
            let mut problem = None;
            let mut compiled = |direction, rules| {
                let set = compile::compile(direction, rules).and_then(|set| self.sets.alone(set));
                let set = set.map(Rc::new).unwrap_or_else(|error| {
                    problem = Some(error);
                    Rc::clone(&self.deny_all)
                });
                if self.sets.hold(&set) {
                    self.changes.changed(Key::Set(set.id));
                }
                set
            };
            let ingress = compiled(Direction::Ingress, &policy.ingress);
            let egress = compiled(Direction::Egress, &policy.egress);
            self.policy_of.insert(policy.pod_uid.clone(), name.to_owned());
            self.changes.changed(Key::Pod(policy.pod_uid.clone()));
            let rules = problem.is_none().then(|| Arc::new(PodRules::new(&policy)));
            let compiled = Compiled { policy, ingress: ingress.id, egress: egress.id, rules, problem };
            self.policies.insert(name.to_owned(), compiled);
        }
        if let Some(before) = before {
            for id in [before.ingress, before.egress] {
                if self.sets.release(id) {
                    self.changes.changed(Key::SetGone(id));
                }
            }
            let uid = before.policy.pod_uid;
            let moved = self.policies.get(name).is_none_or(|now| now.policy.pod_uid != uid);
            if moved && self.policy_of.get(&uid).is_some_and(|holder| holder == name) {
                self.policy_of.remove(&uid);
            }
            self.changes.changed(Key::Pod(uid));
        }
    }

    /// Starts over with wire: everything has to be told.
    pub(crate) fn forget_told(&mut self) {
        self.refused.clear();
        let everything = std::iter::once(Key::Node)
            .chain(self.sets.ids().map(Key::Set))
            .chain(self.at_address.keys().copied().map(Key::Peer))
            .chain(self.services.ids().map(Key::Service))
            .chain(self.local.keys().cloned().map(Key::Pod));
        self.changes = Changes::all(everything);
    }

    /// Whether wire has been told everything.
    #[cfg(test)]
    pub(crate) fn is_told(&self) -> bool {
        self.changes.is_empty()
    }

    /// Up to `limit` messages that bring wire closer to the state, in an order in which nothing
    /// names what wire has not been told, and nothing in use is taken away.
    pub(crate) fn take_changes(&mut self, limit: usize) -> Vec<ToWire> {
        let mut messages = Vec::new();
        while messages.len() < limit {
            let Some(key) = self.changes.next() else { break };
            self.refused.remove(&key);
            let message = self.message(&key);
            if message.is_none()
                && let Key::Peer(address) = key
            {
                // A Service may still name the address: first it is told anew.
                self.changes.changed(Key::PeerGone(address));
                continue;
            }
            if let Some(message) = self.changes.told(key, message) {
                messages.push(message);
            }
        }
        messages
    }

    /// What wire is to hold under a key, if anything.
    fn message(&self, key: &Key) -> Option<ToWire> {
        match key {
            Key::Node => self.node_settings().map(ToWire::Node),
            Key::Set(id) => self.sets.get(*id).map(|set| ToWire::Set(PolicySet::clone(set))),
            Key::Peer(address) => self.peer(*address).map(ToWire::Peer),
            Key::Service(id) => self.services.entry(*id).map(ToWire::Service),
            Key::PeerGone(address) => {
                self.peer(*address).is_none().then_some(ToWire::PeerGone { address: *address })
            }
            Key::Pod(uid) => self.pod(uid).map(ToWire::Pod),
            Key::SetGone(id) => self.sets.get(*id).is_none().then_some(ToWire::SetGone { id: *id }),
        }
    }

    fn node_settings(&self) -> Option<NodeSettings> {
        self.node.as_ref().map(|node| NodeSettings { unknown_closed: node.unknown_closed })
    }

    /// The pod at an address. Where several share it (host network, or an address that moved
    /// before its old holder went) nobody there is told apart: no group, and the flag that makes
    /// the ingress gate take its packets as from an unknown source.
    fn peer(&self, address: IpAddr) -> Option<PeerEntry> {
        let mut peers = self.workloads_at(address).map(|workload| PeerEntry {
            address,
            group: workload.group,
            flags: peer_flags(workload),
        });
        let first = peers.next()?;
        Some(peers.fold(first, |known, other| {
            if known.group == other.group {
                return PeerEntry { flags: known.flags | other.flags, ..known };
            }
            let flags = known.flags | other.flags | Flags::HOST_NETWORK;
            PeerEntry { address, group: 0, flags }
        }))
    }

    fn pod(&self, uid: &str) -> Option<LocalPod> {
        let workload = self.workloads.get(self.local.get(uid)?)?;
        let compiled = self.policy_of.get(uid).and_then(|name| self.policies.get(name));
        let (ingress, egress) =
            compiled.map_or((self.deny_all.id, self.deny_all.id), |policy| (policy.ingress, policy.egress));
        local_pod(workload, compiled.map(|compiled| &compiled.policy), ingress, egress)
    }
}
