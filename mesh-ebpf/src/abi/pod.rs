//! Pods, their peers, and the node's settings.

use crate::address::Address;
use crate::policy::SetId;

/// What a cgroup or an interface belongs to (SEMANTICS 1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Class {
    /// No entry: a pod whose UID discovery does not know, when below a pods root.
    Unknown = 0,
    /// Not a pod itself: the directory below which every cgroup is some pod's (`kubepods`).
    PodsRoot = 1,
    /// Enrolled, not wired yet: nothing in or out.
    Pending = 2,
    /// Enrolled and enforced.
    Wired = 3,
    /// Known and not enrolled.
    Plain = 4,
    /// The mesh's own agent.
    Agent = 5,
}

impl Class {
    /// From its number in a map; what is not a class is [`Class::Unknown`].
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::PodsRoot,
            2 => Self::Pending,
            3 => Self::Wired,
            4 => Self::Plain,
            5 => Self::Agent,
            _ => Self::Unknown,
        }
    }
}

/// A pod of this node. Value of three maps: `mesh_pods` (by cgroup id, what the socket hooks see),
/// `mesh_local` (by address, what the ingress gate sees) and `mesh_ifaces` (by the index of the
/// host side of its interface, what the packet checks see).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Pod {
    /// A [`Class`].
    pub class: u32,
    /// Index into `mesh_use`; unique among the pods of the node, 0 for none.
    pub slot: u32,
    /// The group of pods that policies treat alike (`mesh_api::GroupId`); 0 when unknown.
    pub group: u64,
    /// Cookie of its network namespace; 0 until wired.
    pub netns: u64,
    /// Compiled ingress policy; 0 = no policy and no default that denies.
    pub ingress: SetId,
    /// Compiled egress policy; 0 likewise.
    pub egress: SetId,
    /// Bits of `Pod::*`.
    pub flags: u32,
    /// Always 0.
    pub reserved: u32,
    /// Its IPv4 address, or [`Address::UNSPECIFIED`].
    pub v4: Address,
    /// Its IPv6 address, or [`Address::UNSPECIFIED`].
    pub v6: Address,
    /// Hash of the pod's UID, which names it in events and denial counts.
    pub uid: u64,
    /// When it was wired, nanoseconds of the monotonic clock; 0 until then.
    pub wired_at: u64,
    /// Hash of its namespace's name, by which consumers' routes are found.
    pub namespace: u64,
}

impl Pod {
    /// `encryption: Always` holds for it.
    pub const ENCRYPT_ALWAYS: u32 = 1;
    /// It runs in the node's network namespace.
    pub const HOST_NETWORK: u32 = 2;
    /// Protocols other than TCP and UDP are dropped in its ingress direction.
    pub const INGRESS_DENIES_OTHER: u32 = 4;
    /// Protocols other than TCP, UDP and ICMP are dropped in its egress direction.
    pub const EGRESS_DENIES_OTHER: u32 = 8;

    /// Its class.
    #[inline(always)]
    #[must_use]
    pub const fn class(&self) -> Class {
        Class::from_number(self.class)
    }

    /// Whether `address` is one of its own.
    #[inline(always)]
    #[must_use]
    pub fn owns(&self, address: &Address) -> bool {
        if address.is_v4() { address.is(&self.v4) } else { address.is(&self.v6) }
    }

    /// Its address of the family of `other`, or [`Address::UNSPECIFIED`].
    #[inline(always)]
    #[must_use]
    pub const fn address_like(&self, other: &Address) -> Address {
        if other.is_v4() { self.v4 } else { self.v6 }
    }
}

/// What one pod uses of the node, value of `mesh_use` by slot; `flows` of [`PodUse::ALL`] is the sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct PodUse {
    /// Open TCP flow entries.
    pub flows: u64,
    /// The second (monotonic) the two counts below belong to.
    pub second: u64,
    /// Events reported in that second.
    pub events: u32,
    /// New UDP tuples in that second.
    pub datagrams: u32,
    /// Events suppressed, ever.
    pub suppressed: u64,
    /// TCP connections opened, ever.
    pub opened: u64,
}

impl PodUse {
    /// The slot of everything that is open on the node, whosever it is.
    pub const ALL: u32 = crate::abi::capacity::PODS;
}

/// A pod anywhere in the mesh, value of `mesh_workloads` by address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Workload {
    /// Its group (see [`Pod::group`]).
    pub group: u64,
    /// Bits of `Workload::*`.
    pub flags: u32,
    /// Always 0.
    pub reserved: u32,
}

impl Workload {
    /// It is enrolled in the mesh.
    pub const ENROLLED: u32 = 1;
    /// It runs on this node.
    pub const LOCAL: u32 = 2;
    /// It runs in its node's network namespace: its address is the node's.
    pub const HOST_NETWORK: u32 = 4;
    /// `encryption: Always` holds for it.
    pub const ENCRYPT_ALWAYS: u32 = 8;
}

/// Key of `mesh_probes`: a port that a probe of a local pod declares (SEMANTICS 3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(C)]
pub struct ProbeKey {
    /// The pod's address.
    pub address: Address,
    /// Container port.
    pub port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// Always 0.
    pub reserved: u8,
}

/// The node's settings, the only value of `mesh_settings`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Settings {
    /// Cookie of the node's network namespace.
    pub node_netns: u64,
    /// Bits of `Settings::*`.
    pub flags: u32,
    /// Depth in the cgroup tree of the shallowest pod directory (the cgroup2 root is 0).
    pub pod_level_first: u32,
    /// Depth of the deepest pod directory.
    pub pod_level_last: u32,
    /// Depth of the shallowest pods root (`kubepods`).
    pub root_level: u32,
    /// Bumped by the agent with every change of policy, for humans who read the map.
    pub generation: u64,
    /// Room for later settings, always 0.
    pub reserved: [u64; 4],
}

impl Settings {
    /// Source addresses are validated on every local pod's interface, so that a published tuple
    /// is proof (SEMANTICS 2.2). Without it same-node traffic needs the tunnel.
    pub const LOCAL_PROOF: u32 = 1;
    /// `enrolment.unknown: Closed`.
    pub const UNKNOWN_CLOSED: u32 = 2;
    /// Some pods' addresses are not in `mesh_workloads`, for want of room: an address that nothing is
    /// known of may be an enrolled pod's.
    pub const PEERS_INCOMPLETE: u32 = 4;
}
