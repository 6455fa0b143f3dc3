//! Compiled policy sets. A set never changes: its id is the hash of what it holds. It is written
//! before a pod names it and removed after the last one stopped.

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::lpm_trie::Key;
use mesh_ebpf::abi::capacity;
use mesh_ebpf::policy::{CidrKey, RulingKey, SetId};

use super::super::maps::{MapFailure, Maps, absent_is_fine};
use super::{ContentError, check, fits, on};
use crate::handover::{PolicySet, SetDigest};

const RULINGS: &str = "mesh_rulings";
const CIDRS: &str = "mesh_cidrs";

/// Most sets at once; one names at least one rule of its own or none at all.
const SETS: u32 = 65_536;

/// A set that is in the kernel.
#[derive(Debug, Clone, Default)]
struct Loaded {
    rulings: Vec<(u32, RulingKey)>,
    cidrs: Vec<(u32, CidrKey)>,
    digest: SetDigest,
    rules: Vec<(String, String)>,
    epoch: u64,
    /// relay said that it is gone.
    unwanted: bool,
}

/// Mirror of `mesh_rulings` and `mesh_cidrs`, by set.
#[derive(Debug, Default)]
pub(in super::super) struct Sets {
    by_id: BTreeMap<SetId, Loaded>,
    /// Those that were written whole.
    ids: BTreeSet<SetId>,
    /// Ids that two sets were found to have.
    twins: BTreeSet<SetId>,
    sizes: Sizes,
}

/// How many entries there are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sizes {
    /// Of `mesh_rulings`.
    pub(super) rulings: u64,
    /// Of `mesh_cidrs`.
    pub(super) cidrs: u64,
}

impl Sets {
    pub(super) fn adopt(maps: &Maps) -> Result<Self, MapFailure> {
        let mut sets = Self::default();
        for key in maps.rulings.keys() {
            let key = key.map_err(on(RULINGS))?;
            let data = key.data();
            let id = SetId(u64::from_ne_bytes(data.set));
            sets.by_id.entry(id).or_default().rulings.push((key.prefix_len(), data));
        }
        for key in maps.cidrs.keys() {
            let key = key.map_err(on(CIDRS))?;
            let data = key.data();
            let id = SetId(u64::from_ne_bytes(data.set));
            sets.by_id.entry(id).or_default().cidrs.push((key.prefix_len(), data));
        }
        // An earlier wire may have died while writing one, so none counts as whole: relay sends
        // every set again, and writing it again is harmless.
        sets.count();
        Ok(sets)
    }

    fn count(&mut self) {
        self.sizes = self.by_id.values().fold(Sizes::default(), |sizes, set| Sizes {
            rulings: sizes.rulings + set.rulings.len() as u64,
            cidrs: sizes.cidrs + set.cidrs.len() as u64,
        });
    }

    /// Writes a set, unless it is there.
    ///
    /// # Errors
    /// When it is not valid, does not fit, or is other than one of the same id that is there; then
    /// nothing of it stays, nor of the other, and pods that name either are refused everything.
    pub(in super::super) fn set(
        &mut self,
        maps: &mut Maps,
        set: &PolicySet,
        epoch: u64,
    ) -> Result<(), ContentError> {
        check::set(set)?;
        let before = self.by_id.get(&set.id).cloned().unwrap_or_default();
        let loaded = Loaded {
            rulings: set.rulings.iter().map(|(bits, key, _)| (*bits, *key)).collect(),
            cidrs: set.cidrs.iter().map(|(bits, key, _)| (*bits, *key)).collect(),
            digest: set.digest(),
            rules: set.rules.clone(),
            epoch,
            unwanted: false,
        };
        let differs = self.ids.contains(&set.id) && before.digest != loaded.digest;
        if differs || self.twins.contains(&set.id) {
            return Err(self.close(maps, set.id));
        }
        let new = u64::from(!self.by_id.contains_key(&set.id));
        fits(RULINGS, SETS, self.by_id.len() as u64 + new)?;
        let replaced = |all: u64, old: usize, new: usize| all - old as u64 + new as u64;
        fits(
            RULINGS,
            capacity::RULINGS,
            replaced(self.sizes.rulings, before.rulings.len(), loaded.rulings.len()),
        )?;
        fits(CIDRS, capacity::CIDRS, replaced(self.sizes.cidrs, before.cidrs.len(), loaded.cidrs.len()))?;
        self.by_id.insert(set.id, loaded);
        self.count();
        if self.ids.contains(&set.id) {
            return Ok(());
        }
        if let Err(error) = write(maps, set) {
            let _ = self.erase(maps, set.id);
            return Err(error.into());
        }
        self.ids.insert(set.id);
        Ok(())
    }

    /// Takes a set out of force, for as long as relay wants one of its id: what is missing denies. An id is a hash cut short, and who
    /// writes policies chooses what is hashed, so one of the two may be made to look like the other.
    fn close(&mut self, maps: &mut Maps, id: SetId) -> ContentError {
        let name = format!("{:#x}", id.0);
        tracing::error!(
            set = name,
            "two policies have the same id and different content; pods under either are refused everything"
        );
        self.twins.insert(id);
        match self.erase(maps, id) {
            Err(error) => error.into(),
            Ok(()) => ContentError::Invalid {
                field: "id",
                value: name,
                problem: "is that of a set with other content: change one of the two policies",
            },
        }
    }

    /// Notes that relay does not need a set any more; it goes at the next [`Sets::collect`].
    pub(in super::super) fn unwanted(&mut self, id: SetId) {
        self.twins.remove(&id);
        if let Some(loaded) = self.by_id.get_mut(&id) {
            loaded.unwanted = true;
        }
    }

    /// Removes unwanted sets that no pod names.
    pub(in super::super) fn collect(&mut self, maps: &mut Maps, named: &BTreeSet<SetId>) {
        let gone: Vec<SetId> = self
            .by_id
            .iter()
            .filter(|(id, loaded)| loaded.unwanted && !named.contains(id))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            if let Err(error) = self.erase(maps, id) {
                tracing::error!(set = format!("{:#x}", id.0), %error, "cannot remove a policy set");
            }
        }
    }

    /// Marks what `epoch` did not name as unwanted, and collects.
    pub(super) fn sweep(&mut self, maps: &mut Maps, epoch: u64, named: &BTreeSet<SetId>) {
        for loaded in self.by_id.values_mut() {
            loaded.unwanted |= loaded.epoch != epoch;
        }
        self.collect(maps, named);
    }

    fn erase(&mut self, maps: &mut Maps, id: SetId) -> Result<(), MapFailure> {
        let Some(loaded) = self.by_id.remove(&id) else { return Ok(()) };
        self.ids.remove(&id);
        self.sizes.rulings -= loaded.rulings.len() as u64;
        self.sizes.cidrs -= loaded.cidrs.len() as u64;
        for (bits, key) in &loaded.rulings {
            absent_is_fine(maps.rulings.remove(&Key::new(*bits, *key))).map_err(on(RULINGS))?;
        }
        for (bits, key) in &loaded.cidrs {
            absent_is_fine(maps.cidrs.remove(&Key::new(*bits, *key))).map_err(on(CIDRS))?;
        }
        Ok(())
    }

    /// The sets that are in the kernel as a whole.
    pub(in super::super) fn ids(&self) -> &BTreeSet<SetId> {
        &self.ids
    }

    /// All of them: id, number of entries, names of their rules.
    pub(in super::super) fn all(&self) -> impl Iterator<Item = (SetId, usize, &[(String, String)])> {
        self.by_id
            .iter()
            .map(|(id, loaded)| (*id, loaded.rulings.len() + loaded.cidrs.len(), loaded.rules.as_slice()))
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }
}

fn write(maps: &mut Maps, set: &PolicySet) -> Result<(), MapFailure> {
    for (bits, key, ruling) in &set.rulings {
        maps.rulings.insert(&Key::new(*bits, *key), ruling, 0).map_err(on(RULINGS))?;
    }
    for (bits, key, number) in &set.cidrs {
        maps.cidrs.insert(&Key::new(*bits, *key), number, 0).map_err(on(CIDRS))?;
    }
    Ok(())
}
