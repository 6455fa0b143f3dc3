//! The echo program of the Gateway API's conformance suite.

use std::process::ExitCode;

fn main() -> ExitCode {
    mesh_tests::echo_advanced::main()
}
