//! What is seen of each pod: its namespace, by its processes, and its interfaces.
//!
//! A process in a pod's cgroup may for a moment still be in the runtime's namespace, so a
//! namespace is taken for the pod's only when it holds an address of the pod. Nothing is kept open
//! between two looks: an open namespace would outlive its pod.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use mesh_ebpf::address::Address;

use super::cgroups::{Cgroup, Processes, Tree, processes};
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
    /// Only processes without a number in this process's PID namespace are there.
    pub(super) hidden: bool,
}

impl Seen {
    /// Why no namespace of it is known.
    pub(super) fn without_netns(&self) -> &'static str {
        if self.hidden {
            return "its processes are of a PID namespace that wire does not see; run the agent's pod with hostPID: true";
        }
        "no process of it is there yet"
    }
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
    /// Those of them that the node routes to its interfaces: what its address is before discovery says so.
    pub(super) routed: Vec<IpAddr>,
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
        let Processes { pids, hidden } = processes(&cgroup.path, PROCESSES);
        seen.hidden = hidden && pids.is_empty();
        seen.running = hidden || !pids.is_empty() || last.is_some_and(|last| last.running);
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
        if let Some(last) = last {
            seen.routed.clone_from(&last.routed);
        }
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
        if pod.is_some_and(|pod| pod.enrolled && !holds_address(&seen, pod)) {
            match node.behind(&seen.interfaces) {
                Ok(behind) => seen.routed = routed(behind, &seen.addresses),
                Err(error) => tracing::warn!(pid, %error, "cannot tell the node's routes to the pod"),
            }
        }
        seen
    }
}

/// The addresses of a namespace that the node has host routes to, of every family that the namespace has
/// addresses of; none while one family is missing, as the plugin may be at work.
fn routed(behind: Vec<IpAddr>, inside: &BTreeSet<Address>) -> Vec<IpAddr> {
    let routed: Vec<IpAddr> = behind.into_iter().filter(|ip| inside.contains(&Address::from(*ip))).collect();
    let is_whole = inside
        .iter()
        .map(|address| IpAddr::from(*address))
        .filter(|ip| !is_link_local(ip))
        .all(|ip| routed.iter().any(|routed| routed.is_ipv4() == ip.is_ipv4()));
    if is_whole { routed } else { Vec::new() }
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Whether a namespace holds an address of the pod.
pub(super) fn holds_address(netns: &SeenNetns, pod: &LocalPod) -> bool {
    pod.addresses.iter().any(|ip| netns.addresses.contains(&Address::from(*ip)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::IpAddr;

    use mesh_ebpf::address::Address;

    use super::routed;

    #[test]
    fn an_address_is_taken_from_routes_once_every_family_has_one() {
        let ips = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        let inside = |texts: &[&str]| ips(texts).into_iter().map(Address::from).collect::<BTreeSet<_>>();
        let (v4, v6, own) = ("10.0.0.2", "fd00::2", "fe80::2");
        assert_eq!(routed(ips(&[v4]), &inside(&[v4, own])), ips(&[v4]));
        assert_eq!(routed(ips(&[v4, v6]), &inside(&[v4, v6, own])), ips(&[v4, v6]));
        assert!(routed(ips(&[v4]), &inside(&[v4, v6])).is_empty(), "the other route is on its way");
        assert!(routed(ips(&["10.0.0.9"]), &inside(&[v4])).is_empty(), "not the pod's");
        assert!(routed(Vec::new(), &inside(&[v4])).is_empty());
        assert!(routed(ips(&[v4]), &inside(&[])).is_empty());
    }
}
