//! What the kernel holds of a node, by the numbers it gave: they tell adoption from a fresh start, and what is left.

use std::{collections::BTreeMap, collections::BTreeSet, fs};

use aya::{
    maps::{MapInfo, loaded_maps},
    programs::{loaded_links, loaded_programs},
};
use mesh_tests::testbed::Testbed;
use serde_json::Value;

use super::scene::{NODE, counts::dump};

/// Ids of everything the mesh has in the kernel for one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) programs: BTreeMap<String, u32>,
    pub(super) links: BTreeMap<String, u32>,
    pub(super) maps: BTreeMap<String, u32>,
}

impl Held {
    /// Of the running node.
    pub(super) fn now(bed: &Testbed) -> Self {
        let dump = dump(bed);
        Self { programs: ids(&dump["programs"]), links: ids(&dump["links"]), maps: pinned_maps(bed) }
    }

    /// What of it is still in the kernel, pinned or not.
    pub(super) fn left(&self) -> Vec<String> {
        let programs: BTreeSet<u32> =
            loaded_programs().filter_map(Result::ok).map(|info| info.id()).collect();
        let maps: BTreeSet<u32> = loaded_maps().filter_map(Result::ok).map(|info| info.id()).collect();
        let links: BTreeSet<u32> = loaded_links().filter_map(Result::ok).map(|info| info.id()).collect();
        let mut left = Vec::new();
        for (ours, all) in [(&self.programs, &programs), (&self.links, &links), (&self.maps, &maps)] {
            left.extend(
                ours.iter().filter(|(_, id)| all.contains(id)).map(|(name, id)| format!("{name} ({id})")),
            );
        }
        left
    }
}

fn ids(entries: &Value) -> BTreeMap<String, u32> {
    let entries = entries.as_object().unwrap_or_else(|| panic!("no table: {entries}"));
    let id = |entry: &Value| u32::try_from(entry["id"].as_u64().unwrap()).unwrap();
    entries.iter().map(|(name, entry)| (name.clone(), id(entry))).collect()
}

fn pinned_maps(bed: &Testbed) -> BTreeMap<String, u32> {
    let root = bed.node(NODE).pins;
    let schema = fs::read_dir(root).unwrap().next().expect("a schema is pinned").unwrap().path();
    let pins = fs::read_dir(schema.join("maps")).unwrap().map(|entry| entry.unwrap());
    let id = |path: &std::path::Path| MapInfo::from_pin(path).unwrap().id();
    pins.map(|pin| (pin.file_name().to_string_lossy().into_owned(), id(&pin.path()))).collect()
}
