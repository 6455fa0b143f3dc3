//! The examples in `docs/examples` are accepted as they stand.

use std::{fs, path::Path};

use mesh_api::condition::ConditionStatus;

use super::{Mesh, pod};

#[test]
fn every_example_is_accepted() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples");
    let mut seen = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let mesh = Mesh::of(&(fs::read_to_string(&path).unwrap() + &pod("a", "n1", "10.0.0.1", "")));
        for (object, conditions) in &mesh.conditions {
            seen += 1;
            for condition in conditions.iter().filter(|condition| condition.kind == "Accepted") {
                assert_eq!(
                    condition.status,
                    ConditionStatus::True,
                    "{}: {object}: {}",
                    path.display(),
                    condition.message
                );
            }
        }
    }
    assert!(seen >= 8, "{seen} objects");
}
