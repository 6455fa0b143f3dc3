//! `cluster`: builds what a real Kubernetes needs and hands over to `mesh-cluster`.

pub(crate) mod definitions;
pub(crate) mod fingerprint;
mod programs;

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use clap::Subcommand;

use crate::{
    conformance, images, process,
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
pub(crate) struct UpArgs {
    /// How many nodes
    #[arg(long, default_value = NODES)]
    nodes: String,
    /// How kube-proxy implements Services: nftables or iptables
    #[arg(long, default_value = PROXY)]
    proxy: String,
}

/// What a cluster is unless somebody says otherwise.
const NODES: &str = "2";
const PROXY: &str = "nftables";

impl Default for UpArgs {
    fn default() -> Self {
        Self { nodes: NODES.to_owned(), proxy: PROXY.to_owned() }
    }
}

/// Runs one of the commands.
pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.action {
        Action::Up(args) => up(args),
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

/// Brings the cluster up, with the mesh's images on every node.
pub(crate) fn up(args: &UpArgs) -> Result<()> {
    build()?;
    let images = images::for_tests()?;
    process::run(&mut cluster(&["up", "--nodes", &args.nodes, "--proxy", &args.proxy]))?;
    images.iter().try_for_each(|image| process::run(cluster(&["load"]).arg(image)))
}

/// Takes it down.
pub(crate) fn down() -> Result<()> {
    process::run(&mut cluster(&["down"]))
}

/// Whether one is up here.
pub(crate) fn is_up() -> bool {
    workspace::root().join("target/cluster/kubeconfig").exists()
}

/// Says at once why [`check`] would not be done.
pub(crate) fn can_be_checked() -> Result<()> {
    anyhow::ensure!(
        !is_up(),
        "a cluster is up here, and the tests bring up their own; take it down: cargo xtask cluster down"
    );
    conformance::can_be_had()?;
    definitions::can_be_had()?;
    programs::can_be_had()
}

/// Runs the tests that need a Kubernetes: on one that comes and goes with each, then those of the mesh on one that stays
/// for all of them, at last the Gateway API's. Gives the number of tests that were run, of which those are one.
pub(crate) fn check(filter: Option<&str>) -> Result<usize> {
    can_be_checked()?;
    build()?;
    let _ = images::for_tests()?;
    let tested =
        suites::run(&["--test", "cluster", "--test", "kubernetes"], Choice { filter, ignored: true }, 1);
    let conformed = match filter {
        Some(part) if !conformance::NAME.contains(part) => Ok(0),
        _ => conformance::on_cluster(&conformance::Args::ONCE).map(|()| 1),
    };
    let down = down();
    let tests = tested? + conformed?;
    down.map(|()| tests)
}

fn build() -> Result<()> {
    packages::install(packages::TESTBED)?;
    packages::install(packages::CLUSTER)?;
    programs::ensure()?;
    definitions::ensure()?;
    testbed::build(false)
}

fn cluster(arguments: &[&str]) -> Command {
    let mut command = testbed::program("mesh-cluster", false);
    command.arg("--target").arg(workspace::root().join("target")).args(arguments);
    command
}
