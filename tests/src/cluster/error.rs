//! What can go wrong with a cluster.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{certificates, containerfile::ContainerfileError};
use crate::{cgroup, layout, supervisor::fabric, testbed, tool};

/// A cluster that cannot be brought up, used or taken down.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no cluster of ours.
    #[error("no cluster is up here; bring one up: cargo xtask cluster up")]
    Down,
    /// One that is not ours was named.
    #[error(
        "KUBECONFIG names another cluster ({0}): images come to it by its own registry or tools; unset KUBECONFIG to \
         use the one of `cargo xtask cluster up`"
    )]
    Foreign(String),
    /// More nodes than there are addresses for.
    #[error("{0} nodes are not possible: 1 to {max}", max = super::place::NODES)]
    Nodes(u8),
    /// Somebody else is at it.
    #[error("another `cluster up` or `cluster down` is running (it holds {})", .0.display())]
    Busy(PathBuf),
    /// A part of the cluster does not work.
    #[error("{component} on {machine}: {problem}\n--- the end of {} ---\n{tail}", log.display())]
    Component {
        /// The machine it runs on.
        machine: String,
        /// Its name.
        component: String,
        /// What it should have done.
        problem: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// The cluster's DNS does not come.
    #[error("coredns: {error}\n--- its pods, events and log ---\n{said}")]
    Dns {
        /// What was waited for.
        error: tool::Error,
        /// What is known of it.
        said: String,
    },
    /// A file or folder could not be used.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// No certificate could be made.
    #[error(transparent)]
    Certificates(#[from] certificates::Error),
    /// A tool of the system or a program of the cluster failed.
    #[error(transparent)]
    Tool(#[from] tool::Error),
    /// The nodes could not be joined.
    #[error(transparent)]
    Fabric(#[from] fabric::Error),
    /// A control group.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// There is no place for it.
    #[error(transparent)]
    Layout(#[from] layout::Error),
    /// A Containerfile is not understood.
    #[error(transparent)]
    Containerfile(#[from] ContainerfileError),
    /// A program cannot run alone in an image.
    #[error("{} {problem}", path.display())]
    Program {
        /// Which.
        path: PathBuf,
        /// Why not.
        problem: &'static str,
    },
    /// What starts commands in namespaces is not there.
    #[error(transparent)]
    Launcher(Box<testbed::Error>),
    /// Plain data that could not be written or read as JSON.
    #[error("not valid: {0}")]
    Json(#[from] serde_json::Error),
}

/// Makes an error of what failed on a path.
pub(super) fn io<E: Into<io::Error>>(what: &'static str, path: &Path) -> impl FnOnce(E) -> Error + use<E> {
    let path = path.to_owned();
    move |source| Error::Io { what, path, source: source.into() }
}
