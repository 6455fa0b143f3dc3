//! What can go wrong with a testbed, from its user's side.

use std::io;

use crate::{layout, supervisor, tool};

/// An operation on a testbed failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its paths cannot be told.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// The supervisor ended while starting.
    #[error("testbed {name} did not come up:\n{log}")]
    Start {
        /// Its name.
        name: String,
        /// What the supervisor said.
        log: String,
    },
    /// None of that name runs.
    #[error("testbed {0:?} is not up; bring it up: cargo xtask up --name {0}")]
    NotUp(String),
    /// It was started by somebody else.
    #[error("testbed {0:?} was not started here")]
    NotOurs(String),
    /// There is no such pod.
    #[error("pod {namespace}/{name} is not there{}", if others.is_empty() { String::new() } else { format!("; there are: {}", others.join(", ")) })]
    NoPod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Those that there are.
        others: Vec<String>,
    },
    /// The pod has no sandbox, or the container does not run.
    #[error("pod {pod}: container {container:?} does not run")]
    NotRunning {
        /// Which pod.
        pod: String,
        /// Which container.
        container: String,
    },
    /// Something did not happen in time.
    #[error("waited {seconds:.1} s for {what}, in vain{}", if last.is_empty() { String::new() } else { format!("; last seen: {last}") })]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: f64,
        /// What was there instead.
        last: String,
    },
    /// A process of the mesh is not there.
    #[error("node {node}: no mesh-agent {part} runs")]
    NoAgent {
        /// Which node.
        node: String,
        /// Which half.
        part: String,
    },
    /// YAML that is none.
    #[error("not valid YAML: {0}")]
    Yaml(#[from] serde_yaml_ng::Error),
    /// JSON that is none.
    #[error("not valid JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// An object without kind or name.
    #[error("an object to apply needs kind and metadata.name")]
    Unnamed,
    /// An HTTP request to a process of the mesh failed.
    #[error("GET {path}: {problem}")]
    Http {
        /// Which.
        path: String,
        /// How.
        problem: String,
    },
    /// Leftovers that could not be removed.
    #[error(transparent)]
    Leftovers(#[from] supervisor::LeftoversError),
    /// A tool failed.
    #[error(transparent)]
    Tool(#[from] tool::Error),
    /// The file system or a process.
    #[error(transparent)]
    Io(#[from] io::Error),
}
