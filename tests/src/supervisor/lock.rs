//! Who owns a testbed's name: the process that holds the lock in its run directory. The kernel lets go of it however
//! that process ends, which is how the leftovers of a killed one are told from a running one.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    mount::{MsFlags, mount},
    sys::statfs::{TMPFS_MAGIC, statfs},
};

use super::leftovers;
use crate::{
    addresses::{Plan, SLOTS},
    layout::{Layout, RUN_ROOT},
};

/// Why a testbed cannot be owned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else runs it.
    #[error(
        "testbed {name:?} is up already (process {pid}); take it down first: cargo xtask down --name {name}"
    )]
    Held {
        /// The testbed.
        name: String,
        /// The owner.
        pid: String,
    },
    /// Too many testbeds.
    #[error("{SLOTS} testbeds are up; take one down: cargo xtask down --name NAME")]
    Slots,
    /// A file or folder could not be used.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What an earlier run left could not be removed.
    #[error(transparent)]
    Leftovers(#[from] leftovers::Error),
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    |source| Error::Io { path: path.to_owned(), source }
}

/// A testbed that is ours.
#[derive(Debug)]
pub(super) struct Lock {
    _held: Flock<File>,
    /// The addresses to hand out.
    pub(super) plan: Plan,
}

impl Lock {
    /// Takes the testbed's name, after removing what dead owners left of it and of any other.
    pub(super) fn acquire(layout: &Layout) -> Result<Self, Error> {
        make_root()?;
        let starting = Path::new(RUN_ROOT).join(".starting");
        let file = open(&starting)?;
        // One start at a time: a run directory that is just being made must not pass for leftovers.
        let _starting = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| Error::Io { path: starting.clone(), source: errno.into() })?;
        let slots = remove_dead(layout)?;
        let slot = (0..SLOTS).find(|slot| !slots.contains(slot)).ok_or(Error::Slots)?;

        let run = layout.run();
        fs::create_dir_all(&run).map_err(io_error(&run))?;
        // The relay, which is not root, must reach its own folder below.
        fs::set_permissions(&run, Permissions::from_mode(0o711)).map_err(io_error(&run))?;
        let path = layout.lock();
        let mut held = Flock::lock(open(&path)?, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| Error::Io { path: path.clone(), source: errno.into() })?;
        held.set_len(0).map_err(io_error(&path))?;
        writeln!(held, "{}", std::process::id()).map_err(io_error(&path))?;
        let slot_file = run.join("slot");
        fs::write(&slot_file, slot.to_string()).map_err(io_error(&slot_file))?;
        Ok(Self { _held: held, plan: Plan::new(slot) })
    }
}

/// The process that owns the testbed, if one does. Where that cannot be told, for want of open files say, one does: what
/// is taken for dead is removed.
pub(crate) fn owner(layout: &Layout) -> Option<String> {
    let unknown = || Some("unknown".to_owned());
    let mut file = match File::open(layout.lock()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(_) => return unknown(),
    };
    let mut pid = String::new();
    if file.read_to_string(&mut pid).and_then(|_| file.rewind()).is_err() {
        return unknown();
    }
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => None,
        Err((_, Errno::EWOULDBLOCK)) => Some(pid.trim().to_owned()),
        Err(_) => unknown(),
    }
}

/// Makes the folder of all run directories, in memory as `/run` is on a real machine: the agent keeps its key nowhere
/// else.
pub(crate) fn make_root() -> Result<(), Error> {
    let root = Path::new(RUN_ROOT);
    fs::create_dir_all(root).map_err(io_error(root))?;
    let above = root.parent().unwrap_or(root);
    // Outside of what is mounted over.
    let file = File::open(above).map_err(io_error(above))?;
    let _one_at_a_time = Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| Error::Io { path: above.to_owned(), source: errno.into() })?;
    let failed = |errno: Errno| Error::Io { path: root.to_owned(), source: errno.into() };
    if statfs(root).map_err(failed)?.filesystem_type() == TMPFS_MAGIC {
        return Ok(());
    }
    let is_directory = |entry: io::Result<fs::DirEntry>| {
        entry.and_then(|entry| entry.file_type()).is_ok_and(|kind| kind.is_dir())
    };
    if fs::read_dir(root).map_err(io_error(root))?.any(is_directory) {
        tracing::warn!("{RUN_ROOT} is on a disk and in use: agents that are restarted cannot join again");
        return Ok(());
    }
    mount(Some("tmpfs"), root, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=0755"))
        .map_err(failed)
}

/// Removes every run directory without an owner; gives the slots of the others.
fn remove_dead(ours: &Layout) -> Result<Vec<u8>, Error> {
    let mut slots = Vec::new();
    for entry in fs::read_dir(RUN_ROOT).map_err(io_error(Path::new(RUN_ROOT)))? {
        let entry = entry.map_err(io_error(Path::new(RUN_ROOT)))?;
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let Some(layout) =
            entry.file_name().to_str().filter(|_| is_directory).and_then(|name| Layout::new(name).ok())
        else {
            continue;
        };
        match owner(&layout) {
            Some(pid) if layout.name() == ours.name() => {
                return Err(Error::Held { name: ours.name().to_owned(), pid });
            }
            Some(_) => {
                let slot = fs::read_to_string(layout.run().join("slot")).ok();
                slots.extend(slot.and_then(|text| text.trim().parse::<u8>().ok()));
            }
            None => {
                tracing::warn!(testbed = layout.name(), "removing what a killed run left");
                leftovers::remove(&layout)?;
                if layout.name() != ours.name() {
                    // There is none if it was not in the background.
                    let _ = fs::remove_file(layout.supervisor_log());
                }
            }
        }
    }
    // A run directory may be gone while the rest is not.
    leftovers::remove(ours)?;
    Ok(slots)
}

fn open(path: &Path) -> Result<File, Error> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).map_err(io_error(path))
}
