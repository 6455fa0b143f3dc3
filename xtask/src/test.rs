//! `test`: every test of the workspace, those on the real kernel included.

use anyhow::Result;

use crate::{process, testbed, tools::packages};

/// Options of `test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// Installs what is needed, builds everything, and runs the tests. Testbeds are kept apart by name, but two cores are
/// few: tests with real timings run one after another.
pub(crate) fn run(args: &Args) -> Result<()> {
    packages::install(packages::TESTBED)?;
    testbed::build(false)?;
    let mut cargo = process::cargo();
    cargo.args(["test", "--quiet", "--workspace", "--exclude", "mesh-tests"]).args(&args.filter);
    process::run(&mut cargo)?;
    let mut cargo = process::cargo();
    cargo.args(["test", "--package", "mesh-tests"]).args(&args.filter);
    process::run(cargo.args(["--", "--test-threads=1"]))
}
