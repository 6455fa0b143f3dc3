//! Is this kernel fit for the data path.

use std::io;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::sys::utsname::uname;

/// The oldest kernel whose hooks are all there: tcx came with it.
pub(super) const FLOOR: (u32, u32) = (6, 6);

/// Why this machine cannot carry the data path.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlatformError {
    /// Too old.
    #[error(
        "kernel {release} is older than {major}.{minor}: tcx is not there, and its stand-in for \
         older kernels (clsact) is not built; upgrade the node's kernel",
        major = FLOOR.0, minor = FLOOR.1
    )]
    KernelTooOld {
        /// `uname -r`.
        release: String,
    },
    /// Not a bpf file system.
    #[error(
        "pin root {path} is not on a bpf file system (mount -t bpf bpf {mount}, on the node where this \
         runs in a pod): pins could not outlive this process"
    )]
    NotBpffs {
        /// The option's value.
        path: PathBuf,
        /// Where one would be mounted.
        mount: PathBuf,
    },
    /// A file could not be read.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl PlatformError {
    /// Joins an I/O error with what it was about.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }
}

/// The running kernel's release and its first two numbers.
pub(super) fn kernel() -> (String, (u32, u32)) {
    let release = uname().map(|names| names.release().to_string_lossy().into_owned()).unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (release, version)
}

/// Refuses a kernel below the floor (SEMANTICS 9.9).
///
/// # Errors
/// When it is.
pub(super) fn check_kernel() -> Result<(), PlatformError> {
    let (release, version) = kernel();
    if version < FLOOR {
        return Err(PlatformError::KernelTooOld { release });
    }
    Ok(())
}

/// Refuses a pin root that is not on a bpf file system.
///
/// # Errors
/// When it is not, or the directory above it is not there.
pub(super) fn check_bpffs(pin_root: &Path) -> Result<(), PlatformError> {
    // The pin root itself may not be there yet; what it will be made in decides.
    let existing = pin_root.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    let kind = statfs(existing)
        .map_err(|errno| PlatformError::io("looking at", existing)(errno.into()))?
        .filesystem_type();
    if kind == BPF_FS_MAGIC {
        return Ok(());
    }
    let mount = pin_root.parent().unwrap_or(pin_root).to_owned();
    Err(PlatformError::NotBpffs { path: pin_root.to_owned(), mount })
}
