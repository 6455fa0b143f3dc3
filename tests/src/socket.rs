//! `mesh-socket`: the ways in which applications use sockets, one a subcommand, so that a test can see that the mesh
//! leaves every one of them as it is without a mesh.
//!
//! Everything is printed as lines `key=value`. A call that fails is a result (`connect=EPERM`), not a failure of the
//! program; it fails only where it could not do what it was asked to try.

mod bulk;
mod connect;
mod crowd;
mod dial;
mod ending;
mod fastopen;
mod hold;
mod inherit;
mod listener;
mod loopback;
mod outcome;
mod pace;
pub mod plaza;
mod proc;
mod reconnect;
mod said;
mod serve;
mod stall;
mod udp;
mod workers;

use std::{io, process::ExitCode};

use clap::{Parser, Subcommand};

pub(crate) use outcome::errno;
pub use said::{Said, Standing};

/// One behaviour of sockets.
#[derive(Debug, Parser)]
#[command(name = "mesh-socket")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve what the other subcommands ask for
    Serve(serve::Args),
    /// Serve one port with several processes
    Workers(workers::Args),
    /// Connect, with or without waiting, and ask the server who called
    Connect(connect::Args),
    /// Connect one socket twice: after a failure, or after dissolving the first association
    Reconnect(reconnect::Args),
    /// Connect with data in the SYN
    Fastopen(fastopen::Args),
    /// Use a socket in two processes
    Inherit(inherit::Args),
    /// Close one direction, or reset
    End(ending::Args),
    /// Move many bytes, with checksums
    Bulk(bulk::Args),
    /// Make many round trips on one connection and print how long they took
    Pace(pace::Args),
    /// Ask for many bytes and read none, or send to who reads none, until standard input ends
    Stall(stall::Args),
    /// Keep one connection open until standard input ends
    Hold(hold::Args),
    /// Keep many connections open until standard input ends
    Crowd(crowd::Args),
    /// Talk to oneself on loopback and other own addresses
    Loopback(loopback::Args),
    /// Send datagrams
    Udp(udp::Args),
    /// Look a name up as applications do
    Resolve {
        /// The name
        name: String,
    },
    /// List the TCP sockets of this network namespace that have a port
    Table {
        /// The port, on either side
        port: u16,
    },
    /// Print the network namespace's counters of /proc/net/netstat
    Netstat,
    /// Print the limit of open files
    Limit,
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Workers(args) => workers::run(&args),
        Command::Connect(args) => connect::run(&args),
        Command::Reconnect(args) => reconnect::run(&args),
        Command::Fastopen(args) => fastopen::run(&args),
        Command::Inherit(args) => inherit::run(&args),
        Command::End(args) => ending::run(&args),
        Command::Bulk(args) => bulk::run(&args),
        Command::Pace(args) => pace::run(&args),
        Command::Stall(args) => stall::run(&args),
        Command::Hold(args) => hold::run(&args),
        Command::Crowd(args) => crowd::run(&args),
        Command::Loopback(args) => loopback::run(&args),
        Command::Udp(args) => udp::run(&args),
        Command::Resolve { name } => resolve(&name),
        Command::Table { port } => proc::table(port),
        Command::Netstat => proc::netstat(),
        Command::Limit => proc::limit(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mesh-socket: {error}");
            ExitCode::FAILURE
        }
    }
}

fn resolve(name: &str) -> io::Result<()> {
    use std::net::ToSocketAddrs as _;
    match (name, 0).to_socket_addrs() {
        Ok(addresses) => addresses.for_each(|address| outcome::say("address", address.ip())),
        Err(error) => outcome::say("resolve", error),
    }
    Ok(())
}
