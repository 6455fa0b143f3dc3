//! `conformance`: builds the Gateway API's conformance suite, pinned as a Go module in `tests/conformance`, and runs it
//! against the mesh on a real Kubernetes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    cluster::{
        self,
        definitions::{self, SUITE},
        fingerprint,
    },
    process, testbed, workspace,
};

/// What the tests call it.
pub(crate) const NAME: &str = "conformance";

/// What the suite is built from, and how: as little as possible of whoever builds, no debug information.
const SOURCES: [&str; 3] = ["go.mod", "go.sum", "conformance_test.go"];
const BUILD: [&str; 6] = ["test", "-c", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w"];

/// The manifest of the pods that the suite starts, in its module.
const MANIFEST: &str = "mesh/manifests.yaml";

/// Where the report is kept.
const REPORT: &str = "tests/conformance/report.yaml";

/// Options of `conformance`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often the suite is run
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Keep the report of the last run, if every run passes, in tests/conformance/report.yaml
    #[arg(long)]
    report: bool,
    /// Only the suite's test of this name
    #[arg(conflicts_with = "report")]
    test: Option<String>,
}

impl Args {
    /// The whole suite, once: what the tests do with it.
    pub(crate) const ONCE: Self = Self { runs: 1, report: false, test: None };
}

/// Runs the suite on the cluster that is up, or else on one that comes and goes; fails unless every run passes.
pub(crate) fn run(args: &Args) -> Result<()> {
    let was_up = cluster::is_up();
    let conformed = on_cluster(args);
    let down = if was_up { Ok(()) } else { cluster::down() };
    conformed.and(down)
}

/// The same, and the cluster stays.
pub(crate) fn on_cluster(args: &Args) -> Result<()> {
    build()?;
    cluster::up(&cluster::UpArgs::default())?;
    let mut conformance = testbed::program("mesh-conformance", false);
    conformance.arg("--target").arg(workspace::root().join("target")).arg("--suite").arg(suite());
    conformance.arg("--manifest").arg(manifest());
    conformance.arg("--runs").arg(args.runs.to_string());
    conformance.args(args.test.iter().flat_map(|test| ["--test", test]));
    if args.report {
        conformance.arg("--report").arg(workspace::root().join(REPORT));
    }
    process::run(&mut conformance)
}

/// Says at once why it could not be built.
pub(crate) fn can_be_had() -> Result<()> {
    if is_built(&fingerprint()?) { Ok(()) } else { definitions::go_is_there() }
}

/// Makes the suite a program, with the manifest of its pods beside it.
fn build() -> Result<()> {
    let fingerprint = fingerprint()?;
    if is_built(&fingerprint) {
        return Ok(());
    }
    definitions::go_is_there()?;
    eprintln!("building the Gateway API's conformance suite (once, up to three minutes on two cores)");
    let cannot = |what: &str, path: &Path| format!("cannot {what} {}", path.display());
    fs::create_dir_all(folder()).with_context(|| cannot("make", &folder()))?;
    let mut go = definitions::go();
    process::run(go.args(BUILD).arg("-o").arg(suite()).arg("."))?;
    let from = definitions::module(SUITE)?.join(MANIFEST);
    let text = fs::read(&from).with_context(|| cannot("read", &from))?;
    fs::write(manifest(), text).with_context(|| cannot("write", &manifest()))?;
    fs::write(built(), fingerprint).with_context(|| cannot("write", &built()))
}

fn fingerprint() -> Result<String> {
    fingerprint::of(&definitions::source(), &SOURCES, &BUILD.join(" "))
}

fn is_built(fingerprint: &str) -> bool {
    fingerprint::is_in(&built(), fingerprint)
}

fn folder() -> PathBuf {
    workspace::root().join("target/conformance")
}

fn suite() -> PathBuf {
    folder().join("suite")
}

fn manifest() -> PathBuf {
    folder().join("manifests.yaml")
}

/// Holds the fingerprint of what they were built from.
fn built() -> PathBuf {
    folder().join("built-from")
}
