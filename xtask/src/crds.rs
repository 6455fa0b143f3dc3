//! `crds`: what in `deploy/` is made from the Rust types or rendered from the chart.

use anyhow::Result;

use crate::{process, testbed, workspace};

/// Options of `crds`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only compare, and fail if something differs; the tests do the same
    #[arg(long)]
    check: bool,
}

/// Writes the custom resource definitions, the chart's schema and `install.yaml`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut cargo = process::cargo();
    process::run(cargo.args(["build", "--quiet", "--workspace", "--bin", "mesh-generate"]))?;
    let mut generate = testbed::program("mesh-generate", false);
    process::run(generate.args(args.check.then_some("--check")).arg(workspace::root()))
}
