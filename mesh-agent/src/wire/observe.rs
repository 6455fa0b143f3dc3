//! What is seen of each pod: its namespace, by its processes, and its interfaces.
//!
//! A process in a pod's cgroup may for a moment still be in the runtime's namespace, so a
//! namespace is taken for the pod's only when it holds an address of the pod. Nothing is kept open
//! between two looks: an open namespace would outlive its pod.

use std::collections::{BTreeMap, BTreeSet};

use mesh_ebpf::address::Address;

use super::cgroups::{Cgroup, Tree, processes};
use super::interfaces::{self, Interface, NodeInterfaces};
use crate::handover::LocalPod;
use crate::sys::netns::Netns;

/// Processes of a pod that are looked at for its namespace.
const PROCESSES: usize = 64;

/// A pod as seen on the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Id of its cgroup.
    pub(super) cgroup: u64,
    /// Its namespace, once a process of it is there.
    pub(super) netns: Option<SeenNetns>,
    /// A process of it was seen, wherever.
    pub(super) running: bool,
}

/// A pod's namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SeenNetns {
    /// Its cookie.
    pub(super) cookie: u64,
    /// A process in it.
    pub(super) pid: u32,
    /// It is the node's own.
    pub(super) of_the_node: bool,
    /// Addresses inside.
    pub(super) addresses: BTreeSet<Address>,
    /// Host sides of its interfaces.
    pub(super) interfaces: BTreeSet<u32>,
    /// Interfaces of it that lead past any host side, so that its sources cannot be validated.
    pub(super) past_the_host_side: Vec<String>,
}

/// Everything seen in one look.
#[derive(Debug, Default)]
pub(super) struct Observation {
    /// Pods by UID.
    pub(super) pods: BTreeMap<String, Seen>,
    /// Host sides of interfaces that no known pod's namespace is behind.
    pub(super) strangers: BTreeSet<u32>,
    /// Every interface of the node.
    pub(super) interfaces: BTreeMap<u32, Interface>,
}

/// What stays the same between looks.
#[derive(Debug)]
pub(super) struct Observer {
    /// Cookie of the node's namespace.
    pub(super) node: u64,
    /// Interfaces that are never a pod's, by name.
    pub(super) uplinks: Vec<String>,
}

impl Observer {
    /// Looks at every pod of the tree. `before` is the last look, which saves asking again for what
    /// cannot have changed.
    ///
    /// # Errors
    /// When the node's own interfaces cannot be read.
    pub(super) fn look(
        &self,
        tree: &Tree,
        known: &BTreeMap<String, LocalPod>,
        before: &Observation,
    ) -> std::io::Result<Observation> {
        let mut node = NodeInterfaces::read()?;
        let mut observation = Observation::default();
        let mut claimed: BTreeSet<u32> = BTreeSet::new();
        for (uid, cgroup) in &tree.pods {
            let last = before.pods.get(uid).filter(|seen| seen.cgroup == cgroup.id);
            let seen = self.look_at(cgroup, known.get(uid), last, &mut node);
            if let Some(netns) = &seen.netns {
                claimed.extend(&netns.interfaces);
            }
            observation.pods.insert(uid.clone(), seen);
        }
        let mut strangers: BTreeSet<u32> = node
            .veths()
            .filter(|one| !claimed.contains(&one.index) && !self.uplinks.contains(&one.name))
            .map(|one| one.index)
            .collect();
        if !strangers.is_empty() {
            let uplinks = node.uplinks()?;
            strangers.retain(|index| !uplinks.contains(index));
        }
        observation.strangers = strangers;
        observation.interfaces = node.all;
        Ok(observation)
    }

    fn look_at(
        &self,
        cgroup: &Cgroup,
        pod: Option<&LocalPod>,
        last: Option<&Seen>,
        node: &mut NodeInterfaces,
    ) -> Seen {
        let mut seen = Seen { cgroup: cgroup.id, ..Seen::default() };
        let last_netns = last.and_then(|last| last.netns.as_ref());
        let pids = processes(&cgroup.path, PROCESSES);
        seen.running = !pids.is_empty() || last.is_some_and(|last| last.running);
        // The process that told last time first: most looks end there.
        let ordered = last_netns
            .map(|netns| netns.pid)
            .filter(|pid| pids.contains(pid))
            .into_iter()
            .chain(pids.iter().copied());
        let mut candidates = BTreeMap::new();
        for pid in ordered {
            let Ok(netns) = Netns::of_process(pid) else { continue };
            let Ok(cookie) = netns.cookie() else { continue };
            if last_netns.is_some_and(|last| last.cookie == cookie && !last.of_the_node) {
                seen.netns = Some(self.examine(pid, cookie, &netns, last_netns, pod, node));
                return seen;
            }
            candidates.entry(cookie).or_insert((pid, netns));
        }
        let mut found: Vec<SeenNetns> = candidates
            .into_iter()
            .map(|(cookie, (pid, netns))| self.examine(pid, cookie, &netns, None, pod, node))
            .collect();
        // One that holds the pod's address, else one that is not the node's.
        found.sort_by_key(|netns| {
            (!pod.is_some_and(|pod| holds_address(netns, pod)), netns.of_the_node, netns.cookie)
        });
        seen.netns = found.into_iter().next();
        seen
    }

    fn examine(
        &self,
        pid: u32,
        cookie: u64,
        netns: &Netns,
        last: Option<&SeenNetns>,
        pod: Option<&LocalPod>,
        node: &mut NodeInterfaces,
    ) -> SeenNetns {
        let mut seen = SeenNetns { cookie, pid, of_the_node: cookie == self.node, ..SeenNetns::default() };
        if seen.of_the_node {
            return seen;
        }
        match node.leading_into(netns) {
            Ok(interfaces) => seen.interfaces = interfaces,
            Err(error) => tracing::warn!(pid, %error, "cannot tell the pod's interfaces"),
        }
        // The plugin adds addresses one by one: until the pod's own is among them they are read anew.
        let complete =
            |last: &&SeenNetns| pod.is_none_or(|pod| holds_address(last, pod)) && !last.addresses.is_empty();
        let settled = last.filter(|last| last.interfaces == seen.interfaces).filter(complete);
        if let Some(last) = settled {
            seen.addresses.clone_from(&last.addresses);
            seen.past_the_host_side.clone_from(&last.past_the_host_side);
            return seen;
        }
        match interfaces::inside(netns) {
            Ok(inside) => {
                seen.addresses = inside.addresses;
                seen.past_the_host_side = inside.past_the_host_side;
            }
            Err(error) => tracing::warn!(pid, %error, "cannot look inside the pod's network namespace"),
        }
        seen
    }
}

/// Whether a namespace holds an address of the pod.
pub(super) fn holds_address(netns: &SeenNetns, pod: &LocalPod) -> bool {
    pod.addresses.iter().any(|ip| netns.addresses.contains(&Address::from(*ip)))
}
