//! Kubernetes, CoreDNS and `pause`: Go modules pinned in `tests/cluster/go.mod`, built by the Go toolchain and kept in
//! `target/cluster/programs` until their sources or versions change.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::fingerprint;
use crate::{process, workspace};

/// What the programs are built from, in `tests/cluster`.
const SOURCES: [&str; 5] = ["go.mod", "go.sum", "kubernetes/main.go", "coredns/main.go", "pause/main.go"];

/// The names by which the one program of Kubernetes is called.
const PARTS: [&str; 6] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"];

/// Where the programs are, and what they are to be built from.
struct Wanted {
    source: PathBuf,
    programs: PathBuf,
    version: String,
    fingerprint: String,
}

impl Wanted {
    fn read() -> Result<Self> {
        let source = workspace::root().join("tests/cluster");
        let version = version(&source)?;
        let fingerprint = fingerprint::of(&source, &SOURCES, &linking(&version))?;
        Ok(Self { programs: workspace::root().join("target/cluster/programs"), source, version, fingerprint })
    }

    /// Holds the fingerprint of what they were built from.
    fn built(&self) -> PathBuf {
        self.programs.join("built-from")
    }

    /// Whether they are there. If not, they can be built, or it is an error.
    fn is_built(&self) -> Result<bool> {
        if fingerprint::is_in(&self.built(), &self.fingerprint) {
            return Ok(true);
        }
        ensure!(
            process::on_path("go").is_some(),
            "building Kubernetes needs Go (the version that {} names, or newer) on the PATH",
            self.source.join("go.mod").display()
        );
        Ok(false)
    }
}

/// Says at once whether [`ensure()`] lacks something.
///
/// # Errors
/// If they are not built and there is no Go toolchain.
pub(crate) fn can_be_had() -> Result<()> {
    Wanted::read()?.is_built().map(drop)
}

/// Makes sure that all programs are there and of the versions that are pinned.
///
/// # Errors
/// If there is no Go toolchain, or it cannot build them.
pub(crate) fn ensure() -> Result<()> {
    let wanted = Wanted::read()?;
    if wanted.is_built()? {
        return Ok(());
    }
    let built = wanted.built();
    let Wanted { source, programs, version, fingerprint } = wanted;
    eprintln!("building Kubernetes {version} and CoreDNS (once, up to ten minutes on two cores)");
    fs::create_dir_all(&programs).with_context(|| format!("cannot make {}", programs.display()))?;
    let mut go = Command::new("go");
    // As little as possible of whoever builds: the same sources give the same programs.
    go.current_dir(&source).env("CGO_ENABLED", "0").env("GOFLAGS", "").env_remove("GOWORK");
    go.args(["build", "-trimpath", "-buildvcs=false", "-ldflags", &linking(&version), "-o"]);
    process::run(go.arg(&programs).arg("./..."))?;
    for part in PARTS {
        let link = programs.join(part);
        match fs::remove_file(&link) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => symlink("kubernetes", &link),
        }
        .with_context(|| format!("cannot make {}", link.display()))?;
    }
    fs::write(&built, fingerprint).with_context(|| format!("cannot write {}", built.display()))
}

/// The version of Kubernetes that `go.mod` requires.
fn version(source: &Path) -> Result<String> {
    let path = source.join("go.mod");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "));
    line.map(str::to_owned).with_context(|| format!("{} does not require k8s.io/kubernetes", path.display()))
}

/// No debug information, and the version that a release would say it is: clients choose by it what to ask for.
fn linking(version: &str) -> String {
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let package = "k8s.io/component-base/version";
    format!(
        "-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
    )
}
