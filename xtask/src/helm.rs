//! `helm`: builds Helm, pinned as a Go module in `tests/helm`, and asks it about the chart.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{process, workspace};

/// Options of `helm`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// The program's package; its version stands in `tests/helm/go.mod`.
const PACKAGE: &str = "helm.sh/helm/v4/cmd/helm";

/// Lints the chart and compares what Helm renders with what `meshctl install` does.
pub(crate) fn run(_: &Args) -> Result<()> {
    build()?;
    let mut cargo = process::cargo();
    cargo.args(["test", "--quiet", "--workspace", "--test", "helm", "--"]);
    process::run(cargo.arg("--include-ignored"))
}

fn build() -> Result<()> {
    ensure!(
        process::on_path("go").is_some(),
        "building Helm needs Go (the version that tests/helm/go.mod names, or newer) on the PATH"
    );
    let target = workspace::root().join("target/helm");
    std::fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
    let mut go = Command::new("go");
    go.current_dir(workspace::root().join("tests/helm"));
    go.env("CGO_ENABLED", "0").env("GOFLAGS", "").env_remove("GOWORK");
    // Go itself knows whether anything has changed.
    go.args(["build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o"]);
    process::run(go.arg(target.join("helm")).arg(PACKAGE))
}
