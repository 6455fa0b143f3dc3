//! What wire and relay say to each other: versioned, typed, bounded.
//!
//! relay turns discovery into entries of fixed shape and sends them; wire checks every one before
//! it reaches the kernel and answers with what it did. wire reports pods, kernel events and
//! counts; relay turns those into logs and metrics. Frames are a `u32` length (little endian, at
//! most [`FRAME_LIMIT`]) and a postcard body over a Unix stream socket that wire listens on.

mod entries;
mod frame;
mod question;
pub(crate) mod sockets;
#[cfg(test)]
mod tests;
mod told;

use std::net::IpAddr;

use mesh_ebpf::policy::SetId;
use serde::{Deserialize, Serialize};

pub(crate) use entries::{
    EndpointEntry, LocalPod, NodeSettings, PeerEntry, PolicySet, ServiceEntry, SetDigest,
};
pub(crate) use frame::{FRAME_LIMIT, FrameError, read_frame, write_frame};
pub(crate) use question::{Answer, Can, CanEndpoint, Feature, Question, Reset};
pub(crate) use told::{Counts, DenialCount, Ended, FlowEvent, FlowSample, PodReport, PodState};

/// Version of this exchange; both sides refuse another one.
pub(crate) const VERSION: u16 = 7;

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
    /// relay takes a pod's connections at the listeners that [`PodReport::listeners`] names, and has what
    /// it needs to carry them. Until then another relay may, see [`FromWire::Hello`].
    Serves {
        /// The pod's UID.
        uid: String,
        /// [`PodReport::listeners`].
        listeners: u64,
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
        /// Another wire has given way to this one, and its relay serves every pod until this relay does.
        succeeds: bool,
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
    /// Connections through the tunnel that wire is about to end, at most 256 a message.
    Ended(Vec<Ended>),
    /// Progress of connections that are still open.
    Samples(Vec<FlowSample>),
    /// Another wire has taken this one's place, for another relay. This one reports nothing more and puts
    /// nothing into the kernel; it stays for as long as its relay does, and gives it sockets.
    Leaving,
    /// The answer to a question.
    Answer {
        /// [`ToWire::Ask::id`].
        id: u64,
        /// The answer.
        answer: Answer,
    },
}

/// How a pod's UID is named in kernel maps and events: FNV-1a of its text, never 0.
///
/// The data path tells the pods of a node apart by it, so wire takes no second pod with the hash of
/// another. UIDs are the API server's to choose, not a pod's.
#[must_use]
pub(crate) fn uid_hash(uid: &str) -> u64 {
    let hash = uid.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.max(1)
}
