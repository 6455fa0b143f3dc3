//! Pods anywhere in the mesh, by address.

use std::collections::HashMap;
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
}

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
        Ok(Self { by_address })
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
            fits(MAP, capacity::WORKLOADS, self.by_address.len() as u64 + new)?;
            maps.workloads.insert(address, workload, 0).map_err(on(MAP))?;
        }
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
        absent_is_fine(maps.workloads.remove(&address)).map_err(on(MAP))?;
        Ok(self.by_address.remove(&address).is_some())
    }

    /// Removes what `epoch` did not name; gives the addresses.
    pub(super) fn sweep(&mut self, maps: &mut Maps, epoch: u64) -> Vec<Address> {
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
