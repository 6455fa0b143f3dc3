//! `mesh-testbed`: brings testbeds up and down and reaches into them; also the supervisor, node and launcher processes
//! of one, which are hidden subcommands.

use std::process::ExitCode;

fn main() -> ExitCode {
    mesh_tests::command::main()
}
