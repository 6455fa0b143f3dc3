//! `lint`: everything that is checked without running the mesh.

use anyhow::Result;

use crate::{ebpf, process, tools::cargo_deny, workspace};

/// Options of `lint`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Formatting, clippy, licences, bans and sources of dependencies, documentation. The kernel programs are built first:
/// the agent, which embeds them, does not compile without.
pub(crate) fn run(_: &Args) -> Result<()> {
    process::run(process::cargo().args(["fmt", "--all", "--check"]))?;
    ebpf::run(&ebpf::Args { install: true })?;
    process::run(process::cargo().args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))?;
    let mut deny = std::process::Command::new(cargo_deny::ensure()?);
    deny.current_dir(workspace::root()).args(["--workspace", "check", "licenses", "bans", "sources"]);
    process::run(&mut deny)?;
    let mut doc = process::cargo();
    doc.args(["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"]);
    // Private items are documented, so links to them resolve.
    process::run(doc.env("RUSTDOCFLAGS", "--deny warnings --allow rustdoc::private_intra_doc_links"))
}
