//! `images`: the images of agent, controller and CLI as OCI archives: static programs, no registry, no base image, the
//! same bytes from the same sources. For tests, the programs that are built already, with this machine's libraries.
//!
//! What is in an image stands in its `deploy/images/NAME.Containerfile`, which other builders read as well;
//! `mesh-image` of the tests' crate reads it here.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{ebpf, process, testbed, tools::packages, workspace};

/// The images, by the names of their Containerfiles.
const IMAGES: [&str; 3] = ["mesh-agent", "mesh-control", "meshctl"];

/// What stands before their names, unless somebody says otherwise; the chart's default too.
const REPOSITORY: &str = "mesh.internal";

/// Options of `images`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What is in them: `release` to ship, `dev` for tests on this machine, without compiling twice
    #[arg(long, value_enum, default_value = "release")]
    profile: Profile,
    /// For which architecture; may be repeated. Of the profile `dev` there is only this machine's
    #[arg(long, value_enum, default_values = [Architecture::HERE])]
    architecture: Vec<Architecture>,
    /// What stands before the images' names
    #[arg(long, default_value = REPOSITORY)]
    repository: String,
    /// Their tag; the workspace's version if it is left out
    #[arg(long)]
    tag: Option<String>,
}

/// What is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Profile {
    /// Static programs, optimised.
    Release,
    /// The programs that tests run, without the lines of their sources, and the libraries that they load.
    Dev,
}

/// An architecture, by the name that images have for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Architecture {
    Amd64,
    Arm64,
}

impl Architecture {
    /// This machine's, as an argument.
    const HERE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

    fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// By the name that Rust and the kernel programs have for it.
    fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    fn triple(self) -> String {
        format!("{}-unknown-linux-gnu", self.machine())
    }

    /// What links for it from another one.
    fn cross_linker(self) -> String {
        format!("{}-linux-gnu-gcc", self.machine())
    }

    fn is_here(self) -> bool {
        self.machine() == std::env::consts::ARCH
    }

    /// Makes sure that it can be compiled for.
    fn prepare(self) -> Result<()> {
        if self.is_here() {
            return Ok(());
        }
        let (triple, linker) = (self.triple(), self.cross_linker());
        let targets = process::output(Command::new("rustup").args(["target", "list", "--installed"]));
        if !targets.is_some_and(|list| list.lines().any(|line| line == triple)) {
            bail!("Rust's library for {triple} is not installed; run: rustup target add {triple}");
        }
        if process::on_path(&linker).is_none() {
            let package = format!("gcc-{}-linux-gnu", self.machine().replace('_', "-"));
            let install = packages::install_commands(&[package.as_str()]);
            bail!("{linker} is not on the PATH; on Debian or Ubuntu: {install}");
        }
        Ok(())
    }
}

/// Those that tests install on this machine; gives their archives.
pub(crate) fn for_tests() -> Result<Vec<PathBuf>> {
    let architecture = if Architecture::Amd64.is_here() { Architecture::Amd64 } else { Architecture::Arm64 };
    let repository = REPOSITORY.to_owned();
    build(&Args { architecture: vec![architecture], profile: Profile::Dev, repository, tag: None })
}

/// Builds the programs and packs the images: `target/images/NAME-ARCHITECTURE.tar`, those for tests below `dev`.
pub(crate) fn run(args: &Args) -> Result<()> {
    build(args).map(drop)
}

fn build(args: &Args) -> Result<Vec<PathBuf>> {
    let tag = args.tag.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"));
    let images = workspace::root().join("target/images");
    let mut packer = process::cargo();
    process::run(packer.args(["build", "--quiet", "--workspace", "--bin", "mesh-image"]))?;
    let mut made = Vec::new();
    for architecture in &args.architecture {
        let (programs, archives) = match args.profile {
            Profile::Release => {
                architecture.prepare()?;
                (programs(*architecture, &images)?, images.clone())
            }
            Profile::Dev => {
                ensure!(architecture.is_here(), "images of the profile dev are for this machine only");
                let archives = images.join("dev");
                (programs_for_tests(&archives)?, archives)
            }
        };
        for image in IMAGES {
            let archive = archives.join(format!("{image}-{}.tar", architecture.name()));
            let mut pack = testbed::program("mesh-image", false);
            pack.arg("--containerfile")
                .arg(workspace::root().join(format!("deploy/images/{image}.Containerfile")));
            pack.arg("--context").arg(workspace::root()).arg("--programs").arg(&programs);
            pack.args((args.profile == Profile::Dev).then_some("--libraries"));
            pack.args(["--architecture", architecture.name(), "--name"]);
            pack.arg(format!("{}/{image}:{tag}", args.repository)).arg(&archive);
            process::run(&mut pack)?;
            made.push(archive);
        }
    }
    Ok(made)
}

/// Builds what tests run, in the selection that they have it in, and copies the programs without their debug
/// information; gives their folder.
fn programs_for_tests(archives: &Path) -> Result<PathBuf> {
    testbed::build(false)?;
    let folder = archives.join("programs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for image in IMAGES {
        let mut strip = Command::new("strip");
        strip.args(["--strip-debug", "-o"]).arg(folder.join(image));
        process::run(strip.arg(workspace::programs(false).join(image)))?;
    }
    Ok(folder)
}

/// Builds the programs, linked statically; gives their folder.
fn programs(architecture: Architecture, images: &Path) -> Result<PathBuf> {
    let object = ebpf::build(&ebpf::Args { install: true }, architecture.machine())?;
    let (triple, build) = (architecture.triple(), images.join("build"));
    let mut cargo = process::cargo();
    cargo
        .args(["build", "--quiet", "--release", "--locked", "--target", &triple, "--target-dir"])
        .arg(&build);
    cargo.args(["--package", "mesh-agent", "--package", "mesh-control"]);
    cargo.args(["--bin", "mesh-agent", "--bin", "mesh-control", "--bin", "meshctl"]);
    // Nothing of this machine: no path, no time, nothing left over from an earlier build.
    let paths = workspace::unnamed_paths()?;
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    flags.extend(paths.iter().map(|(path, name)| format!("--remap-path-prefix={path}={name}")));
    let mapped: Vec<String> =
        paths.iter().map(|(path, name)| format!("-ffile-prefix-map={path}={name}")).collect();
    let underscored = triple.replace('-', "_");
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    cargo.env(format!("CFLAGS_{underscored}"), mapped.join(" "));
    cargo.env("CARGO_INCREMENTAL", "0").env("SOURCE_DATE_EPOCH", "0");
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "0").env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo");
    cargo.env("MESH_EBPF_OBJECT", &object).env_remove("RUSTFLAGS");
    if !architecture.is_here() {
        let upper = underscored.to_uppercase();
        cargo.env(format!("CARGO_TARGET_{upper}_LINKER"), architecture.cross_linker());
        cargo.env(format!("CC_{underscored}"), architecture.cross_linker());
    }
    process::run(&mut cargo).context("the programs of the images cannot be built")?;
    Ok(build.join(triple).join("release"))
}
