//! Removing everything of a testbed: the same way at its regular end, after a panic, and at the next start after it
//! was killed. It finds things by the testbed's name alone.

use std::{fs, io, path::PathBuf};

use crate::{
    cgroup,
    layout::{Layout, NETNS_ROOT, NodeLayout},
    tool,
};

/// Something of a testbed could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its processes.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// A network namespace.
    #[error(transparent)]
    Tool(#[from] tool::Error),
    /// A file or folder.
    #[error("cannot remove {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Removes all of it: processes first, then what they held, the run directory last.
///
/// # Errors
/// If something cannot be removed; what comes after it is then still there.
pub(crate) fn remove(layout: &Layout) -> Result<(), Error> {
    cgroup::remove(&layout.cgroup())?;
    for netns in namespaces(layout) {
        let mut command = std::process::Command::new("ip");
        command.args(["netns", "delete", &netns]);
        tool::run(command, "")?;
    }
    for path in [layout.pins(), layout.run()] {
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(Error::Io { path, source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes what a node that left the cluster ran and kept; its network is the fabric's.
pub(super) fn remove_node(node: &NodeLayout) -> Result<(), Error> {
    cgroup::remove(&node.cgroup)?;
    for path in [&node.pins, &node.run] {
        match fs::remove_dir_all(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(Error::Io { path: path.clone(), source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// The network namespaces of the testbed that there are handles on.
fn namespaces(layout: &Layout) -> Vec<String> {
    let fabric = layout.fabric_netns();
    let nodes = format!("{fabric}.");
    let entries = fs::read_dir(NETNS_ROOT).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| *name == fabric || name.starts_with(&nodes)).collect()
}
