//! Why a source cannot be read.

use std::{io, path::PathBuf};

/// Why the source, or a part of it, could not be read. What was read before stays in force.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The directory, or one within it, cannot be listed.
    #[error("cannot list {}: {cause}; give --source dir: a readable directory", path.display())]
    List {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// It holds too many files.
    #[error("{} holds more than {limit} files; choose a directory that holds manifests only", path.display())]
    TooManyFiles {
        /// The directory.
        path: PathBuf,
        /// As many are read.
        limit: usize,
    },
    /// Kinds cannot be followed from the API server.
    #[error("cannot follow {why}")]
    Cluster {
        /// Which, and why.
        why: String,
    },
}
