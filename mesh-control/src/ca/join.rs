//! Join files: what a node's agent is given to ask for its first certificate.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::files::{self, FileError};

/// The content of a join file. Agents read the same form.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinFile {
    /// The form's version, 1.
    pub version: u32,
    /// The node that may join with it.
    pub node: String,
    /// Good once.
    pub token: String,
    /// The controller's identity is `spiffe://<trust domain>/mesh/control`.
    pub trust_domain: String,
    /// What vouches for the controller, in PEM.
    pub roots: String,
}

/// The directory of join files, one for each node that is to join.
#[derive(Debug, Clone)]
pub(super) struct JoinFiles {
    directory: PathBuf,
    uid: Option<u32>,
}

impl JoinFiles {
    /// The files of `directory`, which are given to the user `uid`.
    pub(super) fn new(directory: PathBuf, uid: Option<u32>) -> Result<Self, FileError> {
        // Each agent may open its own by name and list none.
        files::make_directory(&directory, 0o711)?;
        Ok(Self { directory, uid })
    }

    /// A node's file. A node's name is no path: [`mesh_api::NodeId`] allows no `/`.
    pub(super) fn path(&self, node: &str) -> PathBuf {
        self.directory.join(node)
    }

    /// Writes a node's file.
    pub(super) fn write(&self, join: &JoinFile) -> Result<PathBuf, FileError> {
        let path = self.path(&join.node);
        // Texts and a number: nothing in it can fail to be written.
        let text = serde_json::to_string_pretty(join).unwrap_or_default();
        files::write(&path, text.as_bytes(), self.uid)?;
        Ok(path)
    }

    /// A node's file, if there is one that can be read.
    pub(super) fn read(&self, node: &str) -> Option<JoinFile> {
        let text = files::read(&self.path(node)).ok().flatten()?;
        serde_json::from_str(&text).ok()
    }

    /// Removes a node's file.
    pub(super) fn remove(&self, node: &str) -> Result<(), FileError> {
        files::remove(&self.path(node))
    }

    /// Removes the files of all but these nodes.
    pub(super) fn keep_only(&self, wanted: impl Fn(&str) -> bool) -> Result<(), FileError> {
        for entry in entries(&self.directory)? {
            if entry.file_name().and_then(|name| name.to_str()).is_none_or(|name| !wanted(name)) {
                files::remove(&entry)?;
            }
        }
        Ok(())
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, FileError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    list().map_err(FileError::new(directory, "list"))
}
