//! Debian packages: which are missing, how to install them by hand, and installing them where we may.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use crate::process;

/// What compiles the kernel programs where no nightly toolchain with `rust-src` is there: a complete second Rust.
pub(crate) const BPF_COMPILER: &[&str] =
    &["rustc-web", "cargo-web", "rust-web-src", "llvm-22-dev", "libpolly-22-dev"];

/// What building `bpf-linker` from source needs beside a Rust toolchain.
pub(crate) const BPF_LINKER: &[&str] =
    &["llvm-22-dev", "libpolly-22-dev", "g++", "zlib1g-dev", "libzstd-dev"];

/// What the fuzzer's own engine is compiled with.
pub(crate) const FUZZER: &[&str] = &["g++"];

/// Programs that the testbed, the tests and the benchmark run.
pub(crate) const TESTBED: &[&str] = &["nftables", "iproute2", "iperf3", "procps", "util-linux"];

/// What a real Kubernetes runs on: its store, and what runs containers and gives them a network.
pub(crate) const CLUSTER: &[&str] =
    &["etcd-server", "containerd", "runc", "containernetworking-plugins", "iptables", "tar"];

/// The commands that install `packages` by hand.
pub(crate) fn install_commands(packages: &[&str]) -> String {
    format!("apt-get update && apt-get install --yes --no-install-recommends {}", packages.join(" "))
}

/// Those of `packages` that dpkg does not know as installed; all of them where there is no dpkg.
pub(crate) fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    packages.iter().copied().filter(|package| !installed(package)).collect()
}

/// Installs what is missing of `packages` as root on Debian or Ubuntu; elsewhere, fails with the commands to run.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    if !may_install() {
        bail!(
            "these packages are missing: {}; as root on Debian or Ubuntu run: {}",
            missing.join(" "),
            install_commands(&missing)
        );
    }
    eprintln!("installing {}", missing.join(" "));
    process::run(apt_get().arg("update").arg("--quiet"))?;
    process::run(apt_get().args(["install", "--quiet", "--yes", "--no-install-recommends"]).args(&missing))
}

/// Whether this process may install packages here: root, and a system with apt-get.
pub(crate) fn may_install() -> bool {
    let root = process::output(Command::new("id").arg("-u")).is_some_and(|uid| uid.trim() == "0");
    root && Path::new("/usr/bin/apt-get").exists()
}

fn installed(package: &str) -> bool {
    process::output(Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]))
        .is_some_and(|status| status == "installed")
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}
