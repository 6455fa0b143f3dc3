//! What crosses the boundary between the kernel programs and the agent: keys and values of the
//! maps, settings, counters and events.
//!
//! Every type is `#[repr(C)]`, made of integers and byte arrays, has no implicit padding and a
//! size asserted at compile time. Ports are in host byte order unless a name says otherwise.
//! A change to any of these is a new [`SCHEMA`].

mod counter;
mod event;
mod flow;
mod pod;
mod reason;
mod service;

pub use counter::Counter;
pub use event::{DenialKey, Event, EventKind};
pub use flow::{
    Behalf, Flow, FlowKey, FlowRecord, ListenerKey, Origin, REDIRECT_PORT, Socket, TUNNEL_PORT, TrueClient,
    option,
};
pub use pod::{Class, Pod, PodUse, ProbeKey, Settings, Workload};
pub use reason::Reason;
pub use service::{Affinity, AffinityKey, Backend, BackendKey, ConsumerKey, MemberKey, Service, ServiceKey};

/// The version of everything in this module: the pin directory is named after it.
pub const SCHEMA: u32 = 4;

/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;

macro_rules! boundary {
    ($($type:ty = $size:literal),+ $(,)?) => {
        $(
            const _: () = assert!(core::mem::size_of::<$type>() == $size);
            #[cfg(feature = "user")]
            // SAFETY: `#[repr(C)]`, integers and byte arrays only, and the size assertion shows
            // that the fields add up, so there is no padding: plain data.
            unsafe impl aya::Pod for $type {}
        )+
    };
}

boundary! {
    crate::address::Address = 16,
    Pod = 104,
    PodUse = 40,
    Settings = 64,
    Workload = 16,
    ProbeKey = 20,
    ServiceKey = 20,
    Service = 24,
    ConsumerKey = 16,
    BackendKey = 16,
    Backend = 28,
    MemberKey = 28,
    AffinityKey = 32,
    Affinity = 32,
    FlowKey = 40,
    Flow = 144,
    Socket = 128,
    FlowRecord = 96,
    TrueClient = 20,
    Behalf = 20,
    ListenerKey = 16,
    Event = 160,
    DenialKey = 32,
    crate::policy::RulingKey = 20,
    crate::policy::CidrKey = 24,
    crate::policy::Ruling = 32,
}

/// Capacities of the maps, so that user space can check them and report how full they are.
pub mod capacity {
    /// Cgroups known: pods, their roots, agents.
    pub const PODS: u32 = 4096;
    /// Addresses of pods that this node's pods may reach.
    pub const WORKLOADS: u32 = 262_144;
    /// Service frontends (address, port, protocol).
    pub const SERVICES: u32 = 65_536;
    /// What Service frontends are for the callers of single namespaces.
    pub const CONSUMERS: u32 = 65_536;
    /// Endpoint slots over all Services.
    pub const BACKENDS: u32 = 1_048_576;
    /// Listeners of the agent, two a pod.
    pub const LISTENERS: u32 = 2 * PODS;
    /// Sticky picks.
    pub const AFFINITIES: u32 = 65_536;
    /// TCP connections of enrolled pods that are open at once.
    pub const FLOWS: u32 = 262_144;
    /// Of those, how many pods take as they come; the rest is for pods that hold few.
    pub const FLOWS_COMMON: u64 = FLOWS as u64 / 4 * 3;
    /// As many as one pod may hold, and open more, once [`FLOWS_COMMON`] are taken.
    pub const FLOWS_FEW: u64 = 512;
    /// TCP tuples remembered after their connecting socket has closed.
    pub const CLOSED: u32 = 16_384;
    /// UDP tuples remembered.
    pub const DATAGRAMS: u32 = 131_072;
    /// Entries of compiled policy over all policy sets.
    pub const RULINGS: u32 = 1_048_576;
    /// Distinct (policy set, CIDR) pairs.
    pub const CIDRS: u32 = 262_144;
    /// Rows of exact denial counts.
    pub const DENIALS: u32 = 16_384;
    /// Bytes of the event ring.
    pub const EVENT_BYTES: u32 = 4 << 20;
    /// Flow entries one pod may hold before it is refused (SEMANTICS 5.5).
    pub const FLOWS_PER_POD: u64 = 131_072;
    /// New UDP tuples one pod may make in a second.
    pub const DATAGRAMS_PER_POD_SECOND: u32 = 20_000;
    /// Events of denials one pod may cause in a second; more are counted, not reported one by one.
    pub const EVENTS_PER_POD_SECOND: u32 = 500;
}
