//! `meshctl`: asks the controller and the nodes of a run directory how things are.

use std::process::ExitCode;

use clap::Parser;
use mesh_control::cli::{self, Arguments};

fn main() -> ExitCode {
    cli::run(&Arguments::parse())
}
