//! The chart as it is rendered: what it promises, and that every value does something.

mod promises;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::{Document, Release, Values, chart, defaults, documents, generated, lay_over, manifest, render};

/// The objects with some values of one's own.
fn with(over: &Value) -> Vec<Document> {
    let mut values = defaults();
    lay_over(&mut values, over);
    documents(&values, &Release::default()).unwrap()
}

/// An object as data.
fn object(documents: &[Document], kind: &str, name: &str) -> Value {
    let found = documents.iter().find(|document| document.kind == kind && document.name == name);
    let found = found.unwrap_or_else(|| panic!("no {kind} {name}"));
    serde_yaml_ng::from_str(&found.text).unwrap()
}

/// Every path (RFC 6901) to something that is no map with entries.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                leaves(value, &format!("{path}/{name}"), found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

#[test]
fn what_is_generated_lies_in_deploy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (path, text) in generated().unwrap() {
        let there = std::fs::read_to_string(root.join(&path)).unwrap_or_default();
        assert!(there == text, "{path} is not as the types and the chart say; run: cargo xtask crds");
    }
}

#[test]
fn every_file_of_the_chart_is_embedded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chart/templates");
    let there: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| format!("templates/{}", entry.unwrap().file_name().into_string().unwrap()))
        .filter(|path| path != "templates/NOTES.txt")
        .collect();
    let written = chart::PARTS.iter().chain(&chart::FIRST).chain(&chart::THEN).map(|one| one.path.to_owned());
    let made = super::definitions::all().unwrap();
    let embedded: BTreeSet<String> = written
        .chain(made.iter().map(super::definitions::Definition::template_path))
        .chain([super::fields::PATH.to_owned()])
        .collect();
    assert_eq!(there, embedded);
}

#[test]
fn the_chart_is_of_this_version() {
    for line in ["version", "appVersion"].map(|field| format!("\n{field}: {}\n", env!("CARGO_PKG_VERSION"))) {
        assert!(chart::CHART.contains(&line), "{line}");
    }
}

#[test]
fn every_value_does_something() {
    let mut paths = Vec::new();
    leaves(&defaults(), "", &mut paths);
    assert!(paths.len() > 20, "{paths:?}");
    let render = |values: &Value| {
        render(values, &Release::default()).unwrap().into_iter().map(|one| one.text).collect::<String>()
    };
    let before = render(&defaults());
    for path in paths {
        let mut values = defaults();
        let value = values.pointer_mut(&path).unwrap();
        *value = match &*value {
            Value::Bool(value) => json!(!value),
            Value::Number(number) => json!(number.as_u64().unwrap() + 1),
            Value::String(text) => json!(format!("{text}x")),
            Value::Array(_) if path.ends_with("tolerations") => json!([{ "key": "changed" }]),
            Value::Array(_) if path.ends_with("Secrets") => json!([{ "name": "changed" }]),
            Value::Array(_) => json!(["changed"]),
            Value::Null => json!(7),
            Value::Object(_) => json!({ "changed": "x" }),
        };
        assert!(render(&values) != before, "{path} changes nothing");
    }
}

#[test]
fn templates_name_values_that_are_there() {
    let values = defaults();
    let files = chart::PARTS.iter().chain(&chart::FIRST).chain(&chart::THEN);
    for (file, text) in files.map(|one| (one.path, one.text)) {
        for after in text.split(".Values.").skip(1) {
            let end = after.find(|character: char| !character.is_ascii_alphanumeric() && character != '.');
            let path = after[..end.unwrap_or(after.len())].trim_end_matches('.').replace('.', "/");
            assert!(
                values.pointer(&format!("/{path}")).is_some(),
                "{file}: .Values.{path} is not in values.yaml"
            );
        }
    }
}

#[test]
fn wrong_values_are_refused_by_name() {
    for (over, says) in [
        (json!({"agent": {"tolerations": [{"operater": "Exists"}]}}), "agent.tolerations[0].operater"),
        (json!({"agnet": {}}), "agnet"),
        (json!({"controller": {"replicas": "two"}}), "controller.replicas"),
        (json!({"controller": {"replicas": 0}}), "controller.replicas"),
        (json!({"controller": {"replicas": null}}), "replicas"),
        (json!({"images": {"pullPolicy": "Sometimes"}}), "images.pullPolicy"),
        (json!({"node": {"cgroup2": "sys/fs/cgroup"}}), "node.cgroup2"),
        (json!({"agent": {"maxSurge": 0}}), "agent.maxSurge"),
        (json!({"agent": {"maxSurge": "110%"}}), "agent.maxSurge"),
        (json!({"agent": {"maxSnapshotAge": "a day"}}), "agent.maxSnapshotAge"),
        (json!({"agent": {"resources": {"relay": {"limit": {}}}}}), "agent.resources.relay.limit"),
    ] {
        let mut values = defaults();
        lay_over(&mut values, &over);
        let error = documents(&values, &Release::default()).unwrap_err().to_string();
        assert!(error.contains(says), "{over}: {error}");
    }
    Values::read(&defaults()).unwrap();
}

#[test]
fn the_schema_asks_for_what_the_types_ask_for() {
    let schema = super::values::schema();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    assert_eq!(schema["additionalProperties"], json!(false));
    let mut properties: Vec<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
    let mut names: Vec<_> = defaults().as_object().unwrap().keys().cloned().collect();
    properties.sort_unstable();
    names.sort_unstable();
    assert_eq!(properties, names);
}

#[test]
fn one_stream_begins_with_the_namespace_and_the_definitions() {
    let mut values = defaults();
    lay_over(&mut values, &json!({"namespace": {"create": true}, "images": {"tag": "v7"}}));
    let release = Release { namespace: "elsewhere".to_owned(), ..Release::default() };
    let text = manifest(&values, &release).unwrap();
    let kinds: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
    assert_eq!(
        kinds[..4],
        ["Namespace", "CustomResourceDefinition", "CustomResourceDefinition", "CustomResourceDefinition"]
    );
    assert!(
        !text.contains("mesh-system") && text.contains("mesh-agent:v7") && !text.contains("{{"),
        "{text}"
    );
}
