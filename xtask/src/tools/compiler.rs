//! The Rust compiler for BPF. Building `core` for `bpfel-unknown-none` needs the standard library's source, which the
//! pinned toolchain does not carry; Debian's second Rust and a rustup nightly with `rust-src` do.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::packages;
use crate::process;

/// A cargo and a rustc that can build `core` from source for BPF.
#[derive(Debug)]
pub(crate) struct Compiler {
    cargo: PathBuf,
    rustc: PathBuf,
    /// For people: which one this is.
    pub(crate) description: String,
    /// The major version of its LLVM; the linker must not be older, or it cannot read the bitcode.
    pub(crate) llvm: u32,
}

impl Compiler {
    /// Finds a compiler: Debian's first, else rustup's nightly.
    ///
    /// # Errors
    /// If there is none, with the commands that install one.
    pub(crate) fn find() -> Result<Self> {
        if let Some(compiler) = Self::debian().or_else(Self::nightly) {
            return Ok(compiler);
        }
        bail!(
            "no Rust compiler for BPF found (it needs the source of `core`, which this toolchain lacks). Either of\n  \
             Debian/Ubuntu, as root:  {}\n  \
             rustup:                  rustup toolchain install nightly --component rust-src\n\
             gives one; `cargo xtask build-ebpf --install` runs the first",
            packages::install_commands(packages::BPF_COMPILER)
        );
    }

    /// Whether one is there already.
    pub(crate) fn is_present() -> bool {
        Self::debian().or_else(Self::nightly).is_some()
    }

    /// A cargo command of this compiler, free of what the surrounding toolchain put into the environment.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        for variable in
            ["RUSTUP_TOOLCHAIN", "CARGO", "LD_LIBRARY_PATH", "RUSTFLAGS", "RUSTC_WRAPPER", "RUSTDOC"]
        {
            command.env_remove(variable);
        }
        // Building `core` ourselves is an unstable option, and Debian's compiler is a stable one.
        command.env("RUSTC", &self.rustc).env("RUSTC_BOOTSTRAP", "1");
        command
    }

    fn debian() -> Option<Self> {
        let (cargo, rustc) = (PathBuf::from("/usr/bin/cargo"), PathBuf::from("/usr/bin/rustc"));
        Self::inspect("Debian", cargo, rustc)
    }

    fn nightly() -> Option<Self> {
        let which = |program: &str| {
            process::output(Command::new("rustup").args(["which", "--toolchain", "nightly", program]))
                .map(|path| PathBuf::from(path.trim()))
        };
        Self::inspect("rustup nightly", which("cargo")?, which("rustc")?)
    }

    /// Takes the pair if both run and the library source is there.
    fn inspect(origin: &str, cargo: PathBuf, rustc: PathBuf) -> Option<Self> {
        let run = |program: &Path, arguments: &[&str]| {
            process::output(
                Command::new(program)
                    .args(arguments)
                    .env_remove("RUSTUP_TOOLCHAIN")
                    .env_remove("LD_LIBRARY_PATH"),
            )
        };
        run(&cargo, &["--version"])?;
        let sysroot = run(&rustc, &["--print", "sysroot"])?;
        if !Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file() {
            return None;
        }
        let version = run(&rustc, &["--version", "--verbose"])?;
        let field = |name: &str| version.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let (release, llvm) = (field("release:")?, field("LLVM version:")?);
        let description = format!("{origin} rustc {release} (LLVM {llvm})");
        let llvm = llvm.split('.').next()?.parse().ok()?;
        Some(Self { cargo, rustc, description, llvm })
    }
}

/// Makes sure a compiler is there, installing Debian's where that is allowed.
///
/// # Errors
/// If there is none and none can be installed; the text says what to run.
pub(crate) fn ensure(install: bool) -> Result<Compiler> {
    if install && !Compiler::is_present() && packages::may_install() {
        packages::install(packages::BPF_COMPILER).context("cannot install a compiler for BPF")?;
    }
    Compiler::find()
}
