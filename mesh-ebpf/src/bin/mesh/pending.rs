//! cgroup `skb`: nothing in or out of a pod that is not wired yet.
//!
//! Attached at the node's cgroup root, and only while some pod could need it, so that it stands
//! before such a pod's cgroup is even made and costs nothing afterwards.

use aya_ebpf::{helpers::bpf_skb_ancestor_cgroup_id, programs::SkBuffContext};
use mesh_ebpf::abi::{Class, Counter, Settings};

use crate::{
    kernel::{count, settings},
    maps::PODS,
};

const DROP: i32 = 0;
const PASS: i32 = 1;
const POD_LEVELS: u32 = 3;

/// The hook, for both directions: the socket that sends or receives tells the pod.
#[inline(always)]
pub fn run(ctx: &SkBuffContext) -> i32 {
    let Some(settings) = settings() else {
        return dropped();
    };
    let skb = ctx.skb.skb;
    let mut depth = 0;
    while depth < POD_LEVELS {
        let level = settings.pod_level_first + depth;
        if level > settings.pod_level_last {
            break;
        }
        // SAFETY: the context's packet; gives 0 where its socket's cgroup is not that deep.
        let id = unsafe { bpf_skb_ancestor_cgroup_id(skb, level as i32) };
        // SAFETY: entries are replaced whole; one word is read.
        if let Some(entry) = unsafe { PODS.get(&id) } {
            match entry.class() {
                Class::Pending => return dropped(),
                Class::Wired | Class::Plain | Class::Agent => return PASS,
                Class::PodsRoot | Class::Unknown => {}
            }
        }
        depth += 1;
    }
    if settings.flags & Settings::UNKNOWN_CLOSED == 0 {
        return PASS;
    }
    // SAFETY: as above.
    let root = unsafe { bpf_skb_ancestor_cgroup_id(skb, settings.root_level as i32) };
    // SAFETY: as above.
    match unsafe { PODS.get(&root) } {
        Some(entry) if entry.class() == Class::PodsRoot => dropped(),
        _ => PASS,
    }
}

#[inline(always)]
fn dropped() -> i32 {
    count(Counter::PendingDropped);
    DROP
}
