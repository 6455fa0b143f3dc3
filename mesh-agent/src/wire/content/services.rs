//! Service ports: a new generation of slots is written beside the old one, then the frontends are
//! switched to it, then the old one is removed, so a pick never sees half a change.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mesh_ebpf::abi::{Backend, BackendKey, ConsumerKey, MemberKey, Service, ServiceKey, capacity};
use mesh_ebpf::address::Address;
use mesh_ebpf::pick::{Slot, table};

use super::super::maps::{MapFailure, Maps, absent_is_fine};
use super::{ContentError, check, fits, on};
use crate::handover::ServiceEntry;

const SERVICES: &str = "mesh_services";
const CONSUMERS: &str = "mesh_consumers";
const BACKENDS: &str = "mesh_backends";
const MEMBERS: &str = "mesh_members";

/// A Service port as it is in the kernel.
#[derive(Debug, Clone, Default)]
struct Loaded {
    name: String,
    generation: u32,
    affinity_seconds: u32,
    flags: u32,
    /// Sorted.
    frontends: Vec<ServiceKey>,
    /// What it is instead of, for the callers of one namespace.
    consumer: Option<ConsumerKey>,
    slots: Vec<Backend>,
    epoch: u64,
}

/// Mirror of `mesh_services`, `mesh_consumers`, `mesh_backends` and `mesh_members`.
#[derive(Debug, Default)]
pub(in super::super) struct Services {
    by_id: HashMap<u64, Loaded>,
    frontends: u64,
    consumers: u64,
    backends: u64,
}

/// How many entries there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Of `mesh_services`.
    pub(super) frontends: u64,
    /// Of `mesh_consumers`.
    pub(super) consumers: u64,
    /// Of `mesh_backends` and `mesh_members`.
    pub(super) backends: u64,
}

fn slots(entry: &ServiceEntry) -> Vec<Backend> {
    let endpoints = entry.endpoints.iter().map(|endpoint| {
        let enrolled = if endpoint.enrolled { Backend::ENROLLED } else { 0 };
        (Address::from(endpoint.address), endpoint.port, Backend::PICKED | enrolled, endpoint.weight)
    });
    let closed = (entry.closed != 0).then_some((Address::UNSPECIFIED, 0, 0, entry.closed));
    let slots: Vec<_> = endpoints.chain(closed).collect();
    let weights: Vec<u32> = slots.iter().map(|(.., weight)| *weight).collect();
    let backend = |((address, port, flags, _), slot): (_, Slot)| Backend {
        address,
        port,
        flags,
        threshold: slot.threshold,
        alias: slot.alias,
    };
    slots.into_iter().zip(table(&weights)).map(backend).collect()
}

/// Those that are endpoints: what is left is the share that is refused.
fn endpoints(slots: &[Backend]) -> impl Iterator<Item = &Backend> {
    slots.iter().filter(|slot| slot.flags & Backend::PICKED != 0)
}

fn member(service: u64, backend: &Backend) -> MemberKey {
    MemberKey { service: service.to_ne_bytes(), address: backend.address, port: backend.port, reserved: 0 }
}

impl Services {
    pub(super) fn adopt(maps: &mut Maps) -> Result<Self, MapFailure> {
        let mut by_id: HashMap<u64, Loaded> = HashMap::new();
        for entry in maps.services.iter() {
            let (key, service) = entry.map_err(on(SERVICES))?;
            let loaded = by_id.entry(service.id).or_default();
            loaded.generation = service.generation;
            loaded.affinity_seconds = service.affinity_seconds;
            loaded.flags = service.flags;
            loaded.frontends.push(key);
        }
        for entry in maps.consumers.iter() {
            let (key, service) = entry.map_err(on(CONSUMERS))?;
            let loaded = by_id.entry(service.id).or_default();
            loaded.generation = service.generation;
            loaded.affinity_seconds = service.affinity_seconds;
            loaded.flags = service.flags;
            loaded.consumer = Some(key);
        }
        let mut slots: HashMap<u64, BTreeMap<u32, Backend>> = HashMap::new();
        let mut stale = Vec::new();
        for entry in maps.backends.iter() {
            let (key, backend) = entry.map_err(on(BACKENDS))?;
            match by_id.get(&key.service) {
                Some(loaded) if loaded.generation == key.generation => {
                    slots.entry(key.service).or_default().insert(key.slot, backend);
                }
                _ => stale.push(key),
            }
        }
        for (id, slots) in slots {
            by_id.entry(id).or_default().slots = slots.into_values().collect();
        }
        by_id.values_mut().for_each(|loaded| loaded.frontends.sort_unstable());
        let services = Self {
            frontends: by_id.values().map(|loaded| loaded.frontends.len() as u64).sum(),
            consumers: by_id.values().filter(|loaded| loaded.consumer.is_some()).count() as u64,
            backends: by_id.values().map(|loaded| loaded.slots.len() as u64).sum(),
            by_id,
        };
        services.sweep_halves(maps, &stale)?;
        Ok(services)
    }

    /// Removes slots of generations that nothing names, and members of no Service, left by a wire
    /// that died in the middle of a change.
    fn sweep_halves(&self, maps: &mut Maps, stale: &[BackendKey]) -> Result<(), MapFailure> {
        let keep: BTreeSet<MemberKey> = self
            .by_id
            .iter()
            .flat_map(|(id, loaded)| endpoints(&loaded.slots).map(|slot| member(*id, slot)))
            .collect();
        let strays: Vec<MemberKey> =
            maps.members.keys().filter_map(Result::ok).filter(|key| !keep.contains(key)).collect();
        if !stale.is_empty() || !strays.is_empty() {
            tracing::warn!(
                slots = stale.len(),
                members = strays.len(),
                "an earlier wire died while changing Services; its leftovers are removed"
            );
        }
        for key in stale {
            absent_is_fine(maps.backends.remove(key)).map_err(on(BACKENDS))?;
        }
        for key in &strays {
            absent_is_fine(maps.members.remove(key)).map_err(on(MEMBERS))?;
        }
        Ok(())
    }

    /// Counts what took the place of what.
    fn count(&mut self, before: &Loaded, after: &Loaded) {
        self.frontends = self.frontends + after.frontends.len() as u64 - before.frontends.len() as u64;
        let consumers = |loaded: &Loaded| u64::from(loaded.consumer.is_some());
        self.consumers = self.consumers + consumers(after) - consumers(before);
        self.backends = self.backends + after.slots.len() as u64 - before.slots.len() as u64;
    }

    /// Writes a Service port.
    ///
    /// # Errors
    /// When it is not valid or does not fit.
    pub(in super::super) fn set(
        &mut self,
        maps: &mut Maps,
        entry: &ServiceEntry,
        epoch: u64,
    ) -> Result<(), ContentError> {
        check::service(entry)?;
        let before = self.by_id.get(&entry.id).cloned().unwrap_or_default();
        let fresh = slots(entry);
        let mut frontends: Vec<ServiceKey> = entry
            .frontends
            .iter()
            .map(|(ip, port)| ServiceKey {
                address: Address::from(*ip),
                port: *port,
                protocol: entry.protocol,
                reserved: 0,
            })
            .collect();
        frontends.sort_unstable();
        frontends.dedup();
        let new = u64::from(!self.by_id.contains_key(&entry.id));
        fits(SERVICES, capacity::SERVICES, self.by_id.len() as u64 + new)?;
        // Both generations are there for a moment.
        fits(BACKENDS, capacity::BACKENDS, self.backends + fresh.len() as u64)?;
        fits(
            SERVICES,
            capacity::SERVICES,
            self.frontends - before.frontends.len() as u64 + frontends.len() as u64,
        )?;
        let consumer = entry.consumer_of.map(|(service, namespace)| ConsumerKey { service, namespace });
        fits(CONSUMERS, capacity::CONSUMERS, self.consumers + u64::from(consumer.is_some()))?;
        let same_slots = before.slots == fresh && self.by_id.contains_key(&entry.id);
        let generation = if same_slots { before.generation } else { before.generation.wrapping_add(1) };
        let loaded = Loaded {
            name: entry.name.clone(),
            generation,
            affinity_seconds: entry.affinity_seconds,
            flags: entry.flags,
            frontends,
            consumer,
            slots: fresh,
            epoch,
        };
        if !same_slots {
            write_slots(maps, entry.id, &loaded)?;
        }
        switch(maps, entry.id, &before, &loaded)?;
        if !same_slots {
            remove_slots(maps, entry.id, &before, &loaded)?;
        }
        self.count(&before, &loaded);
        self.by_id.insert(entry.id, loaded);
        Ok(())
    }

    /// Removes a Service port.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(in super::super) fn remove(&mut self, maps: &mut Maps, id: u64) -> Result<(), ContentError> {
        let Some(before) = self.by_id.remove(&id) else { return Ok(()) };
        let nothing = Loaded { generation: before.generation.wrapping_add(1), ..Loaded::default() };
        self.count(&before, &nothing);
        switch(maps, id, &before, &nothing)?;
        remove_slots(maps, id, &before, &nothing)?;
        Ok(())
    }

    /// Removes what `epoch` did not name.
    pub(super) fn sweep(&mut self, maps: &mut Maps, epoch: u64) {
        let gone: Vec<u64> =
            self.by_id.iter().filter(|(_, loaded)| loaded.epoch != epoch).map(|(id, _)| *id).collect();
        for id in gone {
            if let Err(error) = self.remove(maps, id) {
                tracing::error!(service = id, %error, "cannot remove a Service that is gone");
            }
        }
    }

    /// The name of a Service port.
    pub(in super::super) fn name(&self, id: u64) -> Option<&str> {
        self.by_id.get(&id).map(|loaded| loaded.name.as_str())
    }

    /// All of them: id, name, generation, frontends, slots.
    pub(in super::super) fn all(&self) -> impl Iterator<Item = (u64, &str, u32, &[ServiceKey], &[Backend])> {
        self.by_id.iter().map(|(id, loaded)| {
            let name = loaded.name.as_str();
            (*id, name, loaded.generation, loaded.frontends.as_slice(), loaded.slots.as_slice())
        })
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes { frontends: self.frontends, consumers: self.consumers, backends: self.backends }
    }
}

fn write_slots(maps: &mut Maps, id: u64, loaded: &Loaded) -> Result<(), MapFailure> {
    for (slot, backend) in (0..).zip(&loaded.slots) {
        let key = BackendKey { service: id, generation: loaded.generation, slot };
        maps.backends.insert(key, backend, 0).map_err(on(BACKENDS))?;
    }
    for backend in endpoints(&loaded.slots) {
        maps.members.insert(member(id, backend), backend.flags as u8, 0).map_err(on(MEMBERS))?;
    }
    Ok(())
}

/// Points the frontends at the new generation and removes those that are gone.
fn switch(maps: &mut Maps, id: u64, before: &Loaded, after: &Loaded) -> Result<(), MapFailure> {
    let value = Service {
        id,
        generation: after.generation,
        slots: after.slots.len() as u32,
        affinity_seconds: after.affinity_seconds,
        flags: after.flags,
    };
    let changed = before.generation != after.generation
        || before.affinity_seconds != after.affinity_seconds
        || before.flags != after.flags
        || before.slots.len() != after.slots.len();
    for key in &after.frontends {
        if changed || before.frontends.binary_search(key).is_err() {
            maps.services.insert(key, value, 0).map_err(on(SERVICES))?;
        }
    }
    if let Some(key) = after.consumer.filter(|key| changed || before.consumer != Some(*key)) {
        maps.consumers.insert(key, value, 0).map_err(on(CONSUMERS))?;
    }
    if let Some(key) = before.consumer.filter(|key| after.consumer != Some(*key))
        && maps.consumers.get(&key, 0).is_ok_and(|there| there.id == id)
    {
        absent_is_fine(maps.consumers.remove(&key)).map_err(on(CONSUMERS))?;
    }
    let gone = before.frontends.iter().filter(|key| after.frontends.binary_search(key).is_err());
    for key in gone {
        // Another Service may have taken the frontend over meanwhile; then it is not ours to remove.
        if maps.services.get(key, 0).is_ok_and(|there| there.id == id) {
            absent_is_fine(maps.services.remove(key)).map_err(on(SERVICES))?;
        }
    }
    Ok(())
}

fn remove_slots(maps: &mut Maps, id: u64, before: &Loaded, after: &Loaded) -> Result<(), MapFailure> {
    let stay: BTreeSet<MemberKey> = endpoints(&after.slots).map(|slot| member(id, slot)).collect();
    for (slot, _) in (0..).zip(&before.slots) {
        let key = BackendKey { service: id, generation: before.generation, slot };
        absent_is_fine(maps.backends.remove(&key)).map_err(on(BACKENDS))?;
    }
    for member in endpoints(&before.slots).map(|slot| member(id, slot)) {
        if !stay.contains(&member) {
            absent_is_fine(maps.members.remove(&member)).map_err(on(MEMBERS))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use mesh_ebpf::abi::Backend;

    use super::{endpoints, slots};
    use crate::handover::{EndpointEntry, ServiceEntry};

    #[test]
    fn what_is_refused_has_a_slot_and_is_no_endpoint() {
        let endpoint = |last, weight, enrolled| EndpointEntry {
            address: [10, 0, 0, last].into(),
            port: 8080,
            weight,
            enrolled,
        };
        let entry = ServiceEntry {
            id: 1,
            name: "a/b:80".to_owned(),
            frontends: Vec::new(),
            consumer_of: None,
            flags: 0,
            protocol: 6,
            affinity_seconds: 0,
            endpoints: vec![endpoint(1, 1, true), endpoint(2, 1, false)],
            closed: 2,
        };
        let made = slots(&entry);
        let flags: Vec<u16> = made.iter().map(|slot| slot.flags).collect();
        assert_eq!(flags, [Backend::PICKED | Backend::ENROLLED, Backend::PICKED, 0]);
        assert_eq!(endpoints(&made).count(), 2);
        let kept = |own: usize| (f64::from(made[own].threshold) + 1.0) / 2f64.powi(32);
        let to =
            |own: usize, slot: usize| if made[own].alias as usize == slot { 1.0 - kept(own) } else { 0.0 };
        let share = (kept(2) + to(0, 2) + to(1, 2)) / 3.0;
        assert!((share - 0.5).abs() < 1e-6, "{share}");
        assert_eq!(slots(&ServiceEntry { closed: 0, ..entry }).len(), 2);
    }
}
