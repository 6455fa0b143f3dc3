//! Bringing images to the nodes: each has its own store, and there is no registry.

use std::{path::Path, process::Command, thread};

use super::{Error, place::Place};
use crate::tool;

/// Imports an archive into the store of every one of these nodes, at once.
pub(super) fn import(nodes: &[String], archive: &Path) -> Result<(), Error> {
    thread::scope(|scope| {
        let running: Vec<_> = nodes.iter().map(|node| scope.spawn(|| one(node, archive))).collect();
        running.into_iter().try_for_each(|import| import.join().expect("an import does not panic"))
    })
}

fn one(node: &str, archive: &Path) -> Result<(), Error> {
    let mut command = Command::new("ctr");
    command.arg("--address").arg(Place::containerd(node));
    command.args(["--namespace", "k8s.io", "images", "import"]).arg(archive);
    Ok(tool::run(command, "").map(drop)?)
}
