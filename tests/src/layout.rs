//! Where everything of one testbed lies: its run directory, control groups, network namespaces and BPF pins. All names
//! derive from the testbed's name, so that several run side by side and the leftovers of a killed one can be found.

use std::path::{Path, PathBuf};

/// The folder of all run directories.
pub const RUN_ROOT: &str = "/run/mesh-testbed";

/// Where handles on network namespaces are kept, as `ip netns` does.
pub const NETNS_ROOT: &str = "/run/netns";

const BPFFS: &str = "/sys/fs/bpf";
const NAME_LIMIT: usize = 32;

/// Why a testbed cannot be placed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name would not be a single, short path component.
    #[error(
        "testbed name {0:?} is not valid: use 1 to {NAME_LIMIT} of a-z, 0-9 and '-', beginning with a letter or digit"
    )]
    Name(String),
    /// There is no cgroup2 hierarchy.
    #[error(
        "no cgroup2 file system is mounted (searched /proc/self/mountinfo); mount one: mount -t cgroup2 none /mnt"
    )]
    NoCgroup2,
    /// The mount table could not be read.
    #[error("cannot read /proc/self/mountinfo: {0}")]
    Mounts(#[source] std::io::Error),
}

/// The paths of one testbed.
#[derive(Debug, Clone)]
pub struct Layout {
    name: String,
    cgroup2: PathBuf,
}

impl Layout {
    /// The layout of the testbed called `name`.
    ///
    /// # Errors
    /// If the name is not valid or cgroup2 is not mounted.
    pub fn new(name: &str) -> Result<Self, Error> {
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > NAME_LIMIT || !name.chars().all(valid) || name.starts_with('-') {
            return Err(Error::Name(name.to_owned()));
        }
        Ok(Self { name: name.to_owned(), cgroup2: cgroup2()? })
    }

    /// The testbed's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The run directory.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        Path::new(RUN_ROOT).join(&self.name)
    }

    /// Held with `flock` by the supervisor for as long as it lives; holds its pid.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.run().join("lock")
    }

    /// The folder of what a kubelet would report, `kind` being `pods`, `services` or `nodes`.
    #[must_use]
    pub fn overlay(&self, kind: &str) -> PathBuf {
        self.run().join("kubelet").join(kind)
    }

    /// The log of one process.
    #[must_use]
    pub fn log(&self, process: &str) -> PathBuf {
        self.run().join("logs").join(format!("{process}.log"))
    }

    /// The log of a supervisor in the background: beside the run directory, which it outlives if the testbed does not
    /// come up.
    #[must_use]
    pub fn supervisor_log(&self) -> PathBuf {
        Path::new(RUN_ROOT).join(format!("{}.log", self.name))
    }

    /// Exists once nodes and mesh processes are up.
    #[must_use]
    pub fn ready(&self) -> PathBuf {
        self.run().join("ready")
    }

    /// While it exists, the mesh process of this name is not restarted.
    #[must_use]
    pub fn hold(&self, process: &str) -> PathBuf {
        self.run().join("hold").join(process)
    }

    /// The cgroup2 directory above all nodes.
    #[must_use]
    pub fn cgroup(&self) -> PathBuf {
        self.cgroup2.join(format!("mesh-testbed-{}", self.name))
    }

    /// The folder of all nodes' pins.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        Path::new(BPFFS).join(format!("mesh-testbed-{}", self.name))
    }

    /// The name of the network namespace with the bridge that joins the nodes. No node's namespace can have it: theirs
    /// have a dot, and a testbed's name has none.
    #[must_use]
    pub fn fabric_netns(&self) -> String {
        format!("mesh-{}", self.name)
    }

    /// The handle on that namespace.
    #[must_use]
    pub fn fabric(&self) -> PathBuf {
        Path::new(NETNS_ROOT).join(self.fabric_netns())
    }

    /// What lets a node's agent join: the controller writes it, the relay reads it.
    #[must_use]
    pub fn join_file(&self, node: &str) -> PathBuf {
        self.run().join("join").join(node)
    }

    /// The folder of the controller's certificate authority.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.run().join("ca")
    }

    /// What one node's paths derive from.
    #[must_use]
    pub fn node(&self, node: &str) -> NodeLayout {
        NodeLayout {
            run: self.run().join("nodes").join(node),
            cgroup: self.cgroup().join(node),
            // bpffs refuses names with dots, node names have no underscores.
            pins: self.pins().join(node.replace('.', "_")),
            netns_name: format!("{}.{node}", self.fabric_netns()),
            name: node.to_owned(),
        }
    }
}

/// The paths of one node.
#[derive(Debug, Clone)]
pub struct NodeLayout {
    /// The node's name.
    pub name: String,
    /// Its part of the run directory.
    pub run: PathBuf,
    /// Its cgroup2 directory: the agent's `--cgroup-root`.
    pub cgroup: PathBuf,
    /// The agent's `--pin-root`.
    pub pins: PathBuf,
    /// Its network namespace as `ip netns` names it.
    pub netns_name: String,
}

impl NodeLayout {
    /// The handle on its network namespace.
    #[must_use]
    pub fn netns(&self) -> PathBuf {
        Path::new(NETNS_ROOT).join(&self.netns_name)
    }

    /// Where the agent's processes run.
    #[must_use]
    pub fn agent_cgroup(&self) -> PathBuf {
        self.cgroup.join("mesh-agent")
    }

    /// Where the node's own part of the testbed, its probes and commands on the node run.
    #[must_use]
    pub fn kubelet_cgroup(&self) -> PathBuf {
        self.cgroup.join("kubelet")
    }

    /// The cgroup of a pod; one child for its sandbox (`pause`) and one for each container.
    #[must_use]
    pub fn pod_cgroup(&self, uid: &str) -> PathBuf {
        self.cgroup.join("kubepods").join(format!("pod{uid}"))
    }

    /// The relay's admin socket.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.run.join("admin.sock")
    }
}

/// Where cgroup2 is mounted.
///
/// # Errors
/// If it is not.
pub fn cgroup2() -> Result<PathBuf, Error> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(Error::Mounts)?;
    cgroup2_mount(&mounts).ok_or(Error::NoCgroup2)
}

/// The first cgroup2 mount of a mount table (`proc_pid_mountinfo(5)`: the fields after " - " begin with the type).
fn cgroup2_mount(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let is_cgroup2 = after.split(' ').next() == Some("cgroup2");
        is_cgroup2.then(|| before.split(' ').nth(4).map(PathBuf::from)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup2_is_found_in_a_hybrid_hierarchy() {
        let table = "25 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                     26 25 0:23 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                     27 25 0:24 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2_mount(table), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(cgroup2_mount(""), None);
    }

    #[test]
    fn names_that_are_no_path_component_are_refused() {
        for name in ["", "..", "a/b", "a.b", "-a", "A", &"a".repeat(NAME_LIMIT + 1)] {
            assert!(matches!(Layout::new(name), Err(Error::Name(_))), "{name:?}");
        }
    }

    #[test]
    fn testbeds_never_share_a_namespace() {
        let layout = |name: &str| Layout { name: name.to_owned(), cgroup2: PathBuf::new() };
        assert_ne!(layout("a").node("b-c").netns_name, layout("a-b").node("c").netns_name);
        assert_ne!(layout("a").node("b").netns_name, layout("a-b").fabric_netns());
    }
}
