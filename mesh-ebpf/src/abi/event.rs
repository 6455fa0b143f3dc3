//! What the kernel programs report: events for the log, and exact counts of refusals.

use crate::abi::FlowKey;
use crate::address::Address;
use crate::policy::SetId;

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum EventKind {
    /// A connection, datagram or packet was refused; `reason` says why.
    Denied = 1,
    /// A policy in Audit mode would have refused it; it went on.
    Audited = 2,
    /// A connection was established.
    Opened = 3,
    /// A connection ended; `reason` says how.
    Closed = 4,
}

/// A record of the ring buffer `mesh_events`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Event {
    /// When, nanoseconds of the monotonic clock.
    pub at: u64,
    /// An [`EventKind`].
    pub kind: u8,
    /// An [`crate::abi::Origin`]: of the connecting side.
    pub origin: u8,
    /// A [`crate::abi::Reason`].
    pub reason: u16,
    /// A [`crate::policy::Direction`]: seen by the connecting (Egress) or accepting (Ingress) side.
    pub direction: u8,
    /// Always 0.
    pub reserved: u8,
    /// Rule of `set`.
    pub rule: u16,
    /// The policy set that decided, 0 for none.
    pub set: SetId,
    /// [`crate::abi::Pod::uid`] of the reporting pod; 0 for none.
    pub uid: u64,
    /// Group of the reporting pod.
    pub group: u64,
    /// Group of the peer, by proof or by its address; 0 when unknown.
    pub peer_group: u64,
    /// The tuple, from the connecting side; a source port of 0 is one not chosen yet.
    pub tuple: FlowKey,
    /// What the application dialled.
    pub dialled: Address,
    /// What the application dialled.
    pub dialled_port: u16,
    /// Always 0.
    pub reserved2: [u8; 6],
    /// Cookie of the socket, 0 for none.
    pub cookie: u64,
    /// Since the connection was opened, nanoseconds.
    pub duration: u64,
    /// Bytes this side sent that were acknowledged.
    pub bytes_sent: u64,
    /// Bytes this side received.
    pub bytes_received: u64,
    /// Smoothed round-trip time, microseconds.
    pub rtt_microseconds: u32,
    /// Segments retransmitted.
    pub retransmits: u32,
    /// Hash of the peer pod's UID where proof tells, else 0.
    pub peer_uid: u64,
}

/// Key of `mesh_denials`, exact counts of refusals (and of what Audit policies would refuse).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(C)]
pub struct DenialKey {
    /// [`crate::abi::Pod::uid`] of the pod it happened to.
    pub uid: u64,
    /// The policy set that decided, 0 for none.
    pub set: SetId,
    /// Group of the peer, 0 when unknown.
    pub peer_group: u64,
    /// Rule of `set`.
    pub rule: u16,
    /// A [`crate::abi::Reason`].
    pub reason: u16,
    /// A [`crate::policy::Direction`].
    pub direction: u8,
    /// An [`EventKind`]: denied or audited.
    pub kind: u8,
    /// IP protocol.
    pub protocol: u8,
    /// Always 0.
    pub reserved: u8,
}
