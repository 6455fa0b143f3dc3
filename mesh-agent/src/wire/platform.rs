//! Is this kernel fit for the data path, and where is its cgroup2 hierarchy.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
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
    /// Not below a cgroup2 mount.
    #[error(
        "cgroup root {path} is not in a cgroup2 hierarchy: mount one (mount -t cgroup2 none DIR) and \
         name a directory below it with --cgroup-root"
    )]
    NotCgroup2 {
        /// The option's value.
        path: PathBuf,
    },
    /// Not a bpf file system.
    #[error(
        "pin root {path} is not on a bpf file system (mount -t bpf bpf {mount}): pins could not \
         outlive this process"
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

/// A directory in the cgroup2 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Where cgroup2 is mounted.
    pub(super) mount: PathBuf,
}

impl Hierarchy {
    /// The hierarchy that holds `path`.
    ///
    /// # Errors
    /// When no cgroup2 mount does.
    pub(super) fn of(path: &Path) -> Result<Self, PlatformError> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")
            .map_err(PlatformError::io("reading", Path::new("/proc/self/mountinfo")))?;
        let canonical = path.canonicalize().map_err(PlatformError::io("opening", path))?;
        cgroup2_mounts(&mounts)
            .filter(|mount| canonical.starts_with(mount))
            .max_by_key(|mount| mount.components().count())
            .map(|mount| Self { mount })
            .ok_or_else(|| PlatformError::NotCgroup2 { path: path.to_owned() })
    }

    /// Depth of a directory as `bpf_get_current_ancestor_cgroup_id` counts: the mount is 0.
    pub(super) fn level(&self, path: &Path) -> u32 {
        path.strip_prefix(&self.mount).map_or(0, |below| below.components().count() as u32)
    }

    /// The cgroup of this process.
    ///
    /// # Errors
    /// When `/proc` does not tell.
    pub(super) fn own(&self) -> Result<PathBuf, PlatformError> {
        self.of_process(std::process::id())
    }

    /// The cgroup of a process.
    ///
    /// # Errors
    /// When it is gone.
    pub(super) fn of_process(&self, pid: u32) -> Result<PathBuf, PlatformError> {
        let path = PathBuf::from(format!("/proc/{pid}/cgroup"));
        let text = fs::read_to_string(&path).map_err(PlatformError::io("reading", &path))?;
        let below = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
        Ok(self.mount.join(below.trim_start_matches('/')))
    }
}

/// The id by which the kernel programs know a cgroup.
///
/// # Errors
/// When the directory is not there.
pub(super) fn cgroup_id(path: &Path) -> io::Result<u64> {
    fs::metadata(path).map(|metadata| metadata.ino())
}

/// Mount points of cgroup2 in `/proc/self/mountinfo` (proc(5)): the fifth field, where the first
/// field after the separator is the type.
fn cgroup2_mounts(mountinfo: &str) -> impl Iterator<Item = PathBuf> {
    mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        (after.split(' ').next()? == "cgroup2").then_some(())?;
        before.split(' ').nth(4).map(|point| PathBuf::from(point.replace("\\040", " ")))
    })
}

#[cfg(test)]
mod tests {
    use super::{Hierarchy, cgroup2_mounts};
    use std::path::{Path, PathBuf};

    #[test]
    fn finds_cgroup2_in_a_hybrid_hierarchy() {
        let mountinfo = "25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
            31 25 0:27 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n\
            32 25 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let mounts: Vec<PathBuf> = cgroup2_mounts(mountinfo).collect();
        assert_eq!(mounts, [PathBuf::from("/sys/fs/cgroup/unified")]);
    }

    #[test]
    fn levels_count_from_the_mount() {
        let hierarchy = Hierarchy { mount: "/sys/fs/cgroup".into() };
        assert_eq!(hierarchy.level(Path::new("/sys/fs/cgroup")), 0);
        assert_eq!(hierarchy.level(Path::new("/sys/fs/cgroup/kubepods/poda")), 2);
    }
}
