//! `cargo xtask`: the developer commands. Each is a thin driver: it makes sure the tools are there, builds what is
//! needed with cargo and runs a program of the workspace.

mod bench;
mod cluster;
mod conformance;
mod crds;
mod demo;
mod ebpf;
mod fuzz;
mod helm;
mod images;
mod lint;
mod process;
mod suites;
mod test;
mod testbed;
mod tools;
mod workspace;

use clap::{Parser, Subcommand};

/// Developer commands of the mesh.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compile the kernel programs to target/bpf/mesh.o
    BuildEbpf(ebpf::Args),
    /// Check formatting, clippy, licences and documentation
    Lint(lint::Args),
    /// Run every test of the workspace on the real kernel (needs root)
    Test(test::Args),
    /// Bring up the testbed from a directory of Kubernetes YAML and leave it running
    Up(testbed::UpArgs),
    /// Run a command in a pod of a running testbed
    Exec(testbed::ExecArgs),
    /// Take a running testbed down
    Down(testbed::DownArgs),
    /// Show on real traffic that the mesh does what it claims
    Demo(demo::Args),
    /// Bring up a real Kubernetes on this machine, use it, and take it down
    Cluster(cluster::Args),
    /// Run the Gateway API's conformance suite against the mesh on a real Kubernetes (needs root)
    Conformance(conformance::Args),
    /// Throw generated octets at what decides about requests
    Fuzz(fuzz::Args),
    /// Build the images of agent, controller and CLI as OCI archives, without a registry
    Images(images::Args),
    /// Write what in deploy/ is made from the Rust types: custom resource definitions, schema, install.yaml
    Crds(crds::Args),
    /// Build Helm and compare what it makes of the chart with what `meshctl install` does
    Helm(helm::Args),
    /// Measure the mesh against no mesh, its fairness, its memory, and what bad peers do to it
    Bench(bench::Args),
}

fn main() -> std::process::ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::BuildEbpf(args) => ebpf::run(&args),
        Command::Lint(args) => lint::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Up(args) => testbed::up(&args),
        Command::Exec(args) => testbed::exec(&args),
        Command::Down(args) => testbed::down(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Conformance(args) => conformance::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Images(args) => images::run(&args),
        Command::Crds(args) => crds::run(&args),
        Command::Helm(args) => helm::run(&args),
        Command::Bench(args) => bench::run(&args),
    }
}
