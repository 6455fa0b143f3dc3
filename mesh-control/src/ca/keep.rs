//! Where the authority's state is kept: one text, replaced whole, so that every step is done or not
//! done.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::files::{self, FileError};

/// Its name in the authority's directory.
const NAME: &str = "state.json";

/// Keeps one text. Calls wait for a disk or a server, so they are not for a thread that serves.
pub trait Keep: fmt::Debug + Send + Sync {
    /// What to look at when something is wrong with it.
    fn place(&self) -> String;

    /// The text; nothing where none was kept yet.
    ///
    /// # Errors
    /// When it cannot be had: that is not the same as that there is none.
    fn load(&self) -> Result<Option<String>, KeepError>;

    /// Replaces the text.
    ///
    /// # Errors
    /// When it may not have been replaced.
    fn save(&self, text: &str) -> Result<(), KeepError>;
}

/// Why the state is not read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Something that is kept elsewhere.
    #[error("the authority's state in {place} cannot be {action}: {why}")]
    Elsewhere {
        /// Where.
        place: String,
        /// `read` or `written`.
        action: &'static str,
        /// Why, and what to do.
        why: String,
    },
}

/// A file of a directory.
#[derive(Debug)]
pub(super) struct File(PathBuf);

impl File {
    pub(super) fn of(directory: &Path) -> Self {
        Self(directory.join(NAME))
    }
}

impl Keep for File {
    fn place(&self) -> String {
        self.0.display().to_string()
    }

    fn load(&self) -> Result<Option<String>, KeepError> {
        Ok(files::read(&self.0)?)
    }

    fn save(&self, text: &str) -> Result<(), KeepError> {
        Ok(files::write(&self.0, text.as_bytes(), None)?)
    }
}
