//! What relay compiled: peers, Services and policy sets, checked entry by entry, written to the
//! kernel, and mirrored here so that a change costs what changed.
//!
//! Every entry remembers the *epoch* in which relay last named it. A relay that connects starts an
//! epoch and tells everything; at `Synced` what the epoch did not name is swept. Entries adopted
//! from pins are of epoch 0, so they too stay in force until a relay has told its whole state.

mod check;
mod peers;
mod services;
mod sets;

use mesh_ebpf::policy::SetId;

use super::maps::{MapFailure, Maps};
use crate::handover::LocalPod;

pub(super) use check::pod as check_pod;
pub(super) use peers::{PeerChange, Peers};
pub(super) use services::Services;
pub(super) use sets::Sets;

/// Why an entry was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContentError {
    /// It is not what it should be.
    #[error("{field} {value} {problem}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It does not fit.
    #[error("the kernel map {map} holds at most {capacity} entries, and {wanted} are wanted")]
    Full {
        /// Which map.
        map: &'static str,
        /// Its capacity.
        capacity: u32,
        /// How many entries there would be.
        wanted: u64,
    },
    /// The kernel refused.
    #[error(transparent)]
    Map(#[from] MapFailure),
}

/// Joins a map's error with its name.
fn on(map: &'static str) -> impl FnOnce(aya::maps::MapError) -> MapFailure {
    move |source| MapFailure { map, source }
}

/// Refuses what would not fit.
fn fits(map: &'static str, capacity: u32, wanted: u64) -> Result<(), ContentError> {
    if wanted > u64::from(capacity) {
        return Err(ContentError::Full { map, capacity, wanted });
    }
    Ok(())
}

/// Refuses a pod that the data path could not tell from one that is known.
///
/// # Errors
/// When `twin`, the UID of a known pod with the same hash, is there.
pub(super) fn no_twin(pod: &LocalPod, twin: Option<&String>) -> Result<(), ContentError> {
    match twin {
        None => Ok(()),
        Some(_) => Err(ContentError::Invalid {
            field: "uid",
            value: pod.uid.clone(),
            problem: "has the hash of another pod of this node: delete one of the two",
        }),
    }
}

/// Refuses a pod when as many as the kernel's maps hold are known already.
///
/// # Errors
/// When there are.
pub(super) fn room_for_pod(others: usize) -> Result<(), ContentError> {
    fits("mesh_pods", mesh_ebpf::abi::capacity::PODS, others as u64 + 1)
}

/// Everything relay compiled.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Pods anywhere, by address.
    pub(super) peers: Peers,
    /// Service ports, by id.
    pub(super) services: Services,
    /// Policy sets, by id.
    pub(super) sets: Sets,
    /// The epoch of the present relay; 0 before the first.
    pub(super) epoch: u64,
}

impl Content {
    /// Reads what an earlier wire left in the maps.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub(super) fn adopt(maps: &mut Maps) -> Result<Self, MapFailure> {
        Ok(Self {
            peers: Peers::adopt(maps)?,
            services: Services::adopt(maps)?,
            sets: Sets::adopt(maps)?,
            epoch: 0,
        })
    }

    /// Removes what the present epoch did not name; sets that `named` still names stay. Gives the
    /// addresses that nobody has any more.
    pub(super) fn sweep(
        &mut self,
        maps: &mut Maps,
        named: &std::collections::BTreeSet<SetId>,
    ) -> Vec<mesh_ebpf::address::Address> {
        let epoch = self.epoch;
        self.services.sweep(maps, epoch);
        self.sets.sweep(maps, epoch, named);
        self.peers.sweep(maps, epoch)
    }

    /// How full the maps are that content fills: (map, entries, capacity).
    pub(super) fn sizes(&self) -> Vec<(String, u64, u64)> {
        use mesh_ebpf::abi::capacity;
        let services = self.services.sizes();
        let sets = self.sets.sizes();
        [
            ("mesh_workloads", self.peers.len() as u64, capacity::WORKLOADS),
            ("mesh_services", services.frontends, capacity::SERVICES),
            ("mesh_consumers", services.consumers, capacity::CONSUMERS),
            ("mesh_backends", services.backends, capacity::BACKENDS),
            ("mesh_members", services.backends, capacity::BACKENDS),
            ("mesh_rulings", sets.rulings, capacity::RULINGS),
            ("mesh_cidrs", sets.cidrs, capacity::CIDRS),
        ]
        .into_iter()
        .map(|(name, entries, capacity)| (name.to_owned(), entries, u64::from(capacity)))
        .collect()
    }
}
