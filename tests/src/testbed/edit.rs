//! Changing the cluster while it runs: by changing its directory, one file an object.

use std::{fs, path::Path};

use serde::Deserialize as _;
use serde_yaml_ng::Value;

use super::{Error, Testbed};

impl Testbed {
    /// Adds or replaces objects, as `kubectl apply` does.
    ///
    /// # Errors
    /// If it is not YAML, or an object has no kind or name.
    pub fn apply(&self, yaml: &str) -> Result<(), Error> {
        write_objects(&self.directory, yaml)
    }

    /// Removes an object; that it is not there is no error. For kinds without a namespace, leave it empty.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<(), Error> {
        self.remove_file(&file_name(kind, namespace, name))
    }

    /// Writes a file of the directory as it is, for what no object can be made of.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_file(&self, name: &str, text: &str) -> Result<(), Error> {
        Ok(replace(&self.directory, name, text)?)
    }

    /// Removes a file of the directory; that it is not there is no error.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove_file(&self, name: &str) -> Result<(), Error> {
        match fs::remove_file(self.directory.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Writes every document to a file of its own.
pub(super) fn write_objects(directory: &Path, yaml: &str) -> Result<(), Error> {
    let documents = serde_yaml_ng::Deserializer::from_str(yaml).map(Value::deserialize);
    for document in documents.collect::<Result<Vec<_>, _>>()? {
        if document.is_null() {
            continue;
        }
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let kind = text(document.get("kind"));
        let metadata = document.get("metadata");
        let name = text(metadata.and_then(|metadata| metadata.get("name")));
        let mut namespace = text(metadata.and_then(|metadata| metadata.get("namespace")));
        if kind.is_empty() || name.is_empty() {
            return Err(Error::Unnamed);
        }
        if namespace == "default" {
            namespace.clear();
        }
        replace(directory, &file_name(&kind, &namespace, &name), &serde_yaml_ng::to_string(&document)?)?;
    }
    Ok(())
}

fn file_name(kind: &str, namespace: &str, name: &str) -> String {
    let namespace = if namespace == "default" { "" } else { namespace };
    format!("{kind}.{namespace}.{name}.yaml")
}

/// At once, so that nobody reads half of it.
fn replace(directory: &Path, name: &str, text: &str) -> std::io::Result<()> {
    let fresh = directory.join(format!(".{name}.tmp"));
    fs::write(&fresh, text)?;
    fs::rename(fresh, directory.join(name))
}
