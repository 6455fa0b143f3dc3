//! The pin directory: its layout, its lock, and its removal.
//!
//! `PIN_ROOT/v<schema>/{maps,programs,links}`. A new schema gets a new directory, so maps of
//! another shape are never reused; what an older schema left is removed once the new one is in
//! force, or by `uninstall`.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use mesh_ebpf::abi::SCHEMA;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::platform::{self, PlatformError};
use crate::sys::bpf;

/// How often to try the lock: a wire that has given way tries now and then whether it is needed again.
const TRIES: u32 = 5;
/// How long until the next try.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// Why the pins could not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum PinError {
    /// The place is not fit.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// Another wire holds them.
    #[error(
        "pin root {path} is held by another mesh-agent wire: stop that one, or give this one its \
         own --pin-root"
    )]
    Held {
        /// The pin root.
        path: PathBuf,
    },
    /// Something was left.
    #[error("{left} of the mesh's pins below {path} could not be removed; first: {first}")]
    Left {
        /// The pin root.
        path: PathBuf,
        /// How many.
        left: usize,
        /// What went wrong first.
        first: String,
    },
}

/// The directories of one schema, held against other wires for as long as this value lives.
#[derive(Debug)]
pub(super) struct Pins {
    pin_root: PathBuf,
    root: PathBuf,
    _lock: Flock<File>,
}

impl Pins {
    /// Makes the directories where they are not there, and locks the pin root.
    ///
    /// # Errors
    /// When the place is not fit or another wire holds it.
    pub(super) fn open(pin_root: &Path) -> Result<Self, PinError> {
        platform::check_bpffs(pin_root)?;
        make_directory(pin_root)?;
        let lock = lock(pin_root)?;
        let root = pin_root.join(format!("v{SCHEMA}"));
        for directory in [root.clone(), root.join("maps"), root.join("programs"), root.join("links")] {
            make_directory(&directory)?;
        }
        Ok(Self { pin_root: pin_root.to_owned(), root, _lock: lock })
    }

    /// Detaches and removes what agents of other schemas left. Called once this one's programs are
    /// attached and its maps filled: until then both enforce, so nothing is open in between.
    /// Connections that the other schema published are unproven to this one.
    pub(super) fn remove_other_schemas(&self) {
        let mut failures = Vec::new();
        for schema in subdirectories(&self.pin_root).into_iter().filter(|path| *path != self.root) {
            tracing::info!(pins = %schema.display(), "removing what another version left");
            remove_schema(&schema, &mut failures);
        }
        for what in failures {
            tracing::error!(what, "a pin of another version is left");
        }
    }

    /// Where the maps are pinned.
    pub(super) fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }

    /// Where the programs are pinned.
    pub(super) fn programs(&self) -> PathBuf {
        self.root.join("programs")
    }

    /// Where the links are pinned.
    pub(super) fn links(&self) -> PathBuf {
        self.root.join("links")
    }
}

/// A lock on the directory itself: bpffs holds no ordinary files.
fn lock(pin_root: &Path) -> Result<Flock<File>, PinError> {
    let mut directory = File::open(pin_root).map_err(PlatformError::io("opening", pin_root))?;
    for _ in 0..TRIES {
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((again, Errno::EWOULDBLOCK)) => directory = again,
            Err((_, other)) => return Err(PlatformError::io("locking", pin_root)(other.into()).into()),
        }
        thread::sleep(TRY_AGAIN);
    }
    Err(PinError::Held { path: pin_root.to_owned() })
}

/// Whether no wire holds a pin root, and one did.
pub(super) fn is_unheld(pin_root: &Path) -> bool {
    let directory = File::open(pin_root);
    directory.is_ok_and(|directory| Flock::lock(directory, FlockArg::LockExclusiveNonblock).is_ok())
}

fn make_directory(path: &Path) -> Result<(), PlatformError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(PlatformError::io("making", path)(error))
        }
        _ => Ok(()),
    }
}

/// Removes everything of the mesh below `pin_root`, of every schema, and the pin root itself.
/// Links are detached first, so that nothing stays attached even where something else holds one.
///
/// # Errors
/// When a wire runs on these pins, or something could not be removed.
pub(super) fn uninstall(pin_root: &Path, cgroup_root: &Path) -> Result<(), PinError> {
    if !pin_root.is_dir() {
        tracing::info!(pin_root = %pin_root.display(), "nothing is pinned here");
        return Ok(());
    }
    let _lock = lock(pin_root)?;
    let mut failures = Vec::new();
    for schema in subdirectories(pin_root) {
        remove_schema(&schema, &mut failures);
    }
    remove_directory(pin_root, &mut failures);
    match failures.first() {
        None => {
            tracing::info!(
                pin_root = %pin_root.display(),
                cgroup_root = %cgroup_root.display(),
                "every program, link and map of the mesh is removed"
            );
            Ok(())
        }
        Some(first) => {
            Err(PinError::Left { path: pin_root.to_owned(), left: failures.len(), first: first.clone() })
        }
    }
}

/// Links first: a program that runs must find its maps; maps last.
fn remove_schema(schema: &Path, failures: &mut Vec<String>) {
    for kind in ["links", "programs", "maps"] {
        remove_pins(&schema.join(kind), kind == "links", failures);
    }
    remove_directory(schema, failures);
}

fn subdirectories(path: &Path) -> Vec<PathBuf> {
    entries(path).into_iter().filter(|path| path.is_dir()).collect()
}

/// Paths in a directory; none when it is not there.
pub(super) fn entries(path: &Path) -> Vec<PathBuf> {
    let Ok(directory) = fs::read_dir(path) else { return Vec::new() };
    directory.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect()
}

fn remove_pins(directory: &Path, links: bool, failures: &mut Vec<String>) {
    for path in entries(directory) {
        if links && let Ok(link) = bpf::open_pin(&path) {
            // A defunct link cannot be detached, and need not be.
            let _ = bpf::detach_link(std::os::fd::AsFd::as_fd(&link));
        }
        if let Err(error) = fs::remove_file(&path) {
            failures.push(format!("{}: {error}", path.display()));
        }
    }
    if directory.is_dir() {
        remove_directory(directory, failures);
    }
}

fn remove_directory(path: &Path, failures: &mut Vec<String>) {
    if let Err(error) = fs::remove_dir(path) {
        failures.push(format!("{}: {error}", path.display()));
    }
}
