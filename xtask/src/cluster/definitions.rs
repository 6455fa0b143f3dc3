//! The Gateway API's definitions: files of the Go module that `tests/conformance/go.mod` pins, kept in
//! `target/cluster/definitions`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{process, workspace};

/// The module of the API, and that of its conformance suite.
const API: &str = "sigs.k8s.io/gateway-api";
pub(crate) const SUITE: &str = "sigs.k8s.io/gateway-api/conformance";

/// Where the module has them: the channel with all kinds.
const CHANNEL: &str = "config/crd/experimental";

/// How their names begin; what else lies there is no definition.
const PREFIX: &str = "gateway.networking.";

/// What requires both modules.
pub(crate) fn source() -> PathBuf {
    workspace::root().join("tests/conformance")
}

/// Says at once whether [`ensure()`] lacks something.
pub(super) fn can_be_had() -> Result<()> {
    is_there().map(drop)
}

/// Makes sure that they are there, of the version that is pinned.
pub(super) fn ensure() -> Result<()> {
    if is_there()? {
        return Ok(());
    }
    let (folder, from) = (folder(), module(API)?.join(CHANNEL));
    let cannot = |what: &str, path: &Path| format!("cannot {what} {}", path.display());
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| cannot("remove", &folder))?;
    }
    fs::create_dir_all(&folder).with_context(|| cannot("make", &folder))?;
    let mut copied = 0;
    for entry in fs::read_dir(&from).with_context(|| cannot("read", &from))? {
        let entry = entry.with_context(|| cannot("read", &from))?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(PREFIX) {
            let text = fs::read(entry.path()).with_context(|| cannot("read", &entry.path()))?;
            // Not a copy of the file: those of the module's cache are read-only.
            let path = folder.join(&name);
            fs::write(&path, text).with_context(|| cannot("write", &path))?;
            copied += 1;
        }
    }
    ensure!(copied > 0, "{} has no definition", from.display());
    fs::write(of(), pinned()?).with_context(|| cannot("write", &of()))
}

/// The folder of a module that `tests/conformance/go.mod` requires.
pub(crate) fn module(path: &str) -> Result<PathBuf> {
    let mut go = go();
    let text = process::said(go.args(["mod", "download", "-json", path]))?;
    let said: Value = serde_json::from_str(&text).context("what `go mod download -json` says is no JSON")?;
    let folder = said["Dir"].as_str().with_context(|| format!("Go says of no folder with {path}"))?;
    Ok(folder.into())
}

/// The Go toolchain in [`source`], with as little as possible of whoever builds.
pub(crate) fn go() -> Command {
    let mut go = Command::new("go");
    go.current_dir(source()).env("CGO_ENABLED", "0").env("GOFLAGS", "").env_remove("GOWORK");
    go
}

/// Says whether there is a Go toolchain.
pub(crate) fn go_is_there() -> Result<()> {
    ensure!(
        process::on_path("go").is_some(),
        "the Gateway API's definitions and its suite come by Go (the version that {} names, or newer), which is not on the PATH",
        source().join("go.mod").display()
    );
    Ok(())
}

fn folder() -> PathBuf {
    workspace::root().join("target/cluster/definitions")
}

/// Holds the version that the files are of.
fn of() -> PathBuf {
    folder().with_extension("version")
}

fn is_there() -> Result<bool> {
    if folder().is_dir()
        && fs::read_to_string(of()).is_ok_and(|version| pinned().is_ok_and(|now| now == version))
    {
        return Ok(true);
    }
    go_is_there()?;
    Ok(false)
}

/// The version of the API that is required.
fn pinned() -> Result<String> {
    let path = source().join("go.mod");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let version = text.lines().find_map(|line| line.trim().strip_prefix(API)?.strip_prefix(' '));
    version.map(str::to_owned).with_context(|| format!("{} does not require {API}", path.display()))
}
