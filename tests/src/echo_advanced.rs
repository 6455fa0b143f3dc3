//! `mesh-echo-advanced`: what the conformance suite of the Gateway API has in its pods under the name `echo-advanced`.
//! The suite starts the server by the image's entry point, runs `client URL` in its containers and reads what that
//! prints, so flags, ports and lines are as the suite expects them. The program is found as `server` and as `client`
//! there, and is whichever it is called.

mod client;
mod grpc;
mod lines;
mod server;

use std::{ffi::OsString, path::Path, process::ExitCode};

use clap::{Parser, Subcommand};

/// Why a call or a listener failed; whoever reads it is a person.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The most that is read of one body, of a request or of an answer.
const BODY_LIMIT: usize = 1 << 20;

/// Server and client of the conformance suite.
#[derive(Debug, Parser)]
#[command(name = "mesh-echo-advanced")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve HTTP/1.1, HTTP/2, gRPC and TCP, and answer with what came
    Server(server::Args),
    /// Make calls and print what was sent and what was answered
    Client(client::Args),
}

/// Runs the program with the process's arguments; fails if no call succeeded.
#[must_use]
pub fn main() -> ExitCode {
    let done =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::from).and_then(
            |runtime| match Cli::parse_from(words(std::env::args_os())).command {
                Command::Server(args) => runtime.block_on(server::run(args)).map(|()| ExitCode::SUCCESS),
                Command::Client(args) => Ok(runtime.block_on(client::run(args))),
            },
        );
    done.unwrap_or_else(|failure| {
        eprintln!("error: {failure}");
        ExitCode::FAILURE
    })
}

/// The command line, with the name that the program was called by as its subcommand if it is one.
fn words(mut arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let called = arguments.next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or_default().to_owned();
    let subcommand = (name == "server" || name == "client").then_some(name);
    std::iter::once(called).chain(subcommand).chain(arguments).collect()
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn it_is_what_it_is_called() {
        let words = |line: &str| {
            let all: Vec<_> = words(line.split(' ').map(Into::into));
            all.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(words("/usr/bin/client tcp://a:1"), "/usr/bin/client client tcp://a:1");
        assert_eq!(words("server --tcp=1"), "server server --tcp=1");
        assert_eq!(words("./mesh-echo-advanced server"), "./mesh-echo-advanced server");
    }
}
