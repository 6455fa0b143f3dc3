//! The file system as a container sees it: the host's, with a few files and folders of its own laid over it, in a
//! mount namespace of its own. The host's file system is never written to.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    unistd,
};
use serde::{Deserialize, Serialize};

use super::{Error, step};

/// A file or folder shown at another place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bind {
    /// What to show.
    pub source: PathBuf,
    /// Where; made, in the container's view only, if it is not there.
    pub target: PathBuf,
    /// Whether writing is refused.
    pub read_only: bool,
}

/// What differs from the host's file system.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RootView {
    /// What is laid over it, in this order.
    pub binds: Vec<Bind>,
    /// An empty folder of this container's own, for what must exist beside the host's files.
    pub scratch: PathBuf,
}

impl RootView {
    /// Makes the mount namespace and enters it.
    pub(super) fn enter(&self) -> Result<(), Error> {
        unshare(CloneFlags::CLONE_NEWNS).map_err(step("make", "a mount namespace"))?;
        // Slave, not private: a handle that the host unmounts must go here as well, or namespaces would never die.
        change(Path::new("/"), MsFlags::MS_SLAVE | MsFlags::MS_REC, "isolate")?;
        for (number, bind) in self.binds.iter().enumerate() {
            if !bind.target.exists() {
                self.make_target(number, bind)?;
            }
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(&bind.source), &bind.target, None::<&str>, flags, None::<&str>)
                .map_err(step("show a volume at", bind.target.display()))?;
            if bind.read_only {
                change(&bind.target, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, "protect")?;
            }
        }
        Ok(())
    }

    /// Lets `bind.target` exist: below `/` by a new root that shows every folder of the old one, further down by an
    /// overlay on the closest folder that exists.
    fn make_target(&self, number: usize, bind: &Bind) -> Result<(), Error> {
        let existing = bind.target.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
        if existing == Path::new("/") {
            self.extend_root(number)?;
        } else {
            self.overlay(number, existing)?;
        }
        let made = if bind.source.is_dir() {
            fs::create_dir_all(&bind.target)
        } else {
            let folder = bind.target.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(folder).and_then(|()| fs::write(&bind.target, ""))
        };
        made.map_err(step("make the mount point", bind.target.display()))
    }

    fn overlay(&self, number: usize, folder: &Path) -> Result<(), Error> {
        let (upper, work) =
            (self.scratch.join(format!("{number}-upper")), self.scratch.join(format!("{number}-work")));
        for made in [&upper, &work] {
            fs::create_dir_all(made).map_err(step("make", made.display()))?;
        }
        let options =
            format!("lowerdir={},upperdir={},workdir={}", folder.display(), upper.display(), work.display());
        mount(Some("overlay"), folder, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .map_err(step("lay a writable view over", folder.display()))
    }

    /// Moves to a root of our own with everything of the old one in it.
    fn extend_root(&self, number: usize) -> Result<(), Error> {
        let root = self.scratch.join(format!("{number}-root"));
        fs::create_dir_all(&root).map_err(step("make", root.display()))?;
        mount(Some("tmpfs"), &root, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
            .map_err(step("mount a root at", root.display()))?;
        for entry in fs::read_dir("/").map_err(step("list", "/"))? {
            let entry = entry.map_err(step("list", "/"))?;
            show(&entry, &root.join(entry.file_name())).map_err(step("show", entry.path().display()))?;
        }
        let old = root.join(".old-root");
        fs::create_dir_all(&old).map_err(step("make", old.display()))?;
        unistd::pivot_root(&root, &old).map_err(step("change the root to", root.display()))?;
        unistd::chdir("/").map_err(step("enter", "/"))?;
        umount2("/.old-root", MntFlags::MNT_DETACH).map_err(step("unmount", "the old root"))?;
        fs::remove_dir("/.old-root").map_err(step("remove", "/.old-root"))
    }
}

/// Shows one entry of the old root at `target` in the new one.
fn show(entry: &fs::DirEntry, target: &Path) -> io::Result<()> {
    let kind = entry.file_type()?;
    if kind.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(entry.path())?, target);
    }
    if kind.is_dir() {
        fs::create_dir(target)?;
    } else {
        fs::write(target, "")?;
    }
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(&entry.path()), target, None::<&str>, flags, None::<&str>).map_err(io::Error::from)
}

fn change(target: &Path, flags: MsFlags, what: &'static str) -> Result<(), Error> {
    mount(None::<&str>, target, None::<&str>, flags, None::<&str>).map_err(step(what, target.display()))
}
