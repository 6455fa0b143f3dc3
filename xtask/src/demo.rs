//! `demo`: builds everything and shows every claim on real traffic.

use anyhow::Result;

use crate::{process, testbed, tools::packages, workspace};

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Builds what the demo needs and runs it; fails if a claim does not hold.
pub(crate) fn run(_: &Args) -> Result<()> {
    packages::install(packages::TESTBED)?;
    testbed::build(false)?;
    let mut demo = testbed::program("mesh-demo", false);
    process::run(demo.arg("--config").arg(workspace::root().join("tests/manifests/demo")))
}
