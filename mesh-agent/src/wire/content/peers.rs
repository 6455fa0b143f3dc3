//! Pods anywhere in the mesh, by address.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use mesh_ebpf::abi::{Workload, capacity};
use mesh_ebpf::address::Address;

use super::super::maps::{MapFailure, Maps, absent_is_fine};
use super::{ContentError, check, fits, on};
use crate::handover::PeerEntry;

const MAP: &str = "mesh_workloads";

/// Mirror of `mesh_workloads`.
#[derive(Debug, Default)]
pub(in super::super) struct Peers {
    by_address: HashMap<Address, (Workload, u64)>,
    /// Those that could not be written.
    missing: HashSet<Address>,
    /// There were more of them in this epoch than are remembered.
    missing_more: Option<u64>,
}

/// Most peers that are remembered as missing: what is more counts as missing for an epoch.
const MISSING: usize = 65_536;

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum PeerChange {
    /// Nothing that an open connection's verdict rests on.
    None,
    /// The address is another group's, or somebody's for the first time.
    Group,
}

impl Peers {
    pub(super) fn adopt(maps: &Maps) -> Result<Self, MapFailure> {
        let by_address = maps
            .workloads
            .iter()
            .map(|entry| entry.map(|(address, workload)| (address, (workload, 0))))
            .collect::<Result<_, _>>()
            .map_err(on(MAP))?;
        Ok(Self { by_address, missing: HashSet::new(), missing_more: None })
    }

    /// Writes a peer.
    ///
    /// # Errors
    /// When it is not valid or does not fit.
    pub(in super::super) fn set(
        &mut self,
        maps: &mut Maps,
        peer: &PeerEntry,
        epoch: u64,
    ) -> Result<PeerChange, ContentError> {
        check::peer(peer)?;
        let address = Address::from(peer.address);
        let workload = Workload { group: peer.group, flags: peer.flags, reserved: 0 };
        let before = self.by_address.get(&address).map(|(workload, _)| *workload);
        if before != Some(workload) {
            let new = u64::from(before.is_none());
            let written = fits(MAP, capacity::WORKLOADS, self.by_address.len() as u64 + new)
                .and_then(|()| Ok(maps.workloads.insert(address, workload, 0).map_err(on(MAP))?));
            if let Err(error) = written {
                self.miss(address, epoch);
                return Err(error);
            }
        }
        self.missing.remove(&address);
        self.by_address.insert(address, (workload, epoch));
        Ok(if before.map(|before| before.group) == Some(workload.group) {
            PeerChange::None
        } else {
            PeerChange::Group
        })
    }

    /// Removes a peer; tells whether it was there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(in super::super) fn remove(
        &mut self,
        maps: &mut Maps,
        address: IpAddr,
    ) -> Result<bool, ContentError> {
        let address = Address::from(address);
        self.missing.remove(&address);
        absent_is_fine(maps.workloads.remove(&address)).map_err(on(MAP))?;
        Ok(self.by_address.remove(&address).is_some())
    }

    /// relay begins to tell everything anew.
    pub(in super::super) fn begin(&mut self) {
        // What still finds no room is told to be missing again; until then as before.
        if !self.missing.is_empty() {
            self.missing_more = Some(0);
            self.missing.clear();
        }
    }

    fn miss(&mut self, address: Address, epoch: u64) {
        if self.missing.len() < MISSING {
            self.missing.insert(address);
        } else {
            self.missing_more = Some(epoch);
        }
    }

    /// Whether every peer that relay named is in the kernel. Else an address that nothing is known of
    /// may be an enrolled pod's.
    pub(in super::super) fn complete(&self) -> bool {
        self.missing.is_empty() && self.missing_more.is_none()
    }

    /// Removes what `epoch` did not name; gives the addresses.
    pub(super) fn sweep(&mut self, maps: &mut Maps, epoch: u64) -> Vec<Address> {
        if self.missing_more != Some(epoch) {
            self.missing_more = None;
        }
        let gone: Vec<Address> = self
            .by_address
            .iter()
            .filter(|(_, (_, named))| *named != epoch)
            .map(|(address, _)| *address)
            .collect();
        for address in &gone {
            if let Err(error) = absent_is_fine(maps.workloads.remove(address)) {
                tracing::error!(%address, %error, "cannot remove a peer that is gone");
                continue;
            }
            self.by_address.remove(address);
        }
        gone
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }
}
