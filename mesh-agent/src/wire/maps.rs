//! Typed handles on the pinned maps. Every thread opens its own.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, SockHash};
use mesh_ebpf::abi::{
    Backend, BackendKey, ConsumerKey, Counter, DenialKey, Flow, FlowKey, ListenerKey, MemberKey, Pod, PodUse,
    ProbeKey, Service, ServiceKey, Settings, Workload,
};
use mesh_ebpf::address::Address;
use mesh_ebpf::policy::{CidrKey, Ruling, RulingKey, Rulings};

/// A map could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[error("map {map}: {source}")]
pub(super) struct MapFailure {
    /// Its name.
    pub(super) map: &'static str,
    /// Why not.
    #[source]
    pub(super) source: MapError,
}

/// The maps that user space reads or writes, except the ring buffer.
pub(super) struct Maps {
    pub(super) settings: Array<MapData, Settings>,
    pub(super) pods: HashMap<MapData, u64, Pod>,
    pub(super) local: HashMap<MapData, Address, Pod>,
    pub(super) interfaces: HashMap<MapData, u32, Pod>,
    pub(super) usage: Array<MapData, PodUse>,
    pub(super) workloads: HashMap<MapData, Address, Workload>,
    pub(super) probes: HashMap<MapData, ProbeKey, u8>,
    pub(super) services: HashMap<MapData, ServiceKey, Service>,
    pub(super) consumers: HashMap<MapData, ConsumerKey, Service>,
    pub(super) backends: HashMap<MapData, BackendKey, Backend>,
    pub(super) members: HashMap<MapData, MemberKey, u8>,
    pub(super) flows: HashMap<MapData, FlowKey, Flow>,
    pub(super) datagrams: HashMap<MapData, FlowKey, Flow>,
    pub(super) rulings: LpmTrie<MapData, RulingKey, Ruling>,
    pub(super) cidrs: LpmTrie<MapData, CidrKey, u64>,
    pub(super) listeners: SockHash<MapData, ListenerKey>,
    pub(super) denials: HashMap<MapData, DenialKey, u64>,
    pub(super) counters: PerCpuArray<MapData, u64>,
    sockets: MapData,
}

fn open<T: TryFrom<Map, Error = MapError>>(directory: &Path, map: &'static str) -> Result<T, MapFailure> {
    MapData::from_pin(directory.join(map))
        .and_then(Map::from_map_data)
        .and_then(T::try_from)
        .map_err(|source| MapFailure { map, source })
}

impl Maps {
    /// Opens every pinned map.
    ///
    /// # Errors
    /// When one is not there or not of its type.
    pub(super) fn open(directory: &Path) -> Result<Self, MapFailure> {
        Ok(Self {
            settings: open(directory, "mesh_settings")?,
            pods: open(directory, "mesh_pods")?,
            local: open(directory, "mesh_local")?,
            interfaces: open(directory, "mesh_ifaces")?,
            usage: open(directory, "mesh_use")?,
            workloads: open(directory, "mesh_workloads")?,
            probes: open(directory, "mesh_probes")?,
            services: open(directory, "mesh_services")?,
            consumers: open(directory, "mesh_consumers")?,
            backends: open(directory, "mesh_backends")?,
            members: open(directory, "mesh_members")?,
            flows: open(directory, "mesh_flows")?,
            datagrams: open(directory, "mesh_datagrams")?,
            rulings: open(directory, "mesh_rulings")?,
            cidrs: open(directory, "mesh_cidrs")?,
            listeners: open(directory, "mesh_listeners")?,
            denials: open(directory, "mesh_denials")?,
            counters: open(directory, "mesh_counters")?,
            sockets: MapData::from_pin(directory.join("mesh_sockets"))
                .map_err(|source| MapFailure { map: "mesh_sockets", source })?,
        })
    }

    /// The ring buffer, which has one reader, not mapped yet.
    ///
    /// # Errors
    /// When it is not there.
    pub(super) fn open_events(directory: &Path) -> Result<Map, MapFailure> {
        let map = "mesh_events";
        MapData::from_pin(directory.join(map))
            .and_then(Map::from_map_data)
            .map_err(|source| MapFailure { map, source })
    }

    /// The pod of an address, enrolled or not, anywhere in the mesh.
    pub(super) fn workload(&self, address: &Address) -> Option<Workload> {
        self.workloads.get(address, 0).ok()
    }

    /// A pod of this node by its address.
    pub(super) fn local_pod(&self, address: &Address) -> Option<Pod> {
        self.local.get(address, 0).ok()
    }

    /// What hooks left on sockets: a storage, which only socket diagnostics show.
    pub(super) fn socket_storage(&self) -> BorrowedFd<'_> {
        self.sockets.fd().as_fd()
    }

    /// A TCP connection or UDP tuple that a hook published.
    pub(super) fn flow(&self, key: &FlowKey) -> Option<Flow> {
        if key.protocol == mesh_ebpf::abi::UDP {
            return self.datagrams.get(key, 0).ok();
        }
        self.flows.get(key, 0).ok()
    }

    /// Sums of the per-CPU counters.
    pub(super) fn counters(&self) -> Vec<u64> {
        (0..Counter::COUNT)
            .map(|index| self.counters.get(&index, 0).map_or(0, |values| values.iter().copied().sum()))
            .collect()
    }
}

impl Rulings for Maps {
    fn ruling(&self, key: &RulingKey) -> Option<Ruling> {
        self.rulings.get(&Key::new(RulingKey::BITS, *key), 0).ok()
    }

    fn cidr(&self, key: &CidrKey) -> Option<u64> {
        self.cidrs.get(&Key::new(CidrKey::BITS, *key), 0).ok()
    }
}

/// An entry that is not there counts as removed.
///
/// # Errors
/// Any other failure.
pub(super) fn absent_is_fine(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
