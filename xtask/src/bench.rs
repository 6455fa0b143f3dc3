//! `bench`: builds everything for release and measures the mesh against no mesh.

use std::path::PathBuf;

use anyhow::Result;

use crate::{process, testbed, tools::packages, workspace};

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many pairs of measurements; fewer than 15 show nothing
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
    /// Write the result, every measurement included, to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How pods are joined to their node: ptp or bridge
    #[arg(long, value_name = "CNI")]
    cni: Option<String>,
}

/// Builds what the benchmark needs, in the release profile, and runs it.
pub(crate) fn run(args: &Args) -> Result<()> {
    packages::install(packages::TESTBED)?;
    testbed::build(true)?;
    let mut bench = testbed::program("mesh-bench", true);
    bench.args(["run", "--config"]).arg(workspace::root().join("benches/manifests"));
    if let Some(runs) = args.runs {
        bench.arg("--runs").arg(runs.to_string());
    }
    if let Some(json) = &args.json {
        bench.arg("--json").arg(json);
    }
    if let Some(cni) = &args.cni {
        bench.arg("--cni").arg(cni);
    }
    process::run(&mut bench)
}
