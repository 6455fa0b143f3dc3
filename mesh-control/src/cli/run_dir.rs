//! Where the sockets are.

use std::io;
use std::path::{Path, PathBuf};

use super::client::{At, Socket};
use super::node::Node;

/// Testbeds put their run directories here.
const TESTBEDS: &str = "/run/mesh-testbed";

/// A run directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunDir(PathBuf);

/// Why there is nobody to ask.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunDirError {
    /// Nothing runs.
    #[error("no testbed is up (nothing in {}); start one with `cargo xtask up`, or name a cluster with --kubeconfig or KUBECONFIG, or a run directory with --run-dir", .0.display())]
    NoTestbed(PathBuf),
    /// More than one runs.
    #[error("several testbeds are up ({names}); name one with --run-dir {}/<name>", .root.display())]
    Several { root: PathBuf, names: String },
    /// The directory cannot be read.
    #[error("run directory {}: {source}; is it the right one?", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// It has no nodes.
    #[error("run directory {} has no nodes; its testbed may still be starting, or be over", .0.display())]
    NoNodes(PathBuf),
    /// It has not this node.
    #[error("there is no node `{wanted}`; there are: {known}")]
    UnknownNode { wanted: String, known: String },
}

impl RunDir {
    /// The directory that was named, or that of the only testbed.
    pub(super) fn find(named: Option<&Path>) -> Result<Self, RunDirError> {
        match named {
            Some(path) => Ok(Self(path.to_owned())),
            None => Self::only_below(Path::new(TESTBEDS)),
        }
    }

    /// The only directory below `root`.
    pub(super) fn only_below(root: &Path) -> Result<Self, RunDirError> {
        let names = match directories(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(RunDirError::Unreadable { path: root.to_owned(), source }),
            Ok(names) => names,
        };
        match names.as_slice() {
            [] => Err(RunDirError::NoTestbed(root.to_owned())),
            [name] => Ok(Self(root.join(name))),
            names => Err(RunDirError::Several { root: root.to_owned(), names: names.join(", ") }),
        }
    }

    /// The controller.
    pub(super) fn controller(&self) -> Socket {
        Socket { who: "the controller".to_owned(), at: At::Path(self.0.join("control.sock")) }
    }

    /// Where the controller writes conditions.
    pub(super) fn conditions(&self) -> PathBuf {
        self.0.join("status")
    }

    /// Its nodes by name, or the one that is wanted.
    pub(super) fn nodes(&self, wanted: Option<&str>) -> Result<Vec<Node>, RunDirError> {
        let path = self.0.join("nodes");
        let names = match directories(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.0.exists() => Vec::new(),
            Err(source) => return Err(RunDirError::Unreadable { path: self.0.clone(), source }),
            Ok(names) => names,
        };
        if names.is_empty() {
            return Err(RunDirError::NoNodes(self.0.clone()));
        }
        if let Some(wanted) = wanted
            && !names.iter().any(|name| name == wanted)
        {
            return Err(RunDirError::UnknownNode { wanted: wanted.to_owned(), known: names.join(", ") });
        }
        let nodes = names.into_iter().filter(|name| wanted.is_none_or(|wanted| wanted == name));
        let node = |name: String| {
            let agent =
                Socket { who: format!("node {name}"), at: At::Path(path.join(&name).join("admin.sock")) };
            Node { name, agent }
        };
        Ok(nodes.map(node).collect())
    }
}

fn directories(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
            && !name.starts_with('.')
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
