//! `mesh-conformance`: runs the Gateway API's conformance suite against the mesh.

use std::process::ExitCode;

fn main() -> ExitCode {
    mesh_tests::conformance::main()
}
