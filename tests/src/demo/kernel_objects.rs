//! Which BPF maps and links a process holds, by the kernel's own numbers (`/proc/PID/fdinfo`). Numbers are never used
//! twice, so the same number is the same object.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use nix::unistd::Pid;

use super::Error;

/// `BPF_CGROUP_GETSOCKOPT` of `enum bpf_attach_type`.
const GETSOCKOPT: u32 = 21;

/// `BPF_CGROUP_SETSOCKOPT`.
const SETSOCKOPT: u32 = 22;

/// Kernel objects that a process holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// Ids of maps, but for the frozen ones: those are the constants of one loaded program and go with it.
    pub(super) maps: BTreeSet<u32>,
    /// Ids of links, each with the id of the program it runs now; but for those on relay's own control group, which is
    /// a new one with each container.
    pub(super) links: BTreeMap<u32, u32>,
}

impl Held {
    /// What the process holds now.
    pub(super) fn by(process: Pid) -> Result<Self, Error> {
        let folder = format!("/proc/{process}/fdinfo");
        let what = || format!("read {folder}");
        let mut held = Self::default();
        for entry in fs::read_dir(&folder).map_err(Error::io(what()))? {
            let path = entry.map_err(Error::io(what()))?.path();
            // A descriptor may be closed meanwhile.
            held.take(&fs::read_to_string(path).unwrap_or_default());
        }
        Ok(held)
    }

    fn take(&mut self, fdinfo: &str) {
        let number = |name: &str| {
            let value = fdinfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|value| value.trim().parse().ok())
        };
        let of_relay = number("attach_type").is_some_and(|kind| [GETSOCKOPT, SETSOCKOPT].contains(&kind));
        if let Some(link) = number("link_id") {
            if of_relay {
                return;
            }
            self.links.insert(link, number("prog_id").unwrap_or_default());
        } else if let Some(map) = number("map_id").filter(|_| number("frozen") != Some(1)) {
            self.maps.insert(map);
        }
    }
}

/// Ids for people: all of a few, the ends of many.
pub(super) fn shown<'a>(ids: impl IntoIterator<Item = &'a u32>) -> String {
    let ids: Vec<String> = ids.into_iter().map(u32::to_string).collect();
    match ids.as_slice() {
        [] => "none".to_owned(),
        [first, second, third, .., last] if ids.len() > 6 => {
            format!("{} ({first}, {second}, {third}, ... {last})", ids.len())
        }
        all => format!("{} ({})", all.len(), all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_and_links_are_told_by_their_fdinfo() {
        let mut held = Held::default();
        held.take("pos:\t0\nmap_type:\t1\nmap_id:\t12\nfrozen:\t0\n");
        held.take("pos:\t0\nmap_type:\t2\nmap_id:\t13\nfrozen:\t1\n");
        held.take("pos:\t0\nlink_type:\tcgroup\nlink_id:\t7\nprog_tag:\tab\nprog_id:\t99\ncgroup_id:\t5\n");
        held.take("link_type:\tcgroup\nlink_id:\t8\nprog_id:\t98\ncgroup_id:\t6\nattach_type:\t21\n");
        held.take("pos:\t0\nflags:\t02\n");
        assert_eq!((shown(&held.maps), held.links), ("1 (12)".to_owned(), [(7, 99)].into()));
    }
}
