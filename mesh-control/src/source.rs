//! Where objects come from: a directory of Kubernetes YAML (`--source dir:PATH`).
//!
//! [`directory`] finds the files and notices changes, [`yaml`] cuts them into documents,
//! [`decode`] makes objects of documents, [`merge`] puts the files' objects together and
//! [`overlay`] lays what the kubelet part wrote over them. [`Directory::load`] runs the whole
//! chain; whatever could not be taken becomes a condition and stops nothing else.

mod decode;
mod directory;
mod kinds;
mod merge;
mod overlay;
mod watch;
mod yaml;

#[cfg(test)]
mod tests;

pub use directory::{Directory, SourceError};
pub use watch::Watch;

use crate::objects::{Conditions, Objects};

/// One state of the source.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The objects that could be taken.
    pub objects: Objects,
    /// What could not, and why.
    pub problems: Conditions,
}

/// The objects of a text, as if it were the only file. Pods keep the status that they bring.
#[cfg(test)]
pub(crate) fn of_yaml(text: &str) -> Snapshot {
    use crate::objects::{ObjectName, ObjectRef};
    let file = ObjectRef {
        api_version: String::new(),
        kind: "File".to_owned(),
        name: ObjectName::cluster("test.yaml"),
    };
    let documents = yaml::documents(text).into_iter();
    let decoded: Vec<_> =
        documents.flat_map(|document| decode::decode(document.expect("valid YAML"), &file)).collect();
    let (objects, problems) =
        merge::merge(decoded.iter().map(|decoded| ("test.yaml", decoded)), &Objects::default());
    Snapshot { objects, problems }
}
