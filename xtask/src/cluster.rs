//! `cluster`: builds what a real Kubernetes needs and hands over to `mesh-cluster`.

mod programs;

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use clap::Subcommand;

use crate::{
    images, process,
    suites::{self, Choice},
    testbed,
    tools::packages,
    workspace,
};

/// Options of `cluster`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Build Kubernetes if it is not built, bring a cluster up with the mesh's images on every node, and leave it running
    /// (needs root)
    Up(UpArgs),
    /// Import an image into every node
    Load {
        /// The archive (OCI image layout or `docker save`)
        image: PathBuf,
    },
    /// Print the path of the kubeconfig: what KUBECONFIG names, else that of the cluster here
    Kubeconfig,
    /// Take the cluster down, also one that was left half up
    Down,
    /// Test on a real Kubernetes: that it is one, the installation, and the mesh on it
    Check {
        /// Only tests whose name contains this
        filter: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct UpArgs {
    /// How many nodes
    #[arg(long, default_value = "2")]
    nodes: String,
    /// How kube-proxy implements Services: nftables or iptables
    #[arg(long, default_value = "nftables")]
    proxy: String,
}

/// Runs one of the commands.
pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.action {
        Action::Up(args) => {
            build()?;
            let images = images::for_tests()?;
            process::run(&mut cluster(&["up", "--nodes", &args.nodes, "--proxy", &args.proxy]))?;
            images.iter().try_for_each(|image| process::run(cluster(&["load"]).arg(image)))
        }
        Action::Load { image } => {
            let image =
                std::path::absolute(image).with_context(|| format!("cannot find {}", image.display()))?;
            let mut command = cluster(&["load"]);
            command.arg(image);
            testbed::become_program(command)
        }
        Action::Kubeconfig => testbed::become_program(cluster(&["kubeconfig"])),
        Action::Down => testbed::become_program(cluster(&["down"])),
        Action::Check { filter } => {
            let tests = check(filter.as_deref())?;
            anyhow::ensure!(
                tests > 0,
                "no test on a Kubernetes has `{}` in its name",
                filter.as_deref().unwrap_or("")
            );
            Ok(())
        }
    }
}

/// Says at once why [`check`] would not be done.
pub(crate) fn can_be_checked() -> Result<()> {
    let kubeconfig = workspace::root().join("target/cluster/kubeconfig");
    anyhow::ensure!(
        !kubeconfig.exists(),
        "a cluster is up here, and the tests bring up their own; take it down: cargo xtask cluster down"
    );
    programs::can_be_had()
}

/// Runs the tests that need a Kubernetes: on one that comes and goes with each, then those of the mesh on one that stays
/// for all of them. Gives the number of tests that were run.
pub(crate) fn check(filter: Option<&str>) -> Result<usize> {
    can_be_checked()?;
    build()?;
    let _ = images::for_tests()?;
    let tested =
        suites::run(&["--test", "cluster", "--test", "kubernetes"], Choice { filter, ignored: true }, 1);
    let down = process::run(&mut cluster(&["down"]));
    tested.and_then(|tests| down.map(|()| tests))
}

fn build() -> Result<()> {
    packages::install(packages::TESTBED)?;
    packages::install(packages::CLUSTER)?;
    programs::ensure()?;
    testbed::build(false)
}

fn cluster(arguments: &[&str]) -> Command {
    let mut command = testbed::program("mesh-cluster", false);
    command.arg("--target").arg(workspace::root().join("target")).args(arguments);
    command
}
