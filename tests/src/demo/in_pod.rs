//! What the demo runs inside its pods: the same program again, as a client whose own count can be compared with what
//! the mesh reports.

mod marker;
pub(super) mod traffic;

use std::process::ExitCode;

/// A client in a pod.
#[derive(Debug, clap::Subcommand)]
pub(super) enum InPod {
    /// Send a marker over and over, and expect it back
    #[command(hide = true)]
    Marker(marker::Args),
    /// Make connections and keep some open until told to stop, and tell how they go
    #[command(hide = true)]
    Traffic(traffic::Args),
}

/// Runs a client to its end.
pub(super) fn run(client: &InPod) -> ExitCode {
    let outcome = match client {
        InPod::Marker(args) => marker::run(args),
        InPod::Traffic(args) => traffic::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}
