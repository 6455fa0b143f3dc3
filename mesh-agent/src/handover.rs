//! What wire and relay say to each other: versioned, typed, bounded.
//!
//! relay turns discovery into entries of fixed shape and sends them; wire checks every one before
//! it reaches the kernel and answers with what it did. wire reports pods, kernel events and
//! counts; relay turns those into logs and metrics. Frames are a `u32` length (little endian, at
//! most [`FRAME_LIMIT`]) and a postcard body over a Unix stream socket that wire listens on.

mod frame;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use mesh_ebpf::policy::{CidrKey, Ruling, RulingKey, SetId};
use serde::{Deserialize, Serialize};

pub(crate) use frame::{FRAME_LIMIT, FrameError, read_frame, write_frame};

/// Version of this exchange; both sides refuse another one.
pub(crate) const VERSION: u16 = 1;

/// What relay tells wire. Everything between [`ToWire::Hello`] and [`ToWire::Synced`] is relay's
/// full state; on `Synced` wire removes what was not named. After that, single changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum ToWire {
    /// First message.
    Hello {
        /// [`VERSION`].
        version: u16,
    },
    /// Settings of the node.
    Node(NodeSettings),
    /// A pod of this node was added or changed.
    Pod(LocalPod),
    /// A pod of this node is gone.
    PodGone {
        /// Its UID.
        uid: String,
    },
    /// A pod anywhere in the mesh has these addresses, group and flags.
    Peer(PeerEntry),
    /// Nobody known has this address any more.
    PeerGone {
        /// The address.
        address: IpAddr,
    },
    /// A Service port of one address family was added or changed.
    Service(ServiceEntry),
    /// A Service port is gone.
    ServiceGone {
        /// [`ServiceEntry::id`].
        id: u64,
    },
    /// A compiled policy set; sets are immutable, and sent before a pod names them.
    Set(PolicySet),
    /// A set that no pod names any more.
    SetGone {
        /// Its id.
        id: SetId,
    },
    /// The full state has been told.
    Synced,
    /// The changes sent so far are to be in the kernel before this is answered with
    /// [`FromWire::Applied`]; also re-evaluates open connections (SEMANTICS 5.5).
    Commit {
        /// Chosen by relay, grows.
        sequence: u64,
    },
    /// A question of the CLI.
    Ask {
        /// Chosen by relay; the answer carries it.
        id: u64,
        /// The question.
        question: Question,
    },
}

/// What wire tells relay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum FromWire {
    /// First message.
    Hello {
        /// [`VERSION`].
        version: u16,
        /// Whether programs and maps were adopted from an earlier wire's pins.
        adopted: bool,
    },
    /// Everything up to this commit is in the kernel.
    Applied {
        /// [`ToWire::Commit::sequence`].
        sequence: u64,
    },
    /// An entry was refused; the rest goes on.
    Refused {
        /// What it was about: `pod <uid>`, `service <id>`, `set <id>`, `peer <address>`.
        what: String,
        /// Why, and what to do.
        why: String,
    },
    /// The state of a pod of this node changed.
    Pod(PodReport),
    /// A pod of this node is gone (its cgroup is).
    PodGone {
        /// Its UID.
        uid: String,
    },
    /// Kernel events, oldest first, at most 256 a message.
    Events(Vec<FlowEvent>),
    /// Counts since the maps were made; sent about once a second while relay listens.
    Counts(Counts),
    /// Progress of connections that are still open.
    Samples(Vec<FlowSample>),
    /// The answer to a question.
    Answer {
        /// [`ToWire::Ask::id`].
        id: u64,
        /// The answer.
        answer: Answer,
    },
}

/// Settings of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeSettings {
    /// `enrolment.unknown: Closed`.
    pub unknown_closed: bool,
}

/// A pod of this node, enrolled or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalPod {
    /// Its UID, as in its cgroup's name.
    pub uid: String,
    /// `<namespace>/<name>`, for logs.
    pub name: String,
    /// To be wired. False: known and plain.
    pub enrolled: bool,
    /// It runs in the node's network namespace.
    pub host_network: bool,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its group.
    pub group: u64,
    /// Compiled ingress policy.
    pub ingress: SetId,
    /// Compiled egress policy.
    pub egress: SetId,
    /// The ingress set denies by default, so protocols other than TCP and UDP are dropped.
    pub ingress_denies_other: bool,
    /// The same for egress.
    pub egress_denies_other: bool,
    /// mTLS is required of what comes in: sockets older than the wiring are destroyed.
    pub require_mtls: bool,
    /// `encryption: Always`.
    pub encrypt_always: bool,
    /// TCP ports that probes declare.
    pub probe_ports: Vec<u16>,
}

/// A pod anywhere, by one of its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeerEntry {
    /// The address.
    pub address: IpAddr,
    /// Its group.
    pub group: u64,
    /// Bits of [`mesh_ebpf::abi::Workload`].
    pub flags: u32,
}

/// One Service port of one address family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceEntry {
    /// Hash of (namespace, name, port, protocol, family).
    pub id: u64,
    /// `<namespace>/<name>:<port>`, for logs and the CLI.
    pub name: String,
    /// What is dialled: (address, port) pairs.
    pub frontends: Vec<(IpAddr, u16)>,
    /// IP protocol.
    pub protocol: u8,
    /// 0 = none.
    pub affinity_seconds: u32,
    /// Endpoints with their weights.
    pub endpoints: Vec<(IpAddr, u16, u32)>,
}

/// A compiled policy set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PolicySet {
    /// Hash of what follows.
    pub id: SetId,
    /// Trie entries: prefix length in bits, key, value.
    pub rulings: Vec<(u32, RulingKey, Ruling)>,
    /// Trie entries: prefix length in bits, key, number of the CIDR.
    pub cidrs: Vec<(u32, CidrKey, u64)>,
    /// By rule number: policy ("AccessPolicy/ns/name") and rule name. wire only keeps it for the
    /// CLI and for a relay that comes back.
    pub rules: Vec<(String, String)>,
}

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
    /// Hash of the reporting pod's UID, see [`uid_hash`]; 0 for none.
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

/// A question of the CLI that only the holder of the maps can answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Question {
    /// What the loaded policy says of a connection between two addresses.
    Can {
        /// Address of the source pod.
        source: IpAddr,
        /// What it dials.
        destination: IpAddr,
        /// What it dials.
        port: u16,
        /// IP protocol.
        protocol: u8,
    },
    /// What is loaded: programs, links, maps, pods, flows (at most `flows` of them).
    Dump {
        /// Most flows to list.
        flows: u32,
    },
    /// Kernel features, probed now.
    Check,
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// To [`Question::Can`].
    Can(Can),
    /// To [`Question::Dump`]: JSON.
    Dump(String),
    /// To [`Question::Check`]: rows of the table.
    Check(Vec<Feature>),
    /// The question could not be answered, and why.
    Failed(String),
}

/// What the data path would do with a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Can {
    /// The Service that was dialled, `<namespace>/<name>:<port>`; empty for a direct address.
    pub service: String,
    /// Every destination the connection may get, with its verdict.
    pub endpoints: Vec<CanEndpoint>,
    /// Set when there is no endpoint to judge.
    pub reason: mesh_ebpf::abi::Reason,
}

/// The verdict for one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CanEndpoint {
    /// The destination.
    pub destination: (IpAddr, u16),
    /// Allowed by both sides, as far as this node decides.
    pub allowed: bool,
    /// Why not, [`mesh_ebpf::abi::Reason::None`] when allowed.
    pub reason: mesh_ebpf::abi::Reason,
    /// Set and rule of the egress decision, when the source is a pod of this node.
    pub egress: Option<(SetId, u16)>,
    /// Set and rule of the ingress decision, when the destination is a pod of this node.
    pub ingress: Option<(SetId, u16)>,
    /// An Audit policy would deny: its set and rule.
    pub audit: Option<(SetId, u16)>,
    /// "direct" (kernel to kernel, proven), "plaintext".
    pub transport: String,
}

/// One row of `meshctl check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Feature {
    /// What is needed.
    pub name: String,
    /// Since which kernel it is there.
    pub since: String,
    /// Whether this kernel has it.
    pub present: bool,
    /// What it is for, and what its absence means.
    pub detail: String,
}

/// How a pod's UID is named in kernel maps and events: FNV-1a of its text, never 0.
///
/// It only joins reports to names within a node; nothing is decided by it.
#[must_use]
pub(crate) fn uid_hash(uid: &str) -> u64 {
    let hash = uid.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.max(1)
}
