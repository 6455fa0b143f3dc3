//! `bpf-linker`: links the bitcode of all crates into one BPF object and makes its BTF. Built from source, pinned,
//! against the LLVM that matches the compiler, and kept under `target/tools`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use super::{compiler::Compiler, packages};
use crate::{process, workspace};

const VERSION: &str = "0.13.0";

/// The linker to use: the one under `target/tools`, else one on `PATH`, else built now.
///
/// # Errors
/// If there is none and it cannot be built here, with the commands that install it.
pub(crate) fn ensure(compiler: &Compiler, install: bool) -> Result<PathBuf> {
    let ours = workspace::tools().join("bin/bpf-linker");
    if version(&ours).as_deref() == Some(VERSION) {
        return Ok(ours);
    }
    if let Some(found) = process::on_path("bpf-linker")
        && version(&found).is_some()
    {
        return Ok(found);
    }
    let llvm = PathBuf::from(format!("/usr/lib/llvm-{}", compiler.llvm));
    if !llvm.join("bin/llvm-config").exists() {
        if !(install && packages::may_install()) {
            bail!(
                "bpf-linker is missing, and so is LLVM {} to build it with. As root on Debian or Ubuntu run: {}; \
                 elsewhere install LLVM {} and run: LLVM_PREFIX=<its prefix> {}",
                compiler.llvm,
                packages::install_commands(packages::BPF_LINKER),
                compiler.llvm,
                by_hand(compiler)
            );
        }
        packages::install(packages::BPF_LINKER)?;
    }
    eprintln!("building bpf-linker {VERSION} (once, under a minute)");
    let mut cargo = process::cargo();
    cargo.env("LLVM_PREFIX", &llvm).env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
    cargo.args([
        "install",
        "--quiet",
        "--locked",
        "bpf-linker",
        "--version",
        VERSION,
        "--no-default-features",
    ]);
    cargo.arg("--features").arg(format!("llvm-{}", compiler.llvm)).arg("--root").arg(workspace::tools());
    process::run(&mut cargo)?;
    Ok(ours)
}

/// The version that a linker reports, or `None` if it does not run (its LLVM is gone).
pub(crate) fn version(linker: &Path) -> Option<String> {
    let text = process::output(Command::new(linker).arg("--version"))?;
    text.split_whitespace().last().map(str::to_owned)
}

fn by_hand(compiler: &Compiler) -> String {
    format!(
        "cargo install --locked bpf-linker --version {VERSION} --no-default-features --features llvm-{} --root target/tools",
        compiler.llvm
    )
}
