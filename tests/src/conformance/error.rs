//! What keeps the suite from being run, and that it did not pass.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{cluster, tool};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// A program that is run for it.
    #[error(transparent)]
    Tool(#[from] tool::Error),
    /// A file.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The manifest of the suite's pods.
    #[error("{} names no image; is it the suite's manifest for meshes?", .0.display())]
    NoImage(PathBuf),
    /// The certificate of the suite's pods.
    #[error("cannot make the certificate of the suite's servers: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The suite did not pass.
    #[error("the suite failed: {0}")]
    Failed(String),
}

impl Error {
    /// For `map_err`: what was tried on which path.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}
