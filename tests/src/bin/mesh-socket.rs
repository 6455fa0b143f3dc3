//! `mesh-socket`: one behaviour of sockets a subcommand, run in pods by the tests; it prints what happened as lines
//! `key=value`.
use std::process::ExitCode;

fn main() -> ExitCode {
    mesh_tests::socket::main()
}
