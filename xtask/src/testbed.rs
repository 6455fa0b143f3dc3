//! `up`, `exec` and `down`: build what a testbed needs and hand over to `mesh-testbed`.

use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{ebpf, process, tools::packages, workspace};

/// Options of `up`.
#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    /// The directory of Kubernetes YAML
    #[arg(long, value_name = "DIR", default_value = "tests/manifests/demo")]
    config: PathBuf,
    /// Keeps several testbeds apart
    #[arg(long, default_value = "dev")]
    name: String,
    /// How pods are joined to their node: ptp or bridge
    #[arg(long, default_value = "ptp")]
    cni: String,
    /// Run the cluster without the mesh
    #[arg(long)]
    no_mesh: bool,
}

/// Options of `exec`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExecArgs {
    /// The testbed
    #[arg(long, default_value = "dev")]
    name: String,
    /// The pod's namespace
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// The pod
    pod: String,
    /// The container, the first if not named
    #[arg(short, long)]
    container: Option<String>,
    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Options of `down`.
#[derive(Debug, clap::Args)]
pub(crate) struct DownArgs {
    /// The testbed
    #[arg(long, default_value = "dev")]
    name: String,
}

/// Brings a testbed up and leaves it running.
pub(crate) fn up(args: &UpArgs) -> Result<()> {
    let caller = std::env::current_dir().context("cannot tell the working directory")?;
    let directory = [caller.join(&args.config), workspace::root().join(&args.config)];
    let directory = directory.iter().find(|path| path.is_dir()).unwrap_or(&directory[0]).clone();
    packages::install(packages::TESTBED)?;
    build(false)?;
    let mut command = program("mesh-testbed", false);
    command.args(["up", "--name", &args.name, "--cni", &args.cni, "--config"]).arg(directory);
    command.args(args.no_mesh.then_some("--no-mesh"));
    become_program(command)
}

/// Runs a command in a pod; its exit status is ours.
pub(crate) fn exec(args: &ExecArgs) -> Result<()> {
    let mut command = program("mesh-testbed", false);
    command.args(["exec", "--name", &args.name, "--namespace", &args.namespace]);
    command.args(args.container.iter().flat_map(|container| ["--container", container]));
    command.arg(&args.pod).arg("--").args(&args.command);
    become_program(command)
}

/// Takes a testbed down.
pub(crate) fn down(args: &DownArgs) -> Result<()> {
    let mut command = program("mesh-testbed", false);
    command.args(["down", "--name", &args.name]);
    become_program(command)
}

/// Builds the kernel programs and every program that a testbed runs.
pub(crate) fn build(release: bool) -> Result<()> {
    ebpf::run(&ebpf::Args { install: true })?;
    // The whole workspace, as for the tests: another selection of packages is another selection of features of what
    // they share, and all that is compiled twice.
    let mut cargo = process::cargo();
    process::run(
        cargo.args(["build", "--quiet", "--workspace", "--bins"]).args(release.then_some("--release")),
    )
}

/// A program of the workspace, built already.
pub(crate) fn program(name: &str, release: bool) -> Command {
    Command::new(workspace::programs(release).join(name))
}

/// Becomes `command`, so that signals, terminal and exit status are its own.
pub(crate) fn become_program(mut command: Command) -> Result<()> {
    let error = command.exec();
    let name = Path::new(command.get_program()).display().to_string();
    Err(error).with_context(|| format!("cannot run {name}; build it first: cargo xtask up"))
}
