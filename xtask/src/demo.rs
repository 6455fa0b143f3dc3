//! `demo`: builds everything and shows every claim on real traffic.

use std::process::Command;

use anyhow::Result;

use crate::{ebpf, process, tools::packages, workspace};

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Builds what the demo needs and runs it; fails if a claim does not hold.
pub(crate) fn run(_: &Args) -> Result<()> {
    packages::install(packages::TESTBED)?;
    ebpf::run(&ebpf::Args { install: true })?;
    process::run(process::cargo().args([
        "build",
        "--quiet",
        "-p",
        "mesh-agent",
        "-p",
        "mesh-control",
        "-p",
        "mesh-tests",
    ]))?;
    let mut demo = Command::new(workspace::programs(false).join("mesh-demo"));
    process::run(demo.arg("--config").arg(workspace::root().join("tests/manifests/demo")))
}
