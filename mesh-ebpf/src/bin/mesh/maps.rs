//! The maps. Names and types are the contract with user space; capacities are in
//! [`mesh_ebpf::abi::capacity`].

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::SkStorage,
    macros::{btf_map, map},
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SockHash},
};
use mesh_ebpf::{
    abi::{
        Affinity, AffinityKey, Backend, BackendKey, ConsumerKey, Counter, DenialKey, Flow, FlowKey,
        ListenerKey, MemberKey, Pod, PodUse, ProbeKey, Service, ServiceKey, Settings, Socket, Workload,
        capacity,
    },
    address::Address,
    policy::{CidrKey, Ruling, RulingKey},
};

#[map(name = "mesh_settings")]
pub static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);

#[map(name = "mesh_pods")]
pub static PODS: HashMap<u64, Pod> = HashMap::with_max_entries(capacity::PODS, 0);

#[map(name = "mesh_local")]
pub static LOCAL: HashMap<Address, Pod> = HashMap::with_max_entries(capacity::PODS, 0);

#[map(name = "mesh_ifaces")]
pub static IFACES: HashMap<u32, Pod> = HashMap::with_max_entries(capacity::PODS, 0);

#[map(name = "mesh_use")]
pub static USE: Array<PodUse> = Array::with_max_entries(PodUse::ALL + 1, 0);

#[map(name = "mesh_workloads")]
pub static WORKLOADS: HashMap<Address, Workload> =
    HashMap::with_max_entries(capacity::WORKLOADS, BPF_F_NO_PREALLOC);

#[map(name = "mesh_probes")]
pub static PROBES: HashMap<ProbeKey, u8> = HashMap::with_max_entries(capacity::PODS * 8, BPF_F_NO_PREALLOC);

#[map(name = "mesh_services")]
pub static SERVICES: HashMap<ServiceKey, Service> =
    HashMap::with_max_entries(capacity::SERVICES, BPF_F_NO_PREALLOC);

/// What a frontend is for the callers of one namespace, where that has routes of its own.
#[map(name = "mesh_consumers")]
pub static CONSUMERS: HashMap<ConsumerKey, Service> =
    HashMap::with_max_entries(capacity::CONSUMERS, BPF_F_NO_PREALLOC);

#[map(name = "mesh_backends")]
pub static BACKENDS: HashMap<BackendKey, Backend> =
    HashMap::with_max_entries(capacity::BACKENDS, BPF_F_NO_PREALLOC);

#[map(name = "mesh_members")]
pub static MEMBERS: HashMap<MemberKey, u8> = HashMap::with_max_entries(capacity::BACKENDS, BPF_F_NO_PREALLOC);

#[map(name = "mesh_affinity")]
pub static AFFINITY: LruHashMap<AffinityKey, Affinity> =
    LruHashMap::with_max_entries(capacity::AFFINITIES, 0);

#[map(name = "mesh_flows")]
pub static FLOWS: HashMap<FlowKey, Flow> = HashMap::with_max_entries(capacity::FLOWS, BPF_F_NO_PREALLOC);

/// When a published tuple was taken back, nanoseconds of the monotonic clock.
#[map(name = "mesh_closed")]
pub static CLOSED: LruHashMap<FlowKey, u64> = LruHashMap::with_max_entries(capacity::CLOSED, 0);

#[map(name = "mesh_datagrams")]
pub static DATAGRAMS: LruHashMap<FlowKey, Flow> = LruHashMap::with_max_entries(capacity::DATAGRAMS, 0);

/// The agent's listening sockets, by the namespace they are in. User space puts them in; one that is
/// closed leaves by itself.
#[map(name = "mesh_listeners")]
pub static LISTENERS: SockHash<ListenerKey> = SockHash::with_max_entries(capacity::LISTENERS, 0);

#[map(name = "mesh_rulings")]
pub static RULINGS: LpmTrie<RulingKey, Ruling> = LpmTrie::with_max_entries(capacity::RULINGS, 0);

#[map(name = "mesh_cidrs")]
pub static CIDRS: LpmTrie<CidrKey, u64> = LpmTrie::with_max_entries(capacity::CIDRS, 0);

#[map(name = "mesh_denials")]
pub static DENIALS: HashMap<DenialKey, u64> = HashMap::with_max_entries(capacity::DENIALS, BPF_F_NO_PREALLOC);

#[map(name = "mesh_counters")]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::COUNT, 0);

#[map(name = "mesh_events")]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(capacity::EVENT_BYTES, 0);

#[btf_map(name = "mesh_sockets")]
pub static SOCKETS: SkStorage<Socket> = SkStorage::new();
