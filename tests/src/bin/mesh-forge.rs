//! `mesh-forge`: the attacker of the tests. Runs in a pod or a namespace and sends what no honest socket would.
use std::process::ExitCode;

fn main() -> ExitCode {
    mesh_tests::forge::main()
}
