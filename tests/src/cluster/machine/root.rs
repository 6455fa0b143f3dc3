//! A machine's file system: the host's, under an overlay that takes what is written, with everything that belongs to
//! one machine mounted anew.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::{chdir, pivot_root},
};

use super::{Machine, hierarchies};
use crate::cluster::{Error, error::io};

/// Settings of the kernel that kubelet writes although they are the whole host's. It is shown what it wants to see.
const SETTINGS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

const NOTHING: Option<&str> = None;

/// Makes it and moves into it; the mount namespace is new.
pub(super) fn enter(machine: &Machine) -> Result<(), Error> {
    let hierarchies = hierarchies::all()?;
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING)
        .map_err(io("isolate", Path::new("/")))?;
    let root = overlay(&machine.folder)?;
    filesystem("proc", &root.join("proc"), MsFlags::empty(), None)?;
    filesystem("sysfs", &root.join("sys"), MsFlags::empty(), None)?;
    filesystem("bpf", &root.join("sys/fs/bpf"), MsFlags::empty(), None)?;
    bind(Path::new("/dev"), &root.join("dev"), MsFlags::MS_REC)?;
    filesystem("tmpfs", &root.join("dev/shm"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, None)?;
    filesystem("tmpfs", &root.join("tmp"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=1777"))?;
    control_groups(&root, &hierarchies)?;
    for one in &machine.binds {
        let target = below(&root, &one.target);
        if one.source.is_dir() {
            fs::create_dir_all(&target).map_err(io("make", &target))?;
        } else {
            let folder = target.parent().unwrap_or(&root);
            fs::create_dir_all(folder).map_err(io("make", folder))?;
            fs::write(&target, "").map_err(io("make", &target))?;
        }
        bind(&one.source, &target, MsFlags::MS_REC)?;
    }
    for (setting, value) in SETTINGS {
        let shown = machine.folder.join(setting.replace('/', "."));
        fs::write(&shown, format!("{value}\n")).map_err(io("write", &shown))?;
        let target = root.join("proc/sys").join(setting);
        if target.exists() {
            bind(&shown, &target, MsFlags::empty())?;
        }
    }
    chdir(&root).map_err(io("enter", &root))?;
    pivot_root(".", ".").map_err(io("make the root of", &root))?;
    // The old root lies over the new one.
    umount2(".", MntFlags::MNT_DETACH).map_err(io("leave the root for", &root))?;
    chdir("/").map_err(io("enter", Path::new("/")))?;
    // As on a real machine: what a pod mounts for others must reach them.
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_SHARED, NOTHING)
        .map_err(io("share", Path::new("/")))
}

fn overlay(folder: &Path) -> Result<PathBuf, Error> {
    let [upper, work, root] = ["upper", "work", "root"].map(|name| folder.join(name));
    for path in [&upper, &work, &root] {
        fs::create_dir_all(path).map_err(io("make", path))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(io("open", path))?;
    }
    let options = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
    filesystem("overlay", &root, MsFlags::empty(), Some(&options))?;
    Ok(root)
}

/// Mounts every hierarchy again: in the new namespace its root is the machine's own directory.
fn control_groups(root: &Path, hierarchies: &[hierarchies::Hierarchy]) -> Result<(), Error> {
    let folder = Path::new("/sys/fs/cgroup");
    let only = hierarchies.iter().all(|one| one.mounted == folder);
    if !only {
        filesystem("tmpfs", &below(root, folder), MsFlags::empty(), Some("mode=0755"))?;
        // Some name a hierarchy of two controllers by each of them.
        for entry in fs::read_dir(folder).map_err(io("read", folder))?.flatten() {
            if let Ok(target) = fs::read_link(entry.path()) {
                let link = below(root, &entry.path());
                symlink(target, &link).map_err(io("make", &link))?;
            }
        }
    }
    for hierarchy in hierarchies {
        let target = below(root, &hierarchy.mounted);
        fs::create_dir_all(&target).map_err(io("make", &target))?;
        match hierarchy.controllers.as_deref() {
            None => filesystem("cgroup2", &target, MsFlags::empty(), None)?,
            options => filesystem("cgroup", &target, MsFlags::empty(), options)?,
        }
    }
    Ok(())
}

fn filesystem(kind: &str, target: &Path, flags: MsFlags, options: Option<&str>) -> Result<(), Error> {
    mount(Some(kind), target, Some(kind), flags, options).map_err(io("mount", target))
}

fn bind(source: &Path, target: &Path, flags: MsFlags) -> Result<(), Error> {
    mount(Some(source), target, NOTHING, MsFlags::MS_BIND | flags, NOTHING).map_err(io("mount", target))
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}
