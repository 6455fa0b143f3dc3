//! 1.3: what is left of a pod a second after its end.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use super::{Unknown, bed, scene};
use scene::{
    NAMESPACE, NODE, SOON,
    counts::{dump, eventually},
    held::Held,
    manifest::{SERVE, pod},
    port_of,
};

/// How long nothing may come or go for the node to be at rest.
const REST: Duration = Duration::from_secs(1);

/// The second that it may take, with what a busy machine adds.
const LIMIT: Duration = Duration::from_secs(4);

/// Names of everything pinned below `folder`.
fn pins(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            names.extend(pins(&entry.path()));
        } else {
            names.insert(entry.path().display().to_string());
        }
    }
    names
}

/// The maps whose entries come and go with pods.
const MAPS: [&str; 5] = ["mesh_pods", "mesh_local", "mesh_ifaces", "mesh_probes", "mesh_workloads"];

#[test]
fn nothing_of_a_pod_is_left_a_second_after_its_end() {
    let bed = bed(Unknown::Open);
    let folder = bed.node(NODE).pins;
    let sizes = || {
        let dump = dump(&bed);
        MAPS.map(|map| {
            dump["maps"][map]["entries"].as_u64().unwrap_or_else(|| panic!("no {map}: {}", dump["maps"]))
        })
    };
    // Tests before this one may still be on their way out, the node's own pods on their way in.
    let now = || (pins(&folder), sizes());
    let mut at_rest = now();
    eventually(&bed, "the node to be at rest", SOON * 3, || {
        let before = std::mem::replace(&mut at_rest, now());
        std::thread::sleep(REST);
        if now() == before { Ok(()) } else { Err("pins or entries come and go".to_owned()) }
    });
    let (pins_before, sizes_before) = at_rest;

    bed.apply(&pod("brief", SERVE)).unwrap();
    bed.wait_serving(NAMESPACE, "brief", SOON).unwrap();
    bed.wait_ready(NAMESPACE, "brief", SOON).unwrap();
    bed.wait_wired(NAMESPACE, "brief", SOON).unwrap();
    let uid = bed.pod(NAMESPACE, "brief").unwrap().uid;
    // With a connection open, which pins its namespace.
    let held = Held::open(&bed, NAMESPACE, "friend", port_of(&bed, "brief"), 60_000);
    let added: Vec<String> = pins(&folder).difference(&pins_before).cloned().collect();
    assert!(!added.is_empty(), "a wired pod has pins of its own");
    let grown = sizes();
    assert!(
        grown[0] > sizes_before[0] && grown[1] > sizes_before[1] && grown[2] > sizes_before[2],
        "{grown:?}"
    );

    bed.delete("Pod", NAMESPACE, "brief").unwrap();
    bed.wait_gone(NAMESPACE, "brief", SOON).unwrap();
    eventually(&bed, "everything of the pod to be gone", LIMIT, || {
        let left: Vec<String> = added.iter().filter(|pin| Path::new(pin).exists()).cloned().collect();
        let now = sizes();
        let known = dump(&bed)["pods"].as_array().unwrap().iter().any(|pod| pod["uid"] == uid.as_str());
        if left.is_empty() && !known && now <= sizes_before {
            Ok(())
        } else {
            Err(format!(
                "pins {left:?}, entries of {MAPS:?} {sizes_before:?} before, {now:?} now, listed: {known}"
            ))
        }
    });
    let end = held.end();
    assert!(end.contains("ECONN") || end.contains("closed by the peer"), "{end}");
}
