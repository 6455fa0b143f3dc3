//! A machine's control groups: one in each hierarchy that this machine has mounted, whether that is cgroup2 alone,
//! version 1 alone or both beside each other.

use std::{
    fs, io as std_io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::libc::EBUSY;

use super::super::{Error, error::io, place::NAME};
use crate::cgroup;

/// How long the last processes may take to leave.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A mounted hierarchy.
#[derive(Debug)]
pub(super) struct Hierarchy {
    /// Where.
    pub(super) mounted: PathBuf,
    /// Mount options that give the same one, for version 1; none for cgroup2.
    pub(super) controllers: Option<String>,
}

/// All that are mounted here.
pub(super) fn all() -> Result<Vec<Hierarchy>, Error> {
    let table = Path::new("/proc/self/mountinfo");
    let table = fs::read_to_string(table).map_err(io("read", table))?;
    Ok(parse(&table))
}

/// `proc_pid_mountinfo(5)`: after " - " come the type, the source and the options of the super block.
fn parse(table: &str) -> Vec<Hierarchy> {
    let hierarchy = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let mounted = before.split(' ').nth(4)?.into();
        let mut after = after.split(' ');
        match after.next()? {
            "cgroup2" => Some(Hierarchy { mounted, controllers: None }),
            "cgroup" => {
                let options =
                    after.nth(1)?.split(',').filter(|option| !matches!(*option, "rw" | "ro" | "xattr"));
                let options =
                    options.filter(|option| !option.starts_with("release_agent=")).collect::<Vec<_>>();
                // One without a controller is mounted by its name alone.
                let none = options.iter().all(|option| option.starts_with("name="));
                let options = options.join(",");
                let controllers = Some(if none { format!("none,{options}") } else { options });
                Some(Hierarchy { mounted, controllers })
            }
            _ => None,
        }
    };
    let mut found: Vec<Hierarchy> = Vec::new();
    for hierarchy in table.lines().filter_map(hierarchy) {
        // The first mount of each is the one that everybody uses.
        if !found.iter().any(|other| other.controllers == hierarchy.controllers) {
            found.push(hierarchy);
        }
    }
    found
}

/// A machine's directories, one in each hierarchy.
fn directories(machine: &str) -> Result<Vec<PathBuf>, Error> {
    Ok(all()?.into_iter().map(|hierarchy| hierarchy.mounted.join(NAME).join(machine)).collect())
}

/// Makes them.
pub(super) fn create(machine: &str) -> Result<(), Error> {
    for directory in directories(machine)? {
        cgroup::create(&directory)?;
        let above = directory.parent().unwrap_or(&directory);
        for directory in [above, &directory] {
            // Version 1 starts a cpuset with nothing, and lets no process in.
            inherit(directory, "cpuset.cpus");
            inherit(directory, "cpuset.mems");
            // With cgroup2 alone, controllers must be passed down.
            let _ = directory.parent().map(pass_down);
        }
    }
    Ok(())
}

/// Moves the calling process into all of them.
pub(super) fn join(machine: &str) -> Result<(), Error> {
    for directory in directories(machine)? {
        cgroup::join(&directory)?;
    }
    Ok(())
}

/// Lets a cgroup2 directory's children have every controller that it has; each by itself, as some may not be possible.
pub(super) fn pass_down(directory: &Path) {
    let controllers = fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers.split_whitespace() {
        let _ = fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

fn inherit(directory: &Path, setting: &str) {
    let Some(above) = directory.parent() else { return };
    let ours = directory.join(setting);
    // cgroup2 has these files too, where empty means to inherit.
    if directory.join("tasks").exists() && fs::read_to_string(&ours).is_ok_and(|text| text.trim().is_empty())
    {
        let _ = fs::read_to_string(above.join(setting)).and_then(|text| fs::write(&ours, text.trim()));
    }
}

/// Ends everything of all machines and removes their control groups; nothing of it need be there.
pub(in crate::cluster) fn remove() -> Result<(), Error> {
    let mut hierarchies = all()?;
    // By cgroup2 all processes are ended at once; the others are then empty.
    hierarchies.sort_by_key(|hierarchy| hierarchy.controllers.is_some());
    for hierarchy in hierarchies {
        let directory = hierarchy.mounted.join(NAME);
        if hierarchy.controllers.is_none() {
            cgroup::remove(&directory)?;
        } else {
            remove_version_1(&directory)?;
        }
    }
    Ok(())
}

fn remove_version_1(directory: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + REMOVE_TIMEOUT;
    loop {
        match cgroup::remove_directories(directory) {
            // The last process is on its way out, or never was in cgroup2's.
            Err(error) if error.raw_os_error() == Some(EBUSY) && Instant::now() < deadline => end(directory),
            outcome => return outcome.map_err(io::<std_io::Error>("remove", directory)),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Ends what is in a directory and below, one by one: version 1 has no other way.
fn end(directory: &Path) {
    for pid in cgroup::processes(directory) {
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::SIGKILL);
    }
    for child in fs::read_dir(directory).into_iter().flatten().flatten() {
        if child.file_type().is_ok_and(|kind| kind.is_dir()) {
            end(&child.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found_once() {
        let table = "25 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                     26 25 0:23 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                     27 25 0:24 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
                     28 25 0:25 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
                     29 25 0:25 / /mnt rw,relatime - cgroup2 none rw\n";
        let found = parse(table);
        let shown: Vec<_> = found
            .iter()
            .map(|one| (one.mounted.to_str().expect("text"), one.controllers.as_deref()))
            .collect();
        assert_eq!(
            shown,
            [
                ("/sys/fs/cgroup/cpu", Some("cpu,cpuacct")),
                ("/sys/fs/cgroup/systemd", Some("none,name=systemd")),
                ("/sys/fs/cgroup/unified", None),
            ]
        );
    }
}
