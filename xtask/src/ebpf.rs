//! `build-ebpf`: compiles the kernel programs of `mesh-ebpf` to `target/bpf/mesh.o`, which the agent embeds. Images for
//! another architecture embed an object of their own: what a context looks like differs between them.

use std::{
    fs,
    path::{Path, PathBuf},
};

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

/// Builds the object for this machine.
pub(crate) fn run(args: &Args) -> Result<()> {
    build(args, std::env::consts::ARCH).map(drop)
}

/// Builds the object for an architecture and gives its path; cargo rebuilds only what changed, and the object is replaced
/// only if it differs, so that the agent is not rebuilt for nothing.
pub(crate) fn build(args: &Args, architecture: &str) -> Result<PathBuf> {
    let compiler = compiler::ensure(args.install)?;
    let linker = linker::ensure(&compiler, args.install)?;
    let linker_version = linker::version(&linker).unwrap_or_else(|| "of unknown version".to_owned());
    eprintln!("build-ebpf: {}, bpf-linker {linker_version}", compiler.description);

    // A folder for each: another flag would have everything compiled anew.
    let folder = match architecture {
        std::env::consts::ARCH => "target/bpf-build".to_owned(),
        other => format!("target/bpf-build-{other}"),
    };
    let build = workspace::root().join(folder);
    let mut flags = vec![
        format!("-Clinker={}", linker.display()),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("--cfg=bpf_target_arch=\"{architecture}\""),
    ];
    // The object says which line an instruction is of; the same wherever it is built.
    let paths = workspace::unnamed_paths()?;
    flags.extend(paths.iter().map(|(path, name)| format!("--remap-path-prefix={path}={name}")));
    let mut cargo = compiler.cargo();
    cargo.current_dir(workspace::root()).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    cargo.args(["build", "--quiet", "--package", "mesh-ebpf", "--bin", "mesh", "--features", "programs"]);
    cargo
        .args(["--release", "--target", "bpfel-unknown-none", "-Zbuild-std=core", "--target-dir"])
        .arg(&build);
    process::run(&mut cargo)?;

    let built = build.join("bpfel-unknown-none/release/mesh");
    let object = workspace::ebpf_object(architecture);
    let changed = replace(&built, &object)?;
    eprintln!("build-ebpf: {} {}", object.display(), if changed { "written" } else { "is up to date" });
    Ok(object)
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
