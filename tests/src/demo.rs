//! `mesh-demo`: sample services on the real kernel, and every claim of the mesh tried on them. Each claim says what was
//! done and what came of it, with the values as they were seen by sockets, the kernel or the mesh's own reports, and
//! fails if one of them is not as claimed.
//!
//! [`stage`] is the cluster that the claims are tried on, [`evidence`] what they leave behind, [`claims`] the claims.

mod access_log;
mod call;
mod claims;
mod error;
mod evidence;
mod kernel_objects;
mod scrape;
mod sockets;
mod stage;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser;

use error::Error;
use evidence::{Printer, Verdict};
use stage::Stage;

/// Shows on real traffic that the mesh does what it claims.
#[derive(Debug, Parser)]
#[command(name = "mesh-demo")]
struct Args {
    /// The services and policies to show it on
    #[arg(long, value_name = "DIR")]
    config: PathBuf,
}

/// Runs the program with the process's arguments; fails unless every claim holds.
#[must_use]
pub fn main() -> ExitCode {
    match show(&Args::parse()) {
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
    let stage = Stage::set_up(&args.config)?;
    printer.heading(&stage.described()?);
    for claim in claims::ALL {
        // A claim that cannot be tried does not hold; the others may.
        let verdict = printer.claim(claim.title, |evidence| (claim.show)(&stage, evidence));
        if verdict == Verdict::Fails {
            printer.note(&stage.logs());
        }
    }
    drop(stage);
    Ok(printer.summary(start.elapsed()))
}
