//! `test`: every test of the workspace, those on the real kernel included.

use anyhow::Result;

use crate::{cluster, process, testbed, tools::packages};

/// Options of `test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// Installs what is needed, builds everything, and runs the tests, last those on a real Kubernetes. Testbeds are kept apart by name, but two cores are
/// few: tests with real timings run one after another.
pub(crate) fn run(args: &Args) -> Result<()> {
    cluster::can_be_checked()?;
    packages::install(packages::TESTBED)?;
    testbed::build(false)?;
    for kind in [["--lib", "--bins"].as_slice(), &["--doc"]] {
        let mut cargo = process::cargo();
        process::run(cargo.args(["test", "--quiet", "--workspace"]).args(kind).args(&args.filter))?;
    }
    let mut cargo = process::cargo();
    cargo.args(["test", "--workspace", "--no-fail-fast", "--test", "*"]).args(&args.filter);
    let on_testbeds = process::run(cargo.args(["--", "--test-threads=1"]));
    on_testbeds.and(cluster::check(args.filter.as_deref()))
}
