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
    /// A socket of the agent inside a pod's namespace: a tunnel, or the delivery of a tunnelled
    /// connection. Proves nothing about the pod.
    Agent = 4,
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
            4 => Self::Agent,
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
    /// Group of the pod that it is for, by the address at the time of the connect; 0 when unknown.
    pub peer_group: u64,
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
    /// The endpoint it is for: the tuple's destination, or what lies behind the tunnel.
    pub endpoint: Address,
    /// Port of `endpoint`.
    pub endpoint_port: u16,
    /// Always 0.
    pub reserved2: [u8; 6],
}

impl Flow {
    /// The server side has closed: the tuple proves nothing any more (SEMANTICS 2.2).
    pub const SERVER_CLOSED: u8 = 1;
    /// The destination's ingress gate let it through (UDP), so answers may leave.
    pub const ADMITTED: u8 = 2;
    /// It was redirected to its pod's outbound listener and goes through the tunnel.
    pub const TUNNELLED: u8 = 4;
    /// The agent delivers a tunnelled connection; `dialled` is the true client.
    pub const DELIVERY: u8 = 8;
    /// Its requests are to be routed or judged by the agent: no endpoint was picked where `endpoint` is what was dialled.
    pub const ENGINE: u8 = 16;
}

/// What a hook left on a socket, value of the socket storage `mesh_sockets`. Written anew by every
/// connect, wiped by a connect that the mesh has no part in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Socket {
    /// What the application dialled; for an accepted socket, its peer.
    pub dialled: Address,
    /// The endpoint it is for.
    pub destination: Address,
    /// Where it was redirected to instead, when [`Socket::TUNNELLED`].
    pub redirect: Address,
    /// What the application dialled; for an accepted socket, its peer.
    pub dialled_port: u16,
    /// Port of `destination`.
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
    /// Port of `redirect`.
    pub redirect_port: u16,
    /// Always 0.
    pub reserved: [u8; 6],
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
    /// It was redirected to its pod's outbound listener.
    pub const TUNNELLED: u32 = 32;
    /// The agent's: a tunnelled connection delivered to a pod. `dialled` is the true client, on the
    /// connecting socket as on the accepted one.
    pub const DELIVERY: u32 = 64;
    /// Its requests are the agent's to route or judge.
    pub const ENGINE: u32 = 128;
    /// The agent's, made for the pod whose namespace it is in: it is that pod's by proof.
    pub const BEHALF: u32 = 256;
}

/// What the agent reads of a connection it accepted from a pod, by [`option::FLOW`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct FlowRecord {
    /// What the application dialled.
    pub dialled: Address,
    /// The endpoint that was picked.
    pub endpoint: Address,
    /// Cookie of the application's socket.
    pub cookie: u64,
    /// Cookie of its network namespace.
    pub netns: u64,
    /// Group of its pod.
    pub group: u64,
    /// Group of the pod at `endpoint` when the application connected; 0 when several share it.
    pub peer_group: u64,
    /// [`crate::abi::Pod::uid`] of its pod.
    pub uid: u64,
    /// When it was opened, nanoseconds of the monotonic clock.
    pub opened_at: u64,
    /// The egress set that admitted it.
    pub set: SetId,
    /// What the application dialled.
    pub dialled_port: u16,
    /// Port of `endpoint`.
    pub endpoint_port: u16,
    /// Rule of `set` that admitted it.
    pub rule: u16,
    /// An [`Origin`].
    pub origin: u8,
    /// Bits of `Flow::*`.
    pub flags: u8,
}

/// What the agent says of a delivery before it connects, by [`option::CLIENT`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct TrueClient {
    /// The client's address.
    pub address: Address,
    /// The client's port.
    pub port: u16,
    /// Always 0.
    pub reserved: u16,
}

/// For which of its pods the agent is about to connect, by [`option::BEHALF`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Behalf {
    /// An address of the pod in whose namespace the socket is.
    pub address: Address,
    /// The rule of the pod's egress set that admitted what it connects to.
    pub rule: u16,
    /// Always 0.
    pub reserved: u16,
}

/// Socket options that the mesh answers, on the agent's own sockets only (KERNEL 11).
pub mod option {
    /// Their level, which is no protocol's.
    pub const LEVEL: i32 = 0x6d65;
    /// `getsockopt`: the [`super::FlowRecord`] of an accepted socket; ENOENT where there is none.
    pub const FLOW: i32 = 1;
    /// `setsockopt`: the [`super::TrueClient`] of a delivery, before it connects.
    pub const CLIENT: i32 = 2;
    /// `setsockopt`: the [`super::Behalf`] of a connection that the agent makes for a pod, once it has asked the pod's
    /// egress policy, before it connects. Its tuple then proves the pod.
    pub const BEHALF: i32 = 3;
}

/// Key of `mesh_listeners`, the agent's listening sockets by the pod's namespace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(C)]
pub struct ListenerKey {
    /// Cookie of the namespace.
    pub netns: u64,
    /// One of `ListenerKey::*`.
    pub role: u32,
    /// Always 0.
    pub reserved: u32,
}

impl ListenerKey {
    /// Takes what leaves the pod for the tunnel.
    pub const OUTBOUND: u32 = 1;
    /// Takes what comes in for the agent: tunnels, at [`TUNNEL_PORT`], and at other ports connections whose requests it
    /// is to judge.
    pub const INBOUND: u32 = 2;
}

/// The port of the tunnel (HBONE).
pub const TUNNEL_PORT: u16 = 15008;
/// The port in a redirected connection's tuple. Nothing listens at it: the gate steers by
/// reference, to the listener of the pod whose flow it is.
pub const REDIRECT_PORT: u16 = 15001;
