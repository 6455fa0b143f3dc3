//! `mesh-bench`: measures what the mesh costs; and, in the pods, is what it is measured with.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use clap::{Parser, Subcommand};
use mesh_benches::{
    abuse, compare, fairness, memory,
    setting::Setting,
    traffic::{self, Quantity},
};

/// Measures what the mesh costs.
#[derive(Debug, Parser)]
#[command(name = "mesh-bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure two pods of a node with and without the mesh and compare
    Run(compare::Args),
    /// Measure two pods of two nodes with the mesh's tunnel and without the mesh and compare
    Tunnel(compare::Args),
    /// Measure a fast client through the tunnel with and without slow readers beside it
    Fairness(fairness::Args),
    /// Let every kind of bad peer loose on a tunnel listener at once
    Abuse(abuse::Args),
    /// Measure the agent's memory on an idle node
    Memory(memory::Args),
    /// Be the server in a pod
    #[command(hide = true)]
    Serve {
        #[arg(long)]
        processor: usize,
    },
    /// Be the client in a pod, for one measurement
    #[command(hide = true)]
    Measure {
        #[arg(long)]
        processor: usize,
        #[arg(long)]
        milliseconds: u64,
        quantity: Quantity,
        server: SocketAddr,
    },
    /// Be slow readers in a pod, until standard input ends
    #[command(hide = true)]
    Slow {
        #[arg(long)]
        readers: usize,
        server: SocketAddr,
    },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Run(args) => compare::run(&args, Setting::SameNode),
        Command::Tunnel(args) => compare::run(&args, Setting::TwoNodes),
        Command::Fairness(args) => fairness::run(&args),
        Command::Abuse(args) => abuse::run(&args),
        Command::Memory(args) => memory::run(&args),
        Command::Serve { processor } => {
            traffic::stay_on(processor)?;
            Ok(traffic::serve()?)
        }
        Command::Measure { processor, milliseconds, quantity, server } => {
            traffic::stay_on(processor)?;
            let measured = traffic::measure(quantity, server, Duration::from_millis(milliseconds))?;
            println!("{}", serde_json::to_string(&measured)?);
            Ok(())
        }
        Command::Slow { readers, server } => {
            println!("{}", serde_json::to_string(&traffic::read_slowly(readers, server)?)?);
            Ok(())
        }
    }
}
