//! Where the node's cgroup2 hierarchy is, and how deep what is seen of it lies.
//!
//! On a machine of its own the agent sees the whole hierarchy. In a pod it does not: the runtime may
//! give each container a cgroup namespace, in which `/proc/PID/cgroup` begins at the container; the
//! node's hierarchy is then a mount whose root lies above that beginning (`/../../..` in the mount
//! table). And a node may be a container itself, so that even its own mount begins somewhere below
//! the kernel's root, from which the kernel programs count. [`ancestry`] tells the depth of the
//! mount's root; inodes, not paths, tell where this process is below it.

mod mounts;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use crate::sys::ancestry;
use mounts::{Mount, Shown};

/// Why the hierarchy cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum HierarchyError {
    /// No cgroup2 there.
    #[error(
        "--cgroup-root {path} is neither in a cgroup2 hierarchy nor has one below it: mount one (mount \
         -t cgroup2 none DIR) and name a directory in it; in a pod, mount the node's /sys/fs/cgroup as \
         a hostPath and name that"
    )]
    NotCgroup2 {
        /// The option's value.
        path: PathBuf,
    },
    /// The container's own.
    #[error(
        "--cgroup-root {path} begins at the cgroup of this very process, so no pod can be below it: \
         that is the container's view; mount the node's /sys/fs/cgroup as a hostPath elsewhere and name \
         that"
    )]
    OwnCgroup {
        /// The option's value.
        path: PathBuf,
    },
    /// Another part of the tree.
    #[error(
        "cgroup2 is mounted at {mount} from a directory (inode {id}) that this process is not below \
         ({ancestors:?}), so its depth cannot be told: mount the node's whole /sys/fs/cgroup"
    )]
    Aside {
        /// The mount point.
        mount: PathBuf,
        /// Inode of its root.
        id: u64,
        /// The cgroups that this process is in.
        ancestors: Vec<u64>,
    },
    /// The kernel does not tell the depth.
    #[error(
        "asking the kernel how deep cgroup2's root at {mount} is: {source}; needs CAP_BPF and \
         CAP_NET_ADMIN"
    )]
    Depth {
        /// The mount point.
        mount: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A process is not below the mount.
    #[error("process {pid} is in cgroup `{shown}`, which is not below the cgroup2 mount at {mount}")]
    Elsewhere {
        /// Which.
        pid: u32,
        /// What `/proc/PID/cgroup` says.
        shown: String,
        /// The mount point.
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

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HierarchyError {
    move |source| HierarchyError::Io { what, path: path.to_owned(), source }
}

/// The cgroup2 hierarchy as it is mounted here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Where.
    pub(super) mount: PathBuf,
    /// How deep the mount's root is: the kernel's own root is 0.
    depth: u32,
    /// What the paths in `/proc/PID/cgroup` are relative to.
    base: Base,
}

/// What `/` means in `/proc/PID/cgroup`, seen from the mount.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Base {
    /// The mount's root is this directory of it.
    Above(PathBuf),
    /// It is this directory in the mount.
    Below(PathBuf),
}

impl Hierarchy {
    /// The hierarchy that holds `path`, and the cgroup that `path` stands for: itself, or the root of
    /// the one cgroup2 mount below it, as in a hybrid `/sys/fs/cgroup`.
    ///
    /// # Errors
    /// When there is none, or where it lies cannot be told.
    pub(super) fn find(path: &Path) -> Result<(Self, PathBuf), HierarchyError> {
        let table = Path::new("/proc/self/mountinfo");
        let text = fs::read_to_string(table).map_err(failed("reading", table))?;
        let canonical = path.canonicalize().map_err(failed("opening", path))?;
        let (mount, root) = mounts::choose(mounts::cgroup2(&text), &canonical)
            .ok_or_else(|| HierarchyError::NotCgroup2 { path: path.to_owned() })?;
        Ok((Self::of(&root, mount)?, root))
    }

    fn of(directory: &Path, Mount { point, root }: Mount) -> Result<Self, HierarchyError> {
        let id = cgroup_id(&point).map_err(failed("looking at", &point))?;
        let above = match &root {
            Shown::Down(shown) => Some(Base::Above(shown.clone())),
            Shown::Up(_) => None,
        };
        // Where nothing is hidden, nothing need be asked.
        if let (ancestry::ROOT, Some(base)) = (id, &above) {
            return Ok(Self { mount: point, depth: 0, base: base.clone() });
        }
        let ancestors =
            ancestry::ancestors().map_err(|source| HierarchyError::Depth { mount: point.clone(), source })?;
        let Some(depth) = ancestors.iter().position(|ancestor| *ancestor == id) else {
            return Err(HierarchyError::Aside { mount: point, id, ancestors });
        };
        let below = ancestors.get(depth + 1..).unwrap_or_default();
        if below.is_empty() && id != ancestry::ROOT && directory == point {
            return Err(HierarchyError::OwnCgroup { path: point });
        }
        let base = match above {
            Some(base) => base,
            None => {
                let own = descend(&point, below)?;
                let shown = shown(std::process::id())?;
                Base::Below(without(&own, &shown))
            }
        };
        Ok(Self { mount: point, depth: depth as u32, base })
    }

    /// One that begins at a directory, for tests of what is below it.
    #[cfg(test)]
    pub(super) fn at(directory: &Path, depth: u32) -> Self {
        Self { mount: directory.to_owned(), depth, base: Base::Above("/".into()) }
    }

    /// Depth of a directory as `bpf_get_current_ancestor_cgroup_id` counts: the kernel's root is 0.
    pub(super) fn level(&self, path: &Path) -> u32 {
        let below = path.strip_prefix(&self.mount).map_or(0, |below| below.components().count() as u32);
        self.depth + below
    }

    /// The cgroup of this process.
    ///
    /// # Errors
    /// When `/proc` does not tell.
    pub(super) fn own(&self) -> Result<PathBuf, HierarchyError> {
        self.of_process(std::process::id())
    }

    /// The cgroup of a process.
    ///
    /// # Errors
    /// When it is gone, or not below the mount.
    pub(super) fn of_process(&self, pid: u32) -> Result<PathBuf, HierarchyError> {
        let shown = shown(pid)?;
        self.locate(Path::new(&shown)).ok_or_else(|| HierarchyError::Elsewhere {
            pid,
            shown,
            mount: self.mount.clone(),
        })
    }

    /// The directory that `/proc/PID/cgroup` calls `shown`.
    fn locate(&self, shown: &Path) -> Option<PathBuf> {
        match &self.base {
            // A path with `..` leads out of what is mounted.
            Base::Above(directory) => {
                let below = shown.strip_prefix(directory).ok()?;
                let plain = below.components().all(|part| matches!(part, Component::Normal(_)));
                plain.then(|| self.mount.components().chain(below.components()).collect())
            }
            Base::Below(directory) => {
                let mut path = directory.clone();
                for part in shown.components() {
                    match part {
                        Component::ParentDir => {
                            path.pop();
                        }
                        Component::Normal(name) => path.push(name),
                        Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
                    }
                }
                path.starts_with(&self.mount).then_some(path)
            }
        }
    }
}

/// What `/proc/PID/cgroup` says of cgroup2.
fn shown(pid: u32) -> Result<String, HierarchyError> {
    let path = PathBuf::from(format!("/proc/{pid}/cgroup"));
    let text = fs::read_to_string(&path).map_err(failed("reading", &path))?;
    let line = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    Ok(line.strip_suffix(" (deleted)").unwrap_or(line).to_owned())
}

/// The directory of a process, less what its own path says of it.
fn without(own: &Path, shown: &str) -> PathBuf {
    let mut directory = own.to_owned();
    for _ in Path::new(shown).components().filter(|part| matches!(part, Component::Normal(_))) {
        directory.pop();
    }
    directory
}

/// The directory that the cgroups of these ids lead to, one in the other.
fn descend(from: &Path, ids: &[u64]) -> Result<PathBuf, HierarchyError> {
    let mut path = from.to_owned();
    for id in ids {
        let next = fs::read_dir(&path)
            .map_err(failed("reading", &path))?
            .filter_map(Result::ok)
            .find(|entry| entry.ino() == *id);
        let gone = || io::Error::new(io::ErrorKind::NotFound, format!("no directory of inode {id} in it"));
        path = next.ok_or_else(gone).map_err(failed("finding the cgroup of this process in", &path))?.path();
    }
    Ok(path)
}

/// The id by which the kernel programs know a cgroup.
///
/// # Errors
/// When the directory is not there.
pub(super) fn cgroup_id(path: &Path) -> io::Result<u64> {
    fs::metadata(path).map(|metadata| metadata.ino())
}

/// The processes in a cgroup itself.
pub(super) fn processes(path: &Path) -> Vec<u32> {
    let listed = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    listed.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Whether a process is in a cgroup itself.
pub(super) fn is_inhabited(path: &Path) -> bool {
    fs::read_to_string(path.join("cgroup.procs")).is_ok_and(|processes| !processes.is_empty())
}
