//! Where things are: the workspace root and the folders under its target directory that every command agrees on.

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies one level below the workspace root")
}

/// The compiled kernel programs: always under the workspace's own target directory, whatever `CARGO_TARGET_DIR`
/// says, because the agent's build script looks there.
pub(crate) fn ebpf_object() -> PathBuf {
    root().join("target/bpf/mesh.o")
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
