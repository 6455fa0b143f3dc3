//! What the authority must not forget: one file, replaced whole, so that every step of it is done
//! or not done.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    files::{self, FileError},
    material::Material,
    nodes::Nodes,
    rotation::Rotation,
    tokens::Tokens,
};

/// The version of the file's form.
const VERSION: u32 = 1;
/// Its name in the authority's directory.
const NAME: &str = "state.json";

/// What the authority has decided so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    version: u32,
    /// What signs now; nothing before the first.
    pub(super) current: Option<Material>,
    /// What will sign, while nodes are told of its roots.
    pub(super) next: Option<Material>,
    /// Roots of before, in PEM, while certificates of theirs are still in use.
    pub(super) retired: Option<String>,
    /// Counts up by one with each new root that signs.
    pub(super) generation: u64,
    pub(super) rotation: Rotation,
    pub(super) nodes: Nodes,
    pub(super) tokens: Tokens,
    /// Hashes of the files that the controller itself wrote to its directory last: others there
    /// are an authority that somebody gives.
    pub(super) exported: Vec<String>,
    pub(super) trust_domain: String,
    /// Nodes may still have certificates of this one.
    pub(super) previous_trust_domain: Option<String>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            version: VERSION,
            current: None,
            next: None,
            retired: None,
            generation: 0,
            rotation: Rotation::default(),
            nodes: Nodes::default(),
            tokens: Tokens::default(),
            exported: Vec::new(),
            trust_domain: String::new(),
            previous_trust_domain: None,
        }
    }
}

/// Why the state cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its content.
    #[error(
        "{path} cannot be read: {cause}; restore it from a backup. Without it every node has to join anew: then remove the file and, where the authority was generated, tls.crt, tls.key and ca.crt beside it"
    )]
    Form {
        /// The file.
        path: String,
        /// What the parser says.
        #[source]
        cause: serde_json::Error,
    },
    /// It is of a later controller.
    #[error("{path} has version {version}, this controller reads {VERSION}; run the newer controller")]
    Version {
        /// The file.
        path: String,
        /// Its version.
        version: u32,
    },
}

impl State {
    /// Reads it; a directory that has none gives the first state.
    pub(super) fn load(directory: &Path) -> Result<Self, StateError> {
        let path = directory.join(NAME);
        let shown = || path.display().to_string();
        let Some(text) = files::read(&path)? else { return Ok(Self::default()) };
        let state: Self =
            serde_json::from_str(&text).map_err(|cause| StateError::Form { path: shown(), cause })?;
        if state.version != VERSION {
            return Err(StateError::Version { path: shown(), version: state.version });
        }
        Ok(state)
    }

    /// Writes it.
    pub(super) fn save(&self, directory: &Path) -> Result<(), StateError> {
        let path = directory.join(NAME);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|cause| StateError::Form { path: path.display().to_string(), cause })?;
        Ok(files::write(&path, &text, None)?)
    }

    /// Every root that is believed, in PEM.
    pub(super) fn roots(&self) -> String {
        let current = self.current.iter().map(|material| material.roots.as_str());
        let next = self.next.iter().map(|material| material.roots.as_str());
        let mut all: Vec<&str> = Vec::new();
        for roots in current.chain(next).chain(self.retired.as_deref()) {
            if !all.contains(&roots) {
                all.push(roots);
            }
        }
        all.iter().map(|roots| format!("{}\n", roots.trim())).collect()
    }
}
