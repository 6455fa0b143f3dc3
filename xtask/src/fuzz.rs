//! `fuzz`: throws generated octets at what decides about requests (`mesh-agent/l7/fuzz`), by libFuzzer.
//!
//! The toolchain is the workspace's own: the flags below are those by which `cargo fuzz` has rustc count what code was
//! reached, without a sanitizer, which a stable compiler does not have. `cargo fuzz run -s none TARGET` does the same.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use crate::{process, tools::packages, workspace};

/// Options of `fuzz`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long each target is run
    #[arg(long, default_value_t = BRIEFLY, value_name = "SECONDS")]
    seconds: u32,
    /// Only this target
    target: Option<String>,
}

impl Default for Args {
    fn default() -> Self {
        Self { seconds: BRIEFLY, target: None }
    }
}

/// How long the tests run each target: long enough for some 100,000 inputs, which find what is badly wrong.
const BRIEFLY: u32 = 5;

/// Every target, as in `mesh-agent/l7/fuzz/Cargo.toml`.
const TARGETS: [&str; 5] = ["detector", "normaliser", "route_matcher", "access_rules", "heads"];

/// The longest input.
const OCTETS: u32 = 2048;

const FLAGS: [&str; 7] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

/// Runs the targets, each with what earlier runs found worth keeping.
pub(crate) fn run(args: &Args) -> Result<()> {
    packages::install(packages::FUZZER)?;
    let target = workspace::root().join("target/fuzz");
    let triple = process::said(Command::new("rustc").args(["--print", "host-tuple"]))?;
    let triple = triple.trim();
    let mut cargo = process::cargo();
    cargo.current_dir(workspace::root().join("mesh-agent/l7/fuzz")).env("RUSTFLAGS", FLAGS.join(" "));
    // With a target named, build scripts and macros are compiled without the flags.
    cargo.args(["build", "--quiet", "--release", "--locked", "--target", triple, "--target-dir"]);
    process::run(cargo.arg(&target))?;
    for name in TARGETS.into_iter().filter(|name| args.target.as_deref().is_none_or(|wanted| wanted == *name))
    {
        let corpus = target.join("corpus").join(name);
        fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
        let mut fuzzer = Command::new(target.join(triple).join("release").join(name));
        // What it finds wrong is left beside the corpus.
        fuzzer.arg(format!("-artifact_prefix={}/wrong-{name}-", target.display()));
        fuzzer.args([format!("-max_total_time={}", args.seconds), format!("-max_len={OCTETS}")]);
        process::run(fuzzer.args(["-print_final_stats=1", "-verbosity=0"]).arg(&corpus))?;
    }
    Ok(())
}
