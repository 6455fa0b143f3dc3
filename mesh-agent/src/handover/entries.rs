//! What relay has wire put in the kernel: entries of fixed shape, each checked by wire.

use std::net::IpAddr;

use mesh_ebpf::policy::{CidrKey, Ruling, RulingKey, SetId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

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
    /// The hash of its namespace's name that consumers' Services are found by ([`ServiceEntry::consumer_of`]).
    pub namespace: u64,
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
    /// Hash of (namespace, name, port, protocol, family, and whose or where it is dialled).
    pub id: u64,
    /// `<namespace>/<name>:<port>`, for logs and the CLI.
    pub name: String,
    /// What is dialled: (address, port) pairs. None where it is what another one is to some callers.
    pub frontends: Vec<(IpAddr, u16)>,
    /// What it is instead of: the id of a Service port, and the hash of the callers' namespace.
    pub consumer_of: Option<(u64, u64)>,
    /// Bits of [`mesh_ebpf::abi::Service`].
    pub flags: u32,
    /// IP protocol.
    pub protocol: u8,
    /// 0 = none.
    pub affinity_seconds: u32,
    /// What connections are led to.
    pub endpoints: Vec<EndpointEntry>,
    /// The weight of the share of connections that is refused beside them; 0 = none.
    pub closed: u32,
}

/// One endpoint of a Service port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct EndpointEntry {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its share of picks, at least 1.
    pub weight: u32,
    /// Discovery says that it is an enrolled pod.
    pub enrolled: bool,
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

/// The whole hash of what a set decides.
pub(crate) type SetDigest = [u8; 32];

impl PolicySet {
    /// The hash of everything that decides. The id is a hash cut short to what fits a key, and who
    /// writes policies chooses what goes into it: whoever holds a set already compares this.
    pub(crate) fn digest(&self) -> SetDigest {
        let mut hash = Sha256::new();
        for (bits, key, ruling) in &self.rulings {
            hash.update(bits.to_be_bytes());
            hash.update(key.peer);
            hash.update([key.kind, key.protocol]);
            hash.update(key.port);
            let Ruling { enforced, audited } = ruling;
            for hit in [enforced.admin, enforced.rest, audited.admin, audited.rest] {
                hash.update(hit.rank.to_be_bytes());
                hash.update(hit.rule.to_be_bytes());
                hash.update([hit.action, hit.mtls]);
            }
        }
        for (bits, key, number) in &self.cidrs {
            hash.update(bits.to_be_bytes());
            hash.update(key.address);
            hash.update(number.to_be_bytes());
        }
        for number in [self.rulings.len(), self.cidrs.len()] {
            hash.update(number.to_be_bytes());
        }
        hash.finalize().into()
    }
}
