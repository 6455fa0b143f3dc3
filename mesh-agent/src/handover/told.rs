//! What wire reports of its own accord: pods, kernel events, samples and counts.

use std::net::IpAddr;

use mesh_ebpf::policy::SetId;
use serde::{Deserialize, Serialize};

/// State of a pod of this node (SEMANTICS 1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum PodState {
    /// Its UID is not in discovery.
    Unknown,
    /// Enrolled, not wired.
    Pending,
    /// Enrolled and enforced.
    Wired,
    /// Known and not enrolled.
    Plain,
}

/// What wire knows of a pod of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PodReport {
    /// Its UID.
    pub uid: String,
    /// Its state.
    pub state: PodState,
    /// Why it is not wired, or what else is to be known; empty for nothing.
    pub reason: String,
    /// It ran before it was wired (SEMANTICS 1.2).
    pub late_enrolled: bool,
    /// Connections older than the wiring that are still open.
    pub preexisting_connections: u64,
    /// Source validation is attached to its interface.
    pub validated: bool,
    /// Inode of its cgroup.
    pub cgroup: u64,
    /// Cookie of its network namespace, 0 if unknown.
    pub netns: u64,
    /// Index of the host side of its interface, 0 if unknown.
    pub interface: u32,
    /// Addresses that the node routes to its interfaces and that it has, one of a family at most: they
    /// are there a second or more before the API knows them.
    pub routed: Vec<IpAddr>,
    /// Names the agent's listeners in it, see [`super::sockets`]: another number than before means that
    /// they are to be fetched anew. 0 while this wire has made none; those of an earlier wire
    /// then go on serving.
    pub listeners: u64,
}

#[cfg(test)]
impl PodReport {
    /// Of a pod that is seen whole, without anything to be known of it.
    pub(crate) fn of(uid: &str, state: PodState) -> Self {
        Self {
            uid: uid.to_owned(),
            state,
            reason: String::new(),
            late_enrolled: false,
            preexisting_connections: 0,
            validated: true,
            cgroup: 1,
            netns: 2,
            interface: 3,
            routed: Vec::new(),
            listeners: 0,
        }
    }
}

/// A kernel event, see [`mesh_ebpf::abi::Event`] for the fields' meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FlowEvent {
    /// Unix time, nanoseconds.
    pub unix_nanoseconds: u64,
    /// [`mesh_ebpf::abi::EventKind`] number.
    pub kind: u8,
    /// [`mesh_ebpf::abi::Origin`] number: of the connecting side.
    pub origin: u8,
    /// Why, or how it ended.
    pub reason: mesh_ebpf::abi::Reason,
    /// Which side reports.
    pub direction: mesh_ebpf::policy::Direction,
    /// The set that decided.
    pub set: SetId,
    /// Its rule.
    pub rule: u16,
    /// Hash of the reporting pod's UID, see [`super::uid_hash`]; 0 for none.
    pub uid: u64,
    /// Group of the reporting pod.
    pub group: u64,
    /// Hash of the peer pod's UID where proof tells, else 0.
    pub peer_uid: u64,
    /// Group of the peer, 0 when unknown.
    pub peer_group: u64,
    /// IP protocol.
    pub protocol: u8,
    /// Connecting side.
    pub source: (IpAddr, u16),
    /// Accepting side.
    pub destination: (IpAddr, u16),
    /// What the application dialled.
    pub dialled: (IpAddr, u16),
    /// Socket cookie, 0 for none.
    pub cookie: u64,
    /// Since it was opened, nanoseconds.
    pub duration: u64,
    /// Bytes the reporting side sent.
    pub bytes_sent: u64,
    /// Bytes the reporting side received.
    pub bytes_received: u64,
    /// Smoothed round-trip time, microseconds.
    pub rtt_microseconds: u32,
    /// Segments retransmitted.
    pub retransmits: u32,
}

/// Why wire ends an application's connection through the tunnel: relay, which tells of those, only
/// sees a reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// The application's socket.
    pub source: (IpAddr, u16),
    /// The endpoint behind the tunnel.
    pub destination: (IpAddr, u16),
    /// [`mesh_ebpf::abi::Reason::PolicyChanged`] or [`mesh_ebpf::abi::Reason::EndpointGone`].
    pub reason: mesh_ebpf::abi::Reason,
    /// The set that denies it.
    pub set: SetId,
    /// Its rule.
    pub rule: u16,
}

/// Progress of an open connection, as absolute totals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FlowSample {
    /// Hash of the reporting pod's UID.
    pub uid: u64,
    /// Group of the peer, 0 when unknown.
    pub peer_group: u64,
    /// Which side reports.
    pub direction: mesh_ebpf::policy::Direction,
    /// Socket cookie.
    pub cookie: u64,
    /// Accepting side.
    pub destination: (IpAddr, u16),
    /// Bytes sent so far.
    pub bytes_sent: u64,
    /// Bytes received so far.
    pub bytes_received: u64,
    /// Smoothed round-trip time, microseconds.
    pub rtt_microseconds: u32,
    /// Segments retransmitted so far.
    pub retransmits: u32,
}

/// Exact counts kept in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// By [`mesh_ebpf::abi::Counter`].
    pub counters: Vec<u64>,
    /// Exact denials and audits, bounded by the map's capacity.
    pub denials: Vec<DenialCount>,
    /// (map name, entries, capacity) of the maps that can fill up.
    pub maps: Vec<(String, u64, u64)>,
    /// Open TCP flow entries per pod: (UID hash, flows).
    pub open_flows: Vec<(u64, u64)>,
    /// Every attached program still is, and source validation covers every pod.
    pub local_proof: bool,
}

/// One row of exact denials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DenialCount {
    /// Hash of the pod's UID it happened to.
    pub uid: u64,
    /// The set that decided.
    pub set: SetId,
    /// Its rule.
    pub rule: u16,
    /// Why.
    pub reason: mesh_ebpf::abi::Reason,
    /// Which way.
    pub direction: mesh_ebpf::policy::Direction,
    /// An Audit policy would have denied; it went on.
    pub audited: bool,
    /// IP protocol.
    pub protocol: u8,
    /// Group of the peer, 0 when unknown.
    pub peer_group: u64,
    /// How often.
    pub count: u64,
}
