//! What keeps a claim from being tried.

use crate::{capture, cluster, testbed, tool};

/// A step of the demo failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The testbed.
    #[error(transparent)]
    Testbed(#[from] testbed::Error),
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// kubectl.
    #[error(transparent)]
    Tool(#[from] tool::Error),
    /// The capture between the nodes.
    #[error(transparent)]
    Capture(#[from] capture::Error),
    /// A program or file.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A program said something else than it should.
    #[error("{program} said something unexpected: {said}")]
    Unexpected {
        /// Which program.
        program: String,
        /// All it said.
        said: String,
    },
    /// JSON that is none.
    #[error("{what} is not valid JSON: {source}")]
    Json {
        /// Whose.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
}

impl Error {
    /// For `map_err`: what was tried when an I/O error came.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
