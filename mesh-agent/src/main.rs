//! The per-node agent: one binary, two processes.
//!
//! A connection's life: the kernel programs (`mesh-ebpf`) decide it; `wire` keeps them loaded and
//! fed; `relay` turns discovery into what they enforce and their reports into logs and metrics.

mod handover;
mod relay;
#[expect(unsafe_code, reason = "the one module that may: raw system calls, each with its SAFETY line")]
mod sys;
mod wire;

use clap::{Parser, Subcommand};

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
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Wire(options) => wire::run(&options),
        Command::Relay(options) => relay::run(&options),
        Command::Uninstall(options) => wire::uninstall(&options),
    }
}
