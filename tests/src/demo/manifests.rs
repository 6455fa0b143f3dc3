//! The manifests that the demo is shown on, as they lie in their directory.

use std::{fs, path::Path};

use serde::Deserialize as _;
use serde_json::Value;

use super::Error;

/// Every object, in the order of the files.
#[derive(Debug)]
pub(super) struct Manifests {
    text: String,
    objects: Vec<Value>,
}

impl Manifests {
    /// Those of a directory.
    pub(super) fn read(directory: &Path) -> Result<Self, Error> {
        let reading = || Error::io(format!("read {}", directory.display()));
        let mut files = Vec::new();
        for entry in fs::read_dir(directory).map_err(reading())? {
            files.push(entry.map_err(reading())?.path());
        }
        files.sort();
        let texts = files.iter().map(fs::read_to_string).collect::<Result<Vec<_>, _>>().map_err(reading())?;
        let text = texts.join("\n---\n");
        let documents = serde_yaml_ng::Deserializer::from_str(&text).map(Value::deserialize);
        let objects = documents.collect::<Result<_, _>>().map_err(|error| Error::Testbed(error.into()))?;
        Ok(Self { text, objects })
    }

    /// As they are.
    pub(super) fn text(&self) -> String {
        self.text.clone()
    }

    /// One of them.
    pub(super) fn object(&self, kind: &str, namespace: &str, name: &str) -> Result<String, Error> {
        let is_it = |object: &&Value| {
            let metadata = &object["metadata"];
            object["kind"] == kind
                && metadata["name"] == name
                && metadata["namespace"].as_str().unwrap_or_default() == namespace
        };
        let found = self.objects.iter().find(is_it).ok_or_else(|| missing(kind, name))?;
        yaml(found)
    }

    /// The MeshConfig, with workload certificates that live only so long.
    pub(super) fn with_short_lives(&self, life: &str) -> Result<String, Error> {
        let found = self.objects.iter().find(|object| object["kind"] == "MeshConfig");
        let mut object = found.cloned().ok_or_else(|| missing("MeshConfig", "default"))?;
        object["spec"]["ca"]["workloadTTL"] = life.into();
        yaml(&object)
    }
}

/// What JSON is is YAML of every version, too.
fn yaml(object: &Value) -> Result<String, Error> {
    serde_json::to_string(object)
        .map_err(|source| Error::Json { what: "an object of the manifests".to_owned(), source })
}

fn missing(kind: &str, name: &str) -> Error {
    Error::Unexpected { program: "the manifests".to_owned(), said: format!("there is no {kind} {name}") }
}
