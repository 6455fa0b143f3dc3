//! `cargo-deny`: checks licences, banned crates and sources. Pinned, and kept under `target/tools`.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{process, workspace};

const VERSION: &str = "0.20.2";

/// The plugin under `target/tools`, built now if it is not there.
///
/// # Errors
/// If it cannot be built.
pub(crate) fn ensure() -> Result<PathBuf> {
    let program = workspace::tools().join("bin/cargo-deny");
    let version = process::output(Command::new(&program).arg("--version"));
    if version.is_some_and(|text| text.split_whitespace().last() == Some(VERSION)) {
        return Ok(program);
    }
    eprintln!("building cargo-deny {VERSION} (once, a few minutes)");
    let mut cargo = process::cargo();
    cargo.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
    cargo.args(["install", "--quiet", "--locked", "cargo-deny", "--version", VERSION, "--root"]);
    process::run(cargo.arg(workspace::tools()))?;
    Ok(program)
}
