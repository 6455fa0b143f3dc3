//! The per-node agent: one binary, two processes.
//!
//! A connection's life: the kernel programs (`mesh-ebpf`) decide it; `wire` keeps them loaded and
//! fed; `relay` turns discovery into what they enforce and their reports into logs and metrics.

mod handover;
mod ready;
mod relay;
#[expect(unsafe_code, reason = "the one module that may: raw system calls, each with its SAFETY line")]
mod sys;
mod wire;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

/// The per-node agent of the mesh.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Loads and feeds the kernel programs; needs privileges, parses nothing from the network.
    Wire(wire::Options),
    /// Discovery, certificates, the tunnel between nodes, telemetry and admin; refuses to run with any
    /// capability.
    Relay(relay::Options),
    /// Removes every program, link and pin of the mesh from this node.
    Uninstall(wire::UninstallOptions),
    /// Passes standard input and output on to relay's admin socket: how `meshctl` asks in relay's container.
    Admin(AdminOptions),
    /// Succeeds when relay is ready, and says why not: the readiness probe of relay's container.
    Ready(ready::Options),
}

#[derive(Debug, Args)]
struct AdminOptions {
    /// The directory with admin.sock in it: relay's --pod-dir, or its --run-dir where it has none.
    #[arg(long)]
    run_dir: PathBuf,
}

impl AdminOptions {
    fn pass_on(&self) -> anyhow::Result<()> {
        let socket = self.run_dir.join("admin.sock");
        mesh_api::admin::pass_on(&socket).with_context(|| format!("asking relay at {}", socket.display()))
    }
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Wire(options) => wire::run(&options),
        Command::Relay(options) => relay::run(&options),
        Command::Uninstall(options) => wire::uninstall(&options),
        Command::Admin(options) => options.pass_on(),
        Command::Ready(options) => options.ask(),
    }
}
