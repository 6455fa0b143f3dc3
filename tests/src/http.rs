//! `mesh-http`: a server that tells what it was asked (HTTP/1.1, HTTP/2 without TLS, gRPC, WebSocket, on one port) and
//! a client that asks as it is told, so that what a test knows of a request was seen at one of its ends.
//!
//! The server is steered by headers ([`steer`]), since paths are what routes change. The client reads orders
//! ([`order::Order`]) as lines of JSON and tells what came of them likewise; [`caller`] is the other end of those lines.

pub mod caller;
mod client;
mod grpc;
pub mod order;
mod pattern;
mod piped;
mod server;
pub mod steer;
mod websocket;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// HTTP server and client for tests.
#[derive(Debug, Parser)]
#[command(name = "mesh-http")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve HTTP/1.1, HTTP/2, gRPC and WebSocket
    Server(server::Args),
    /// Read orders as lines of JSON from standard input, and tell what came of them
    Client,
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            println!("start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = match Cli::parse().command {
        Command::Server(args) => runtime.block_on(server::run(args)),
        Command::Client => runtime.block_on(client::run()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}
