//! `demo`: builds everything and shows every claim on real traffic.

use anyhow::Result;

use crate::{process, testbed, tools::packages, workspace};

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show it on the cluster of `cargo xtask cluster up`, once the mesh is installed there
    #[arg(long)]
    cluster: bool,
}

/// Builds what the demo needs and runs it; fails if a claim does not hold.
pub(crate) fn run(args: &Args) -> Result<()> {
    packages::install(packages::TESTBED)?;
    testbed::build(false)?;
    let mut demo = testbed::program("mesh-demo", false);
    demo.arg("--config").arg(workspace::root().join("tests/manifests/demo"));
    if args.cluster {
        demo.arg("--cluster").arg(workspace::root().join("target"));
    }
    process::run(&mut demo)
}
