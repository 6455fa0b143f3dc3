//! Published tuples whose socket is gone: a foreign `sock_ops` program that sets its own callbacks without keeping ours
//! hides the end of a connection from us (KERNEL 3), and its entry would stay, and with it the claim to be proof.

use std::collections::{BTreeMap, HashSet};

use mesh_ebpf::abi::{Flow, FlowKey, Origin};

use super::maps::{Maps, absent_is_fine};
use super::roster::Wired;
use super::sockets::Sockets;

/// What the last round could not find a socket for; entry and cookie.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    suspects: HashSet<(FlowKey, u64)>,
}

impl Sweep {
    /// Removes the entries that had no socket in the last round and have none now. Entries are read before the sockets:
    /// an entry that is made in between is not looked at, and two rounds make a socket that a listing missed harmless.
    /// While an entry is there no other socket can publish its tuple, so what is removed is what was judged.
    pub(super) fn round(&mut self, maps: &mut Maps, pods: &[Wired]) {
        let of_a_pod = |flow: &Flow| [Origin::Pod as u8, Origin::Agent as u8].contains(&flow.origin);
        let flows: Vec<(FlowKey, u64, u64)> = maps
            .flows
            .iter()
            .filter_map(Result::ok)
            .filter(|(_, flow)| of_a_pod(flow))
            .map(|(key, flow)| (key, flow.netns, flow.cookie))
            .collect();
        let open: BTreeMap<u64, Option<HashSet<u64>>> =
            pods.iter().map(|pod| (pod.entry.netns, open_in(pod))).collect();
        let known: HashSet<u64> =
            maps.local.iter().filter_map(Result::ok).map(|(_, pod)| pod.netns).collect();
        let is_lost = |netns: u64, cookie: u64| match open.get(&netns) {
            Some(Some(cookies)) => !cookies.contains(&cookie),
            // It could not be looked at.
            Some(None) => false,
            // Gone, unless the kernel has it and the list has it not yet.
            None => !known.contains(&netns),
        };
        let lost = flows.into_iter().filter(|(_, netns, cookie)| is_lost(*netns, *cookie));
        let lost: HashSet<(FlowKey, u64)> = lost.map(|(key, _, cookie)| (key, cookie)).collect();
        let swept: Vec<_> = lost.intersection(&self.suspects).copied().collect();
        for (key, _) in &swept {
            if let Err(error) = absent_is_fine(maps.flows.remove(key)) {
                tracing::error!(%error, "cannot remove a flow whose socket is gone");
            }
        }
        if !swept.is_empty() {
            tracing::warn!(
                flows = swept.len(),
                "removed flows whose end no callback told of; a foreign sock_ops program?"
            );
        }
        self.suspects = &lost - &swept.into_iter().collect();
    }
}

/// Cookies of the TCP sockets in the pod's namespace, `None` if they cannot be listed.
fn open_in(pod: &Wired) -> Option<HashSet<u64>> {
    let sockets = Sockets::of(&pod.netns()?).and_then(|mut sockets| sockets.tcp(false)).ok()?;
    Some(sockets.iter().map(super::sockets::Socket::cookie).collect())
}
