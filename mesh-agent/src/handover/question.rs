//! Questions of the CLI that only the holder of the maps can answer, and the answers.

use std::net::IpAddr;

use mesh_ebpf::policy::SetId;
use serde::{Deserialize, Serialize};

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
    /// Not a question but an order: the pod's connections from before its enrolment changed are to be
    /// ended.
    Reset {
        /// The pod's UID.
        uid: String,
        /// It is in the mesh by now, and what is not is ended; else the other way round.
        enrolled: bool,
    },
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
    /// To [`Question::Reset`].
    Reset(Reset),
}

/// What became of a pod's connections from before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reset {
    /// Ended.
    pub ended: u64,
    /// The kernel would not end them.
    pub left: u64,
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
    /// "direct" (kernel to kernel, proven), "tunnel" (mTLS, both names proven), "plaintext".
    pub transport: String,
}

/// One row of `meshctl check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Feature {
    /// What it is called.
    pub name: String,
    /// Since which kernel it is there.
    pub since: String,
    /// Whether this kernel has it.
    pub present: bool,
    /// Whether the data path needs it; without one that it does not need it takes another way.
    pub needed: bool,
    /// What it is for, and what its absence means.
    pub detail: String,
}
