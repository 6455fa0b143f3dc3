//! Services and their endpoints.
//!
//! A Service is one `mesh_services` entry per frontend and one slot per endpoint in
//! `mesh_backends`. The slots of a new generation are written before the entry names it and those
//! of the old one removed after, so a pick never sees half a change.

use crate::address::Address;

/// Key of `mesh_services`: what a client dials.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(C)]
pub struct ServiceKey {
    /// Frontend address.
    pub address: Address,
    /// Frontend port.
    pub port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// Always 0.
    pub reserved: u8,
}

/// Value of `mesh_services`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Service {
    /// Identifies the (Service, port, protocol, family): a hash of their names.
    pub id: u64,
    /// Which generation of slots is current.
    pub generation: u32,
    /// How many slots it has; 0 refuses with EHOSTUNREACH.
    pub slots: u32,
    /// `sessionAffinity: ClientIP` timeout in seconds; 0 = none.
    pub affinity_seconds: u32,
    /// Bits of `Service::*`.
    pub flags: u32,
}

impl Service {
    /// Each request is routed by the agent: a connect goes to the pod's outbound listener, and no endpoint is picked
    /// here.
    pub const ENGINE: u32 = 1;
    /// Callers of some namespaces have an entry of their own in `mesh_consumers`.
    pub const CONSUMERS: u32 = 2;
}

/// Key of `mesh_consumers`, whose value is the [`Service`] that holds for the callers of one namespace in place of the
/// one in `mesh_services`: what that namespace's own routes make of it (GEP-1426).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(C)]
pub struct ConsumerKey {
    /// [`Service::id`] of the frontend's entry in `mesh_services`.
    pub service: u64,
    /// [`crate::abi::Pod::namespace`] of the caller.
    pub namespace: u64,
}

/// Key of `mesh_backends`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(C)]
pub struct BackendKey {
    /// [`Service::id`].
    pub service: u64,
    /// [`Service::generation`].
    pub generation: u32,
    /// 0 up to [`Service::slots`].
    pub slot: u32,
}

/// Value of `mesh_backends`: an endpoint and its share in the alias table (see [`crate::pick`]), or, without
/// [`Backend::PICKED`], the share that is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Backend {
    /// Endpoint address.
    pub address: Address,
    /// Endpoint port.
    pub port: u16,
    /// Bits of `Backend::*`.
    pub flags: u16,
    /// This slot's own endpoint is taken when a random `u32` is at most this, else `alias`.
    pub threshold: u32,
    /// The slot to take otherwise.
    pub alias: u32,
}

impl Backend {
    /// Discovery says that it is an enrolled pod.
    pub const ENROLLED: u16 = 1;
    /// It is an endpoint: set on every one, so that what was picked differs from what was dialled.
    pub const PICKED: u16 = 2;
}

/// Key of `mesh_members`, whose value is [`Backend::flags`]: says that an endpoint still belongs to
/// a Service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(C)]
pub struct MemberKey {
    /// [`Service::id`] in native byte order (kept as bytes: the key has no padding that way).
    pub service: [u8; 8],
    /// Endpoint address.
    pub address: Address,
    /// Endpoint port.
    pub port: u16,
    /// Always 0.
    pub reserved: u16,
}

/// Key of `mesh_affinity`: who sticks to an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(C)]
pub struct AffinityKey {
    /// The client's address.
    pub client: Address,
    /// [`Service::id`].
    pub service: u64,
    /// 0 for `sessionAffinity: ClientIP`; the local port of an unconnected UDP socket, whose
    /// datagrams to one Service all go to one endpoint.
    pub port: u16,
    /// Always 0.
    pub reserved: [u8; 6],
}

/// Value of `mesh_affinity`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Affinity {
    /// Endpoint address.
    pub address: Address,
    /// Last use, nanoseconds of the monotonic clock.
    pub used_at: u64,
    /// Endpoint port.
    pub port: u16,
    /// Always 0.
    pub reserved: [u8; 6],
}
