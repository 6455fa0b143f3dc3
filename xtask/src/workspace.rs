//! Where things are: the workspace root and the folders under its target directory that every command agrees on.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies one level below the workspace root")
}

/// The compiled kernel programs for an architecture: always under the workspace's own target directory, whatever
/// `CARGO_TARGET_DIR` says, because the agent's build script looks there for those of this machine.
pub(crate) fn ebpf_object(architecture: &str) -> PathBuf {
    let file = match architecture {
        std::env::consts::ARCH => "mesh.o".to_owned(),
        other => format!("mesh-{other}.o"),
    };
    root().join("target/bpf").join(file)
}

/// Paths of this machine that compilers write into what they make, and the names to write instead, so that the same
/// sources give the same bytes elsewhere.
pub(crate) fn unnamed_paths() -> Result<Vec<(String, &'static str)>> {
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(std::env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?)
            .join(".cargo"),
    };
    let root = root().canonicalize().context("cannot find the workspace")?;
    // Of two that fit a compiler takes the last.
    Ok(vec![(home.display().to_string(), "/cargo"), (root.display().to_string(), "/mesh")])
}

/// Where tools that are no part of the toolchain are installed, pinned (`bpf-linker`, `cargo-deny`).
pub(crate) fn tools() -> PathBuf {
    root().join("target/tools")
}

/// Where cargo puts the workspace's own programs for the given profile.
pub(crate) fn programs(release: bool) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join(if release { "release" } else { "debug" })
}
