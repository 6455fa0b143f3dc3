//! Where objects come from: a Kubernetes API server (`--source kubernetes`, [`kubernetes`]), or a
//! directory of the same YAML (`--source dir:PATH`).
//!
//! [`given`] reads texts once, for whom asks before anything is applied. Of a directory,
//! [`directory`] finds the files and notices changes, [`yaml`] cuts them into documents,
//! [`decode`] makes objects of documents, [`merge`] puts the files' objects together and
//! [`overlay`] lays what the kubelet part wrote over them. [`Directory::load`] runs the whole
//! chain; whatever could not be taken becomes a condition and stops nothing else.

mod decode;
mod directory;
mod error;
pub(crate) mod given;
mod kinds;
mod kubernetes;
mod merge;
mod overlay;
mod watch;
mod yaml;

#[cfg(test)]
mod tests;

pub use directory::Directory;
pub use error::SourceError;
#[cfg(test)]
pub(crate) use kubernetes::tests::api;
pub use kubernetes::{ConnectError, Kubernetes, Seen, connect};
pub(crate) use kubernetes::{path_of, random, told, wait};
pub use watch::Watch;

use crate::objects::{Conditions, Objects};

/// One state of the source.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The objects that could be taken.
    pub objects: Objects,
    /// What could not, and why.
    pub problems: Conditions,
    /// What of the source cannot be read now, though the rest can.
    pub trouble: Option<String>,
}

/// What the pipeline follows.
pub trait Source {
    /// The state now, if it changed since the last call.
    ///
    /// # Errors
    /// When the source cannot be read; what was read before stays in force.
    fn now(&mut self) -> Result<Option<Snapshot>, SourceError>;

    /// Waits until something may have changed, and returns what did, if anything.
    ///
    /// # Errors
    /// When the source cannot be read; what was read before stays in force.
    fn changed(&mut self) -> Result<Option<Snapshot>, SourceError>;
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
    Snapshot { objects, problems, trouble: None }
}
