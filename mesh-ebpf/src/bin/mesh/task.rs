//! Whose process is calling.
//!
//! A pod is known by its cgroup's id from the moment the kubelet makes the directory, before it
//! has a process or a network namespace. `bpf_get_current_ancestor_cgroup_id` walks up by depth,
//! and user space says which depths pods live at.

use aya_ebpf::helpers::{bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id};
use mesh_ebpf::abi::{Class, Pod, Settings};

use crate::maps::PODS;

/// Depths a pod directory may be at, counted from the shallowest: `kubepods/pod<uid>` and
/// `kubepods/<class>/pod<uid>` are neighbours; one more for a container runtime of its own mind.
const POD_LEVELS: u32 = 3;

/// Whose it is.
pub enum Owner {
    /// A pod with an entry.
    Pod(&'static Pod),
    /// Below a pods root, in a pod without an entry.
    UnknownPod,
    /// The mesh's own agent.
    Agent,
    /// The node: no pod at all.
    Host,
}

/// Whose the current process is.
#[inline(always)]
pub fn current(settings: &Settings) -> Owner {
    let mut depth = 0;
    while depth < POD_LEVELS {
        let level = settings.pod_level_first + depth;
        if level > settings.pod_level_last {
            break;
        }
        // SAFETY: takes a number; gives 0 where the process is not that deep.
        let id = unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) };
        // SAFETY: entries are replaced whole; a reader may see a pod's old entry, never half of one
        // that matters: each decision reads one word of it at a time.
        if let Some(pod) = unsafe { PODS.get(&id) }
            && matches!(pod.class(), Class::Wired | Class::Pending | Class::Plain)
        {
            if pod.class() == Class::Plain && is_agent() {
                return Owner::Agent;
            }
            return Owner::Pod(pod);
        }
        depth += 1;
    }
    if is_agent() {
        return Owner::Agent;
    }
    // SAFETY: as above.
    let root = unsafe { bpf_get_current_ancestor_cgroup_id(settings.root_level as i32) };
    // SAFETY: as above.
    match unsafe { PODS.get(&root) } {
        Some(entry) if entry.class() == Class::PodsRoot => Owner::UnknownPod,
        _ => Owner::Host,
    }
}

#[inline(always)]
fn is_agent() -> bool {
    // SAFETY: takes nothing.
    let id = unsafe { bpf_get_current_cgroup_id() };
    // SAFETY: as in `current`.
    matches!(unsafe { PODS.get(&id) }, Some(entry) if entry.class() == Class::Agent)
}
