//! A connection as the kernel knows it.

use crate::address::Address;
use crate::policy::SetId;

/// Key of `mesh_flows` (TCP) and `mesh_datagrams` (UDP): a tuple as it is on the wire, from the
/// side that connects.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(C)]
pub struct FlowKey {
    /// Address of the connecting socket.
    pub source: Address,
    /// Address it connects to, after translation.
    pub destination: Address,
    /// Port of the connecting socket.
    pub source_port: u16,
    /// Port it connects to, after translation.
    pub destination_port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// Always 0.
    pub reserved: [u8; 3],
}

impl FlowKey {
    /// The tuple as the other side sees it.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
            reserved: [0; 3],
        }
    }
}

/// Who made a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Origin {
    /// Nobody that the kernel saw: unproven.
    Unproven = 0,
    /// A socket of a wired pod of this node: its identity is proven.
    Pod = 1,
    /// A socket of the node itself, in its namespace and outside every pod.
    Host = 2,
    /// An admitted datagram of an unproven peer; the entry only lets the answers out.
    Answer = 3,
}

impl Origin {
    /// From its number in a map.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Pod,
            2 => Self::Host,
            3 => Self::Answer,
            _ => Self::Unproven,
        }
    }
}

/// Value of `mesh_flows` and `mesh_datagrams`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Flow {
    /// Cookie of the connecting socket.
    pub cookie: u64,
    /// Cookie of its network namespace.
    pub netns: u64,
    /// Group of its pod.
    pub group: u64,
    /// [`crate::abi::Pod::uid`] of its pod.
    pub uid: u64,
    /// When it was published, nanoseconds of the monotonic clock.
    pub opened_at: u64,
    /// When it was last seen (UDP), nanoseconds of the monotonic clock.
    pub seen_at: u64,
    /// What the application dialled.
    pub dialled: Address,
    /// What the application dialled.
    pub dialled_port: u16,
    /// An [`Origin`].
    pub origin: u8,
    /// Bits of `Flow::*`.
    pub flags: u8,
    /// [`crate::abi::Pod::slot`] of its pod.
    pub slot: u32,
    /// The egress set that admitted it.
    pub egress: SetId,
    /// The ingress set that admitted it, once the gate has.
    pub ingress: SetId,
    /// Rule of `egress` that admitted it.
    pub egress_rule: u16,
    /// Rule of `ingress` that admitted it.
    pub ingress_rule: u16,
    /// Always 0.
    pub reserved: u32,
    /// Bytes sent by the connecting side (UDP only; TCP reports its own at close).
    pub bytes: u64,
    /// Datagrams sent by the connecting side.
    pub packets: u64,
}

impl Flow {
    /// The server side has closed: the tuple proves nothing any more (SEMANTICS 2.2).
    pub const SERVER_CLOSED: u8 = 1;
    /// The destination's ingress gate let it through (UDP), so answers may leave.
    pub const ADMITTED: u8 = 2;
}

/// What a hook left on a socket, value of the socket storage `mesh_sockets`. Written anew by every
/// connect, wiped by a connect that the mesh has no part in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Socket {
    /// What the application dialled; for an accepted socket, its peer.
    pub dialled: Address,
    /// Where it went.
    pub destination: Address,
    /// What the application dialled.
    pub dialled_port: u16,
    /// Where it went.
    pub destination_port: u16,
    /// [`crate::abi::Pod::slot`] of its pod.
    pub slot: u32,
    /// Group of its pod; for an accepted socket, of its peer (0 when unknown).
    pub group: u64,
    /// Network namespace of its pod.
    pub netns: u64,
    /// [`crate::abi::Pod::uid`] of its own pod.
    pub uid: u64,
    /// The policy set that admitted it.
    pub set: SetId,
    /// When it was opened, nanoseconds of the monotonic clock.
    pub opened_at: u64,
    /// Rule of `set` that admitted it.
    pub rule: u16,
    /// An [`Origin`]: of itself when connecting, of its peer when accepted.
    pub origin: u8,
    /// IP protocol.
    pub protocol: u8,
    /// Bits of `Socket::*`.
    pub flags: u32,
    /// [`crate::abi::Pod::uid`] of its peer where that is known, else 0.
    pub peer_uid: u64,
    /// Group of its destination when connecting; unused when accepted.
    pub peer_group: u64,
}

impl Socket {
    /// Made by `accept`, not by `connect`.
    pub const ACCEPTED: u32 = 1;
    /// The connection was established at some time.
    pub const ESTABLISHED: u32 = 2;
    /// Its tuple is in `mesh_flows` under its cookie.
    pub const PUBLISHED: u32 = 4;
    /// Dialled and destination differ.
    pub const TRANSLATED: u32 = 8;
    /// An Audit policy would have denied it.
    pub const AUDITED: u32 = 16;
}
