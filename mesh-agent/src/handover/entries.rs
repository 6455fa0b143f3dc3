//! What relay has wire put in the kernel: entries of fixed shape, each checked by wire.

use std::net::IpAddr;

use mesh_ebpf::policy::{CidrKey, Ruling, RulingKey, SetId};
use serde::{Deserialize, Serialize};

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
