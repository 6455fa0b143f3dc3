//! What the authority must not forget.

use serde::{Deserialize, Serialize};

use super::{
    keep::{Keep, KeepError},
    lives::Lives,
    material::Material,
    nodes::Nodes,
    rotation::{Phase, Rotation},
    time::Timestamp,
    tokens::Tokens,
};

/// The version of its form.
const VERSION: u32 = 1;

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
    /// How long what was signed so far may be in use.
    #[serde(default)]
    pub(super) lives: Lives,
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
            lives: Lives::default(),
        }
    }
}

/// Why the state cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Where it is kept.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// Its content.
    #[error(
        "{place} cannot be read: {cause}; restore it from a backup. Without it every node has to join anew: then remove it and, where a directory has an authority that was generated, tls.crt, tls.key and ca.crt beside it"
    )]
    Form {
        /// Where it is kept.
        place: String,
        /// What the parser says.
        #[source]
        cause: serde_json::Error,
    },
    /// It is of a later controller.
    #[error("{place} has version {version}, this controller reads {VERSION}; run the newer controller")]
    Version {
        /// Where it is kept.
        place: String,
        /// Its version.
        version: u32,
    },
}

impl State {
    /// Begins the replacement of the root.
    pub(super) fn replace_root(&mut self, next: Material, now: Timestamp) {
        self.next = Some(next);
        self.rotation = Rotation::at(Phase::Distributing, now);
    }

    /// Reads it; where none is kept yet this is the first.
    pub(super) fn load(keep: &dyn Keep) -> Result<Self, StateError> {
        let Some(text) = keep.load()? else { return Ok(Self::default()) };
        let state: Self =
            serde_json::from_str(&text).map_err(|cause| StateError::Form { place: keep.place(), cause })?;
        if state.version != VERSION {
            return Err(StateError::Version { place: keep.place(), version: state.version });
        }
        Ok(state)
    }

    /// Writes it over `last`, which is what is kept now. Not all of it is written down.
    pub(super) fn save(&self, last: &Self, keep: &dyn Keep) -> Result<(), StateError> {
        let (text, last) = (self.text(keep)?, last.text(keep)?);
        if text == last { Ok(()) } else { Ok(keep.save(&text)?) }
    }

    /// Writes it though it should be there.
    pub(super) fn save_again(&self, keep: &dyn Keep) -> Result<(), StateError> {
        Ok(keep.save(&self.text(keep)?)?)
    }

    fn text(&self, keep: &dyn Keep) -> Result<String, StateError> {
        let text = serde_json::to_string_pretty(self);
        text.map_err(|cause| StateError::Form { place: keep.place(), cause })
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
