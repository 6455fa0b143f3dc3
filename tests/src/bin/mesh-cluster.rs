//! `mesh-cluster`: brings a real Kubernetes up on this machine and takes it down; also what its machines begin with,
//! which are hidden subcommands.

use std::process::ExitCode;

fn main() -> ExitCode {
    mesh_tests::cluster::main()
}
