//! `mesh-http`: the server of HTTP and its client that the tests of routes and requests run in pods.
use std::process::ExitCode;

fn main() -> ExitCode {
    mesh_tests::http::main()
}
