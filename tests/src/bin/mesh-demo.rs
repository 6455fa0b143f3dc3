//! `mesh-demo`: shows on real traffic that the mesh does what it claims.
use std::process::ExitCode;

fn main() -> ExitCode {
    mesh_tests::demo::main()
}
