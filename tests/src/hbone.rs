//! `mesh-hbone`: a foreign peer of the mesh's tunnel. It speaks HBONE with the TLS and HTTP/2 libraries and its own
//! frames, and shares nothing with the agent, so that what both understand is the wire format and not a habit of ours.

mod abuse;
mod authority;
mod client;
pub(crate) mod credentials;
pub mod frame;
pub mod hpack;
mod huffman;
mod peer;
mod raw;
mod record;
mod server;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use abuse::Variant;
pub use authority::{Authority, IssueError, Leaf, Validity};
pub use credentials::{Credentials, Unusable};

/// A peer of the tunnel that is not the mesh.
#[derive(Debug, Parser)]
#[command(name = "mesh-hbone")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Open one tunnel, send a line and print what came back, as JSON
    Client(client::Args),
    /// Serve tunnels as told and print every request as a line of JSON
    Server(server::Args),
    /// Serve tunnels by hand and print every frame that came, as lines of JSON
    Record(record::Args),
    /// Send octets over TLS as they are and print the frames that come back, as lines of JSON
    Speak(record::Speak),
    /// Be a bad peer and print what it got for it, as JSON
    Abuse(abuse::Args),
}

/// Runs the program with the process's arguments. How a peer answered is a result; the program fails only where it
/// could not do what it was asked to try.
#[must_use]
pub fn main() -> ExitCode {
    let done: Result<(), Box<dyn std::error::Error>> = match Cli::parse().command {
        Command::Client(args) => client::run(&args),
        Command::Server(args) => server::run(&args),
        Command::Record(args) => record::run(&args),
        Command::Speak(args) => record::speak(&args),
        Command::Abuse(args) => abuse::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mesh-hbone: {error}");
            ExitCode::FAILURE
        }
    }
}
