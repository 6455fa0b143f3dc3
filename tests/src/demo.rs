//! `mesh-demo`: sample services on the real kernel, and every claim of the mesh tried on them. Each claim says what was
//! done and what came of it, with the values as they were seen by sockets, the kernel or the mesh's own reports, and
//! fails if one of them is not as claimed.
//!
//! [`stage`] is what the claims are tried on, a testbed or a real Kubernetes ([`bed`]), [`evidence`] what they leave behind, [`claims`] the claims,
//! [`in_pod`] what this program is when it runs in a pod.

mod access_log;
mod bed;
mod call;
mod claims;
mod error;
mod evidence;
mod in_pod;
mod kernel_objects;
mod manifests;
mod partition;
mod scrape;
mod sockets;
mod stage;
mod traffic;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser;

use error::Error;
use evidence::{Printer, Verdict};
use in_pod::InPod;
use stage::Stage;

/// Shows on real traffic that the mesh does what it claims.
#[derive(Debug, Parser)]
#[command(name = "mesh-demo", args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    show: Option<Args>,
    #[command(subcommand)]
    in_pod: Option<InPod>,
}

/// What is shown.
#[derive(Debug, clap::Args)]
struct Args {
    /// The services and policies to show it on
    #[arg(long, value_name = "DIR")]
    config: PathBuf,
    /// Show it on the cluster of `cargo xtask cluster` in this target directory, which has the mesh installed
    #[arg(long, value_name = "DIR")]
    cluster: Option<PathBuf>,
}

/// Runs the program with the process's arguments; fails unless every claim holds.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(client) = &cli.in_pod {
        return in_pod::run(client);
    }
    let Some(args) = cli.show else {
        eprintln!("nothing to show; say what to show it on: mesh-demo --config DIR");
        return ExitCode::FAILURE;
    };
    match show(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the demo cannot be shown: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Shows every claim; says whether all hold.
fn show(args: &Args) -> Result<bool, Error> {
    let start = Instant::now();
    let mut printer = Printer::default();
    let stage = Stage::set_up(&args.config, args.cluster.as_deref())?;
    printer.heading(&stage.described()?);
    for claim in claims::ALL {
        // A claim that cannot be tried does not hold; the others may.
        let verdict = printer.claim(claim.title, |evidence| (claim.show)(&stage, evidence));
        if verdict == Verdict::Fails {
            printer.note(&stage.bed.logs());
        }
    }
    drop(stage);
    Ok(printer.summary(start.elapsed()))
}
