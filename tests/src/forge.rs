//! `mesh-forge`: packets with chosen headers, false claims to neighbours, sockets with borrowed addresses, and the
//! counters that tell what of it arrived. It prints `key=value` words only, so that tests read and do not guess.

mod claim;
mod dial;
mod frame;
mod headers;
mod packet;
mod send;
mod serve;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Test attacker.
#[derive(Debug, Parser)]
#[command(name = "mesh-forge")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send a packet with chosen headers, by a raw socket or past the whole stack
    Packet(packet::Args),
    /// Claim an address towards the neighbours: ARP for IPv4, an advertisement for IPv6
    Claim(claim::Args),
    /// Connect or send from an ordinary socket, from a chosen address if wanted, again and again if wanted
    Dial(dial::Args),
    /// Accept connections and datagrams and say from whom, line by line
    Serve(serve::Args),
    /// Count the packets of one protocol that arrive, below every socket
    Watch(watch::Args),
}

/// What kept a command from being carried out; a refusal by the kernel is a result, not one of these.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// A socket could not be made or used.
    #[error("step={step:?} error={source:?}")]
    Socket {
        /// What was tried.
        step: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The arguments contradict each other.
    #[error("arguments={0:?}")]
    Arguments(&'static str),
    /// There is nowhere to send a frame to.
    #[error("neighbour={0:?}")]
    Neighbour(String),
}

fn step<E: Into<std::io::Error>>(step: &'static str) -> impl FnOnce(E) -> Failure {
    move |source| Failure::Socket { step, source: source.into() }
}

/// Runs the program with the process's arguments; fails if it could not do what it was told to try.
#[must_use]
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Packet(args) => packet::run(&args),
        Command::Claim(args) => claim::run(&args),
        Command::Dial(args) => dial::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Watch(args) => watch::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}
