//! What the kernel keeps for the agent: its pinned BPF maps. They outlive both processes and are no process's memory.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
    path::{Path, PathBuf},
};

use aya::maps::MapInfo;

use crate::process::{self, Bytes};

/// The maps cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A pin is not a map, or is gone.
    #[error("cannot look at the map pinned at {path}: {source}")]
    Map {
        /// The pin.
        path: PathBuf,
        /// Why.
        source: aya::maps::MapError,
    },
    /// The directory of the pins.
    #[error("cannot list {path}: {source}")]
    List {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What the kernel tells of one.
    #[error(transparent)]
    Account(#[from] process::Error),
}

/// Every map pinned below the agent's `--pin-root`, by name, with what it takes; the largest first.
///
/// # Errors
/// If a pin cannot be looked at.
pub fn pinned(root: &Path) -> Result<Vec<(String, Bytes)>, Error> {
    let mut maps = Vec::new();
    for schema in entries(root)? {
        let folder = schema.join("maps");
        if !folder.is_dir() {
            continue;
        }
        for path in entries(&folder)? {
            let failed = |source| Error::Map { path: path.clone(), source };
            let map = MapInfo::from_pin(&path).and_then(|info| info.fd()).map_err(failed)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            maps.push((name, process::locked(map.as_fd().as_raw_fd())?));
        }
    }
    maps.sort_by_key(|(_, bytes)| std::cmp::Reverse(bytes.0));
    Ok(maps)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::List { path: folder.to_owned(), source };
    fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(failed)
}
