//! `test`: every test of the workspace, those on the real kernel included.

use anyhow::Result;

use crate::{
    cluster, fuzz, process,
    suites::{self, Choice},
    testbed,
    tools::packages,
};

/// Options of `test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// Test programs at once. Each has testbeds of its own, kept apart by name, and uses a fifth of a core.
const SIDE_BY_SIDE: usize = 3;

/// Installs what is needed, builds everything, and runs the tests, last those on a real Kubernetes.
pub(crate) fn run(args: &Args) -> Result<()> {
    cluster::can_be_checked()?;
    packages::install(packages::TESTBED)?;
    testbed::build(false)?;
    for kind in [["--lib", "--bins"].as_slice(), &["--doc"]] {
        let mut cargo = process::cargo();
        process::run(cargo.args(["test", "--quiet", "--workspace"]).args(kind).args(&args.filter))?;
    }
    fuzz::run(&fuzz::Args::default())?;
    let choice = Choice { filter: args.filter.as_deref(), ignored: false };
    let on_testbeds = suites::run(&["--test", "*"], choice, SIDE_BY_SIDE);
    let on_kubernetes = cluster::check(args.filter.as_deref());
    on_testbeds.and(on_kubernetes).map(drop)
}
