//! The status files: what there is to say, and nothing that is no longer true; [`cluster`] has what is
//! written to an API server.

mod cluster;

use std::fs;

use mesh_api::condition::Condition;

use super::files::Files;
use crate::objects::{Conditions, ObjectName, ObjectRef};

fn conditions(name: &str, message: &str) -> Conditions {
    let policy = ObjectRef::mesh("AccessPolicy", ObjectName::new("shop", name));
    let file = ObjectRef {
        api_version: String::new(),
        kind: "File".to_owned(),
        name: ObjectName::cluster("deep/a.yaml"),
    };
    let failed = |message: &str| vec![Condition::failed("Accepted", "Invalid", message).at(3)];
    Conditions::from([(policy, failed(message)), (file, failed("no"))])
}

#[test]
fn files_are_written_when_they_change_and_removed_when_they_are_no_longer_true() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("status");
    // Left behind by an earlier controller.
    fs::create_dir_all(root.join("AccessPolicy")).unwrap();
    fs::write(root.join("AccessPolicy/shop.old.yaml"), "x").unwrap();

    let mut files = Files::new(root.clone());
    files.write(&conditions("a", "first")).unwrap();
    let path = root.join("AccessPolicy/shop.a.yaml");
    let read: serde_yaml_ng::Value = serde_yaml_ng::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(read["apiVersion"], "mesh.internal/v1alpha1");
    assert_eq!(read["metadata"]["namespace"], "shop");
    let condition = &read["status"]["conditions"][0];
    assert_eq!((condition["type"].as_str(), condition["status"].as_str()), (Some("Accepted"), Some("False")));
    assert_eq!(
        (condition["message"].as_str(), condition["observedGeneration"].as_i64()),
        (Some("first"), Some(3))
    );
    assert!(root.join("File/deep_a.yaml.yaml").exists());
    assert!(!root.join("AccessPolicy/shop.old.yaml").exists());

    let written = fs::metadata(&path).unwrap().modified().unwrap();
    files.write(&conditions("a", "first")).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written, "unchanged files are left alone");
    files.write(&conditions("b", "second")).unwrap();
    assert!(!path.exists() && root.join("AccessPolicy/shop.b.yaml").exists());
}
