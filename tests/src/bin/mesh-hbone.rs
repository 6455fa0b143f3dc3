//! `mesh-hbone`: a hand-written HBONE client and server, well-behaved and otherwise.

use std::process::ExitCode;

fn main() -> ExitCode {
    mesh_tests::hbone::main()
}
