//! `mesh-echo`: one small program that plays server and client in pods, so that what a test sees is said by a socket
//! and not guessed. It is not called `echo` because pods find it on their `PATH`, where `echo` is somebody else's.

mod client;
mod failure;
mod hold;
mod server;
mod storm;
mod target;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use failure::Failure;
pub use target::Target;

/// Test server and client.
#[derive(Debug, Parser)]
#[command(name = "mesh-echo")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve TCP, HTTP/1.1 and UDP on IPv4 and IPv6
    Server(server::Args),
    /// Make calls and print what the client's socket says
    Client(client::Args),
    /// Keep a connection open and say when and how it ends
    Hold(hold::Args),
    /// Make many short connections and count how they went
    Storm(storm::Args),
}

/// Runs the program with the process's arguments; fails if any call did.
#[must_use]
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Server(args) => server::run(args),
        Command::Client(args) => return client::run(&args),
        Command::Hold(args) => hold::run(&args),
        Command::Storm(args) => storm::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}
