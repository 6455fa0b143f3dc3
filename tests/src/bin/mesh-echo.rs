//! `mesh-echo`: the test server and client that manifests, tests and the demo run in pods.
use std::process::ExitCode;

fn main() -> ExitCode {
    mesh_tests::echo::main()
}
