//! `build-ebpf`: compiles the kernel programs of `mesh-ebpf` to `target/bpf/mesh.o`, which the agent embeds.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    process,
    tools::{compiler, linker},
    workspace,
};

/// Options of `build-ebpf`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Install a missing toolchain with apt-get (root, Debian or Ubuntu)
    #[arg(long)]
    pub(crate) install: bool,
}

/// Builds the object; cargo rebuilds only what changed, and the object is replaced only if it differs, so that the
/// agent is not rebuilt for nothing.
pub(crate) fn run(args: &Args) -> Result<()> {
    let compiler = compiler::ensure(args.install)?;
    let linker = linker::ensure(&compiler, args.install)?;
    let linker_version = linker::version(&linker).unwrap_or_else(|| "of unknown version".to_owned());
    eprintln!("build-ebpf: {}, bpf-linker {linker_version}", compiler.description);

    let build = workspace::root().join("target/bpf-build");
    let architecture = std::env::consts::ARCH;
    let flags = [
        format!("-Clinker={}", linker.display()),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("--cfg=bpf_target_arch=\"{architecture}\""),
    ];
    let mut cargo = compiler.cargo();
    cargo.current_dir(workspace::root()).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    cargo.args(["build", "--quiet", "--package", "mesh-ebpf", "--bin", "mesh", "--features", "programs"]);
    cargo
        .args(["--release", "--target", "bpfel-unknown-none", "-Zbuild-std=core", "--target-dir"])
        .arg(&build);
    process::run(&mut cargo)?;

    let built = build.join("bpfel-unknown-none/release/mesh");
    let object = workspace::ebpf_object();
    let changed = replace(&built, &object)?;
    eprintln!("build-ebpf: target/bpf/mesh.o {}", if changed { "written" } else { "is up to date" });
    Ok(())
}

/// Copies `from` over `to` if their contents differ; says whether they did.
fn replace(from: &Path, to: &Path) -> Result<bool> {
    let new = fs::read(from).with_context(|| format!("cannot read the built object {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(false);
    }
    let folder = to.parent().expect("the object lies in a folder");
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let fresh = to.with_extension("o.new");
    fs::write(&fresh, new)
        .and_then(|()| fs::rename(&fresh, to))
        .with_context(|| format!("cannot write {}", to.display()))?;
    Ok(true)
}
