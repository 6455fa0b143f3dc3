//! What Helm gives for the chart is what `meshctl install` gives, for every documented value, and Helm refuses what it
//! refuses. `cargo xtask helm` builds Helm and runs this.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde::Deserialize as _;
use serde_json::{Value, json};

/// Values, each file with something else than the default; together every one that there is.
fn choices() -> Vec<(PathBuf, Value)> {
    let folder = chart().join("ci");
    let files =
        std::fs::read_dir(&folder).expect("the chart's choices").map(|entry| entry.expect("a file").path());
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("text");
        let values =
            serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, values)
    };
    let choices: Vec<_> = files.map(read).collect();
    assert!(choices.len() > 1, "{} has nothing to choose", folder.display());
    choices
}

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chart")
}

fn helm(arguments: &[&str]) -> Output {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/helm/helm");
    let output = Command::new(&path).args(arguments).output();
    output.unwrap_or_else(|error| panic!("{}: {error}; it is built by: cargo xtask helm", path.display()))
}

/// What a program prints, if it succeeds.
fn said(output: Output) -> Result<String, String> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn template(values: &Path) -> Result<String, String> {
    let (chart, values) = (chart(), values.to_str().expect("a plain path"));
    let chart = chart.to_str().expect("a plain path");
    said(helm(&["template", "mesh", chart, "--namespace", "mesh-system", "--values", values]))
}

/// The same by us. Whether the namespace is among it is said, because the defaults differ: who applies by hand has nobody
/// else who makes it.
fn install(values: &Path, namespace: bool) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshctl"));
    command.args(["install", "--set", &format!("namespace.create={namespace}"), "--values"]).arg(values);
    said(command.output().expect("meshctl"))
}

/// The objects of a stream by kind and name, without the word for who rendered them.
fn objects(stream: &str) -> BTreeMap<(String, String), Value> {
    let mut objects = BTreeMap::new();
    for document in serde_yaml_ng::Deserializer::from_str(stream) {
        let mut object = Value::deserialize(document).expect("YAML");
        if object.is_null() {
            continue;
        }
        for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
            if let Some(labels) = object.pointer_mut(labels).and_then(Value::as_object_mut) {
                labels.remove("app.kubernetes.io/managed-by");
            }
        }
        let name = |pointer| object.pointer(pointer).and_then(Value::as_str).expect("an object").to_owned();
        let key = (name("/kind"), name("/metadata/name"));
        assert!(objects.insert(key.clone(), object).is_none(), "{key:?} is there twice");
    }
    objects
}

fn file(folder: &Path, values: &Value) -> PathBuf {
    let path = folder.join("values.yaml");
    std::fs::write(&path, values.to_string()).expect("a file");
    path
}

#[test]
#[ignore = "needs Helm: cargo xtask helm"]
fn helm_gives_the_same_objects_for_every_value() {
    for (path, values) in choices() {
        let namespace = values.pointer("/namespace/create") == Some(&json!(true));
        let (by_helm, by_us) = (template(&path), install(&path, namespace));
        let by_helm = objects(&by_helm.unwrap_or_else(|error| panic!("helm, {values}: {error}")));
        let by_us = objects(&by_us.unwrap_or_else(|error| panic!("meshctl, {values}: {error}")));
        assert_eq!(by_helm.keys().collect::<Vec<_>>(), by_us.keys().collect::<Vec<_>>(), "{values}");
        for (key, object) in &by_helm {
            assert_eq!(*object, by_us[key], "{key:?} with {values}");
        }
    }
}

#[test]
fn the_choices_are_of_every_value() {
    let text = std::fs::read_to_string(chart().join("values.yaml")).unwrap();
    let defaults: Value = serde_yaml_ng::from_str(&text).unwrap();
    let mut paths = Vec::new();
    leaves(&defaults, "", &mut paths);
    for path in paths {
        let changed = |values: &Value| {
            values.pointer(&path).is_some_and(|value| Some(value) != defaults.pointer(&path))
        };
        assert!(
            choices().iter().any(|(_, values)| changed(values)),
            "{path} is never another than the default"
        );
    }
}

fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            // What a user adds to a map of labels changes the map.
            for (name, value) in fields.iter().filter(|(name, _)| !name.contains('/')) {
                leaves(value, &format!("{path}/{name}"), found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

#[test]
#[ignore = "needs Helm: cargo xtask helm"]
fn helm_refuses_what_meshctl_refuses() {
    let folder = tempfile::tempdir().unwrap();
    for values in [
        json!({"agnet": {}}),
        json!({"controller": {"repicas": 2}}),
        json!({"controller": {"replicas": 0}}),
        json!({"controller": {"replicas": "two"}}),
        json!({"images": {"pullPolicy": "Sometimes"}}),
        json!({"node": {"cgroup2": "sys/fs/cgroup"}}),
        json!({"agent": {"maxSurge": 0}}),
        json!({"agent": {"maxSurge": "110%"}}),
        json!({"agent": {"maxSnapshotAge": "a day"}}),
        json!({"agent": {"tolerations": [{"operater": "Exists"}]}}),
    ] {
        let path = file(folder.path(), &values);
        assert!(template(&path).is_err(), "helm takes {values}");
        assert!(install(&path, false).is_err(), "meshctl takes {values}");
    }
}

#[test]
#[ignore = "needs Helm: cargo xtask helm"]
fn helm_finds_nothing_wrong_with_the_chart() {
    for (path, values) in choices() {
        let chart = chart();
        let arguments = ["lint", "--strict", chart.to_str().unwrap(), "--values", path.to_str().unwrap()];
        said(helm(&arguments)).unwrap_or_else(|error| panic!("{values}: {error}"));
    }
}
