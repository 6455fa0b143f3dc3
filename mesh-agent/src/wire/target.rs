//! What the kernel should hold, as a pure function of what relay wants and what is on the node.
//!
//! A pod is *unknown* (relay did not name it), *pending* (to be enrolled, not wired), *wired* or
//! *plain* (SEMANTICS 1.1). Nothing that an earlier wire left is taken away before relay has told
//! its full state once: a pod it has not named yet keeps what it had. A pod that was enforced and
//! is named no more keeps what it had until its cgroup is gone.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use mesh_ebpf::abi::{Class, Pod, Settings};
use mesh_ebpf::address::Address;
use mesh_ebpf::policy::SetId;

use super::observe::{Observation, Seen, SeenNetns, holds_address};
use crate::handover::{LocalPod, PodState, uid_hash};

/// What the kernel holds of pods, or should.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    /// `mesh_settings`.
    pub(super) settings: Settings,
    /// Packets of pending pods are dropped.
    pub(super) armed: bool,
    /// `mesh_pods`, by cgroup id.
    pub(super) cgroups: BTreeMap<u64, Pod>,
    /// `mesh_local`, by address.
    pub(super) local: BTreeMap<Address, Pod>,
    /// `mesh_ifaces`, by index.
    pub(super) interfaces: BTreeMap<u32, Pod>,
    /// Interfaces whose packets are checked.
    pub(super) validated: BTreeSet<u32>,
    /// `mesh_probes`: (address, TCP port) and whose.
    pub(super) probes: BTreeMap<(Address, u16), u64>,
    /// Gates by namespace cookie, and whose.
    pub(super) gates: BTreeMap<u64, u64>,
    /// The agent's listeners by namespace cookie, and whose.
    pub(super) listeners: BTreeMap<u64, u64>,
}

/// What the target is made of.
#[derive(Debug)]
pub(super) struct Inputs<'a> {
    /// relay has told its full state since this wire began.
    pub(super) synced: bool,
    /// `enrolment.unknown: Closed`.
    pub(super) unknown_closed: bool,
    /// Every pod of the mesh that relay named is in the kernel.
    pub(super) peers_complete: bool,
    /// Pods of this node, as relay tells.
    pub(super) pods: &'a BTreeMap<String, LocalPod>,
    /// Policy sets that are in the kernel.
    pub(super) sets: &'a BTreeSet<SetId>,
    /// What is on the node.
    pub(super) seen: &'a Observation,
    /// Slots by UID hash.
    pub(super) slots: &'a BTreeMap<u64, u32>,
    /// Why wiring failed at the last try, by UID hash.
    pub(super) failures: &'a BTreeMap<u64, String>,
    /// Why listeners could not be made at the last try, by UID hash.
    pub(super) deaf: &'a BTreeMap<u64, String>,
    /// Cgroups of pods roots and of agents with their classes.
    pub(super) fixed: &'a BTreeMap<u64, Class>,
    /// First and last depth of pod directories, and the depth of their roots.
    pub(super) levels: (u32, u32, u32),
    /// Cookie of the node's namespace.
    pub(super) node_netns: u64,
    /// Monotonic time.
    pub(super) now: u64,
}

/// What was decided of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    /// Its state.
    pub(super) state: PodState,
    /// Why it is not wired, or empty.
    pub(super) reason: String,
}

/// The target: what the kernel should hold, and what that makes of every pod.
pub(super) fn target(inputs: &Inputs<'_>, held: &State) -> (State, BTreeMap<String, Decision>) {
    let mut state = State::default();
    let mut decisions = BTreeMap::new();
    let mut provable = true;
    for (&cgroup, &class) in inputs.fixed {
        state.cgroups.insert(cgroup, nobody(class));
    }
    for &index in &inputs.seen.strangers {
        state.validate(index, nobody(Class::Unknown));
    }
    for (uid, seen) in &inputs.seen.pods {
        if inputs.pods.contains_key(uid) {
            continue;
        }
        let decision = unnamed(uid, seen, inputs, held);
        if decision.state == PodState::Unknown {
            state.unknown(uid, seen);
        } else {
            state.keep(uid_hash(uid), seen, held);
        }
        provable &= can_be_validated(seen);
        decisions.insert(uid.clone(), decision);
    }
    for (uid, pod) in inputs.pods {
        let seen = inputs.seen.pods.get(uid);
        let decision = decide(pod, seen, inputs, held);
        provable &= seen.is_none_or(can_be_validated);
        state.place(pod, seen, &decision, inputs, held);
        decisions.insert(uid.clone(), decision);
    }
    let pending = decisions.values().any(|decision| decision.state == PodState::Pending);
    state.armed = inputs.unknown_closed || pending;
    let unvalidated = inputs.failures.contains_key(&INTERFACES);
    state.settings = settings(inputs, held, provable && !unvalidated);
    (state, decisions)
}

/// The key under which a failure to validate an interface is kept among failures of pods: no
/// pod's hash is 0.
pub(super) const INTERFACES: u64 = 0;

/// A pod that is on the node and that relay does not name. One that was enforced stays so for as
/// long as it lives: deleting a pod in the API must not open it while it shuts down.
fn unnamed(uid: &str, seen: &Seen, inputs: &Inputs<'_>, held: &State) -> Decision {
    let entry = held.cgroups.get(&seen.cgroup).filter(|entry| entry.uid == uid_hash(uid));
    let state = match entry.map(Pod::class) {
        Some(Class::Wired) => PodState::Wired,
        Some(Class::Pending) => PodState::Pending,
        Some(Class::Plain) if !inputs.synced => PodState::Plain,
        _ => return Decision { state: PodState::Unknown, reason: String::new() },
    };
    let reason = if inputs.synced {
        "discovery does not know it any more; what was in force stays so until it ends"
    } else {
        "kept from before; relay has not told its state yet"
    };
    Decision { state, reason: reason.to_owned() }
}

fn settings(inputs: &Inputs<'_>, held: &State, local_proof: bool) -> Settings {
    let (pod_level_first, pod_level_last, root_level) = inputs.levels;
    let mut flags = 0;
    if local_proof {
        flags |= Settings::LOCAL_PROOF;
    }
    if inputs.unknown_closed {
        flags |= Settings::UNKNOWN_CLOSED;
    }
    if !inputs.peers_complete {
        flags |= Settings::PEERS_INCOMPLETE;
    }
    Settings {
        node_netns: inputs.node_netns,
        flags,
        pod_level_first,
        pod_level_last,
        root_level,
        generation: held.settings.generation,
        reserved: [0; 4],
    }
}

fn can_be_validated(seen: &Seen) -> bool {
    seen.netns.as_ref().is_none_or(|netns| netns.past_the_host_side.is_empty())
}

fn decide(pod: &LocalPod, seen: Option<&Seen>, inputs: &Inputs<'_>, held: &State) -> Decision {
    let is = |state, reason: &str| Decision { state, reason: reason.to_owned() };
    if !pod.enrolled {
        return is(PodState::Plain, "");
    }
    if pod.host_network {
        return is(
            PodState::Plain,
            "Enrolled=False: the pod uses the node's network namespace (hostNetwork)",
        );
    }
    let Some(seen) = seen else {
        return is(PodState::Pending, "its cgroup is not there yet");
    };
    if !inputs.slots.contains_key(&uid_hash(&pod.uid)) {
        return is(PodState::Pending, "the node has as many pods as the kernel maps hold");
    }
    let wired = wired_before(pod, seen, held);
    let Some(netns) = &seen.netns else {
        // Its containers are restarting; what was attached still is.
        return match wired {
            Some(_) => is(PodState::Wired, ""),
            None => is(PodState::Pending, seen.without_netns()),
        };
    };
    if netns.of_the_node {
        return match wired {
            Some(_) => is(PodState::Wired, ""),
            None => is(PodState::Pending, "its processes are in the node's network namespace"),
        };
    }
    if let Some(why) = inputs.failures.get(&uid_hash(&pod.uid)) {
        return is(PodState::Pending, why);
    }
    let deaf = inputs.deaf.get(&uid_hash(&pod.uid));
    if wired.is_some_and(|entry| entry.netns == netns.cookie) {
        // What goes without the tunnel still does; what needs it is refused.
        return is(PodState::Wired, &remarks(netns, deaf));
    }
    if let Some(why) = deaf {
        return is(PodState::Pending, why);
    }
    if pod.addresses.is_empty() {
        return is(PodState::Pending, "discovery knows no address of it yet");
    }
    if !holds_address(netns, pod) {
        return is(PodState::Pending, "its network namespace does not hold its address yet");
    }
    for set in [pod.ingress, pod.egress] {
        if set != SetId::EMPTY && !inputs.sets.contains(&set) {
            return is(PodState::Pending, "its compiled policy has not been received");
        }
    }
    is(PodState::Wired, &remarks(netns, None))
}

/// What else is to be known of a wired pod.
fn remarks(netns: &SeenNetns, deaf: Option<&String>) -> String {
    let unvalidated = (!netns.past_the_host_side.is_empty()).then(|| {
        let interfaces = netns.past_the_host_side.join(", ");
        format!("LocalProof=False: source addresses cannot be validated on {interfaces}")
    });
    let deaf = deaf.map(|why| format!("Tunnel=False: {why}"));
    unvalidated.into_iter().chain(deaf).collect::<Vec<_>>().join("; ")
}

fn wired_before<'a>(pod: &LocalPod, seen: &Seen, held: &'a State) -> Option<&'a Pod> {
    held.cgroups
        .get(&seen.cgroup)
        .filter(|entry| entry.class() == Class::Wired && entry.uid == uid_hash(&pod.uid))
}

fn nobody(class: Class) -> Pod {
    Pod {
        class: class as u32,
        slot: 0,
        group: 0,
        netns: 0,
        ingress: SetId::EMPTY,
        egress: SetId::EMPTY,
        flags: 0,
        reserved: 0,
        v4: Address::UNSPECIFIED,
        v6: Address::UNSPECIFIED,
        uid: 0,
        wired_at: 0,
        namespace: 0,
    }
}

impl State {
    fn validate(&mut self, index: u32, pod: Pod) {
        self.interfaces.insert(index, pod);
        self.validated.insert(index);
    }

    /// A pod that relay did not name: no entry for its cgroup, its packets checked as a stranger's.
    fn unknown(&mut self, uid: &str, seen: &Seen) {
        if let Some(netns) = &seen.netns {
            for &index in &netns.interfaces {
                let stranger = Pod { netns: netns.cookie, uid: uid_hash(uid), ..nobody(Class::Unknown) };
                self.validate(index, stranger);
            }
        }
    }

    /// Keeps what `held` has of a pod.
    fn keep(&mut self, uid: u64, seen: &Seen, held: &State) {
        let Some(entry) = held.cgroups.get(&seen.cgroup) else { return };
        self.cgroups.insert(seen.cgroup, *entry);
        self.local.extend(held.local.iter().filter(|(_, pod)| pod.uid == uid));
        for (&index, pod) in held.interfaces.iter().filter(|(_, pod)| pod.uid == uid) {
            if held.validated.contains(&index) {
                self.validate(index, *pod);
            }
        }
        let owned = |address: &Address| self.local.contains_key(address);
        let probes: Vec<_> =
            held.probes.keys().filter(|(address, _)| owned(address)).map(|key| (*key, uid)).collect();
        self.probes.extend(probes);
        if entry.class() == Class::Wired {
            self.gates.insert(entry.netns, uid);
            if held.listeners.contains_key(&entry.netns) {
                self.listeners.insert(entry.netns, uid);
            }
        }
    }

    /// The agent's listeners of a wired pod. A pod that an earlier wire wired may still be served by
    /// the listeners of that one, which relay holds: they are replaced only when relay has told its
    /// state and so is there to take the new ones.
    fn listen(&mut self, pod: &Pod, fresh: bool, entered: bool, inputs: &Inputs<'_>, held: &State) {
        let there = held.listeners.contains_key(&pod.netns);
        let due = (fresh || inputs.synced) && entered && !inputs.deaf.contains_key(&pod.uid);
        if there || due {
            self.listeners.insert(pod.netns, pod.uid);
        }
    }

    /// Places a pod that relay named.
    fn place(
        &mut self,
        pod: &LocalPod,
        seen: Option<&Seen>,
        decision: &Decision,
        inputs: &Inputs<'_>,
        held: &State,
    ) {
        let mut entry = entry(pod, decision.state, inputs);
        let before = seen.and_then(|seen| wired_before(pod, seen, held));
        let netns = seen.and_then(|seen| seen.netns.as_ref()).filter(|netns| !netns.of_the_node);
        entry.netns = netns.map_or_else(|| before.map_or(0, |pod| pod.netns), |netns| netns.cookie);
        if decision.state == PodState::Wired {
            let before = before.filter(|before| before.netns == entry.netns);
            entry.wired_at = before.map_or(inputs.now, |before| before.wired_at);
            self.gates.insert(entry.netns, entry.uid);
            self.listen(&entry, before.is_none(), netns.is_some(), inputs, held);
            for &port in &pod.probe_ports {
                for address in [entry.v4, entry.v6].into_iter().filter(|one| !one.is_unspecified()) {
                    self.probes.insert((address, port), entry.uid);
                }
            }
        }
        if let Some(seen) = seen {
            self.cgroups.insert(seen.cgroup, entry);
        }
        if !pod.host_network {
            for address in [entry.v4, entry.v6].into_iter().filter(|one| !one.is_unspecified()) {
                // An address used again: the pod that is there wins over one that only was named.
                if seen.is_some() || !self.local.contains_key(&address) {
                    self.local.insert(address, entry);
                }
            }
        }
        match netns {
            Some(netns) => {
                for &index in &netns.interfaces {
                    self.validate(index, entry);
                }
            }
            // No process, but the interface may still be there and the containers coming back.
            None => {
                let kept = held.interfaces.iter().filter(|(index, pod)| {
                    pod.uid == entry.uid && inputs.seen.interfaces.contains_key(*index)
                });
                for (&index, _) in kept {
                    self.validate(index, entry);
                }
            }
        }
    }
}

fn entry(pod: &LocalPod, state: PodState, inputs: &Inputs<'_>) -> Pod {
    let class = match state {
        PodState::Unknown => Class::Unknown,
        PodState::Pending => Class::Pending,
        PodState::Wired => Class::Wired,
        PodState::Plain => Class::Plain,
    };
    let mut flags = 0;
    for (holds, flag) in [
        (pod.encrypt_always, Pod::ENCRYPT_ALWAYS),
        (pod.host_network, Pod::HOST_NETWORK),
        (pod.ingress_denies_other, Pod::INGRESS_DENIES_OTHER),
        (pod.egress_denies_other, Pod::EGRESS_DENIES_OTHER),
    ] {
        if holds {
            flags |= flag;
        }
    }
    let address = |v4: bool| {
        pod.addresses
            .iter()
            .find(|ip| ip.is_ipv4() == v4)
            .map_or(Address::UNSPECIFIED, |ip| Address::from(*ip))
    };
    let uid = uid_hash(&pod.uid);
    Pod {
        group: pod.group,
        namespace: pod.namespace,
        slot: inputs.slots.get(&uid).copied().unwrap_or(0),
        ingress: pod.ingress,
        egress: pod.egress,
        flags,
        v4: address(true),
        v6: address(false),
        uid,
        ..nobody(class)
    }
}
