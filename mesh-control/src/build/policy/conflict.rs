//! Policies of equal rank that contradict each other (SEMANTICS 5.1).

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use mesh_api::{
    crd::Mode,
    resources::{Cidr, Endpoint, Peer, PortRange},
};

use super::{
    read::Rank,
    resolve::{Form, Policy, Ports, Resolved},
};
use crate::objects::ObjectRef;

/// Every policy that conflicts, with a message that names the others.
pub(in super::super) fn conflicts(policies: &[Arc<Policy>]) -> Vec<(ObjectRef, i64, String)> {
    let ranked: Vec<_> = policies
        .iter()
        .filter(|policy| policy.draft.rank != Rank::Access && policy.draft.mode != Mode::Off)
        .collect();
    let mut found = Vec::new();
    for policy in &ranked {
        let others = ranked.iter().filter(|other| {
            other.draft.reference != policy.draft.reference && other.draft.rank == policy.draft.rank
        });
        let against: Vec<String> = others
            .filter_map(|other| {
                contradiction(policy, other).map(|rules| format!("{} ({rules})", other.draft.display()))
            })
            .collect();
        if !against.is_empty() {
            let message = format!(
                "at equal priority Deny goes before Pass and Pass before Allow, against {}; give the policies different priorities",
                against.join(", ")
            );
            found.push((policy.draft.reference.clone(), policy.draft.generation, message));
        }
    }
    found
}

/// The first rules of two policies that decide the opposite of something both may meet.
fn contradiction(a: &Policy, b: &Policy) -> Option<String> {
    if !a.overlaps(b) {
        return None;
    }
    [(&a.ingress, &b.ingress), (&a.egress, &b.egress)].into_iter().find_map(|(a, b)| {
        let pairs = a.iter().flatten().flat_map(|a| b.iter().flatten().map(move |b| (a, b)));
        let mut opposed = pairs.filter(|(a, b)| a.action != b.action);
        opposed
            .find(|(a, b)| rules_overlap(a, b))
            .map(|(a, b)| format!("rule `{}` against `{}`", a.name, b.name))
    })
}

fn rules_overlap(a: &Resolved, b: &Resolved) -> bool {
    a.requests.may_meet(&b.requests) && a.forms.iter().any(|a| b.forms.iter().any(|b| forms_overlap(a, b)))
}

fn forms_overlap(a: &Form, b: &Form) -> bool {
    let ports = match (&a.ports, &b.ports) {
        (Ports::Fixed(a), Ports::Fixed(b)) => ranges_overlap(a, b),
        // Names may come to the same number.
        _ => true,
    };
    ports && peers_overlap(&a.peers, &b.peers)
}

/// Whether something may match both lists of ports; an empty one is every port.
pub(super) fn ranges_overlap(a: &[PortRange], b: &[PortRange]) -> bool {
    let meet =
        |a: &PortRange, b: &PortRange| a.protocol == b.protocol && a.first <= b.last && b.first <= a.last;
    a.is_empty() || b.is_empty() || a.iter().any(|a| b.iter().any(|b| meet(a, b)))
}

/// Whether someone may match both lists of peers; an empty one is anyone. Someone by identity and
/// someone by address may always be the same.
pub(super) fn peers_overlap(a: &[Peer], b: &[Peer]) -> bool {
    a.is_empty() || b.is_empty() || a.iter().any(|a| b.iter().any(|b| peer_overlaps(a, b)))
}

fn peer_overlaps(a: &Peer, b: &Peer) -> bool {
    if a.services && b.services {
        let of_a: BTreeSet<(&[u8], u32)> = a.endpoints.iter().map(exact).collect();
        return b.endpoints.iter().any(|endpoint| of_a.contains(&exact(endpoint)));
    }
    let groups = match (&a.groups, &b.groups) {
        (Some(a), Some(b)) => {
            let of_a: BTreeSet<u64> = a.ids.iter().copied().collect();
            b.ids.iter().any(|id| of_a.contains(id))
        }
        _ => true,
    };
    let of = |peer: &Peer| -> Vec<Cidr> {
        let hosts = peer.endpoints.iter().map(|endpoint| Cidr {
            prefix_length: if endpoint.address.len() == 4 { 32 } else { 128 },
            address: endpoint.address.clone(),
        });
        peer.cidrs.iter().cloned().chain(hosts).collect()
    };
    let (of_a, of_b) = (of(a), of(b));
    let addresses =
        of_a.is_empty() || of_b.is_empty() || of_a.iter().any(|a| of_b.iter().any(|b| cidrs_overlap(a, b)));
    groups && addresses
}

fn exact(endpoint: &Endpoint) -> (&[u8], u32) {
    (&endpoint.address, endpoint.port)
}

/// A range as resources write it; nothing where it is none.
pub(super) fn net(cidr: &Cidr) -> Option<ipnet::IpNet> {
    let address = match <[u8; 4]>::try_from(cidr.address.as_slice()) {
        Ok(octets) => IpAddr::from(octets),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(cidr.address.as_slice()).ok()?),
    };
    ipnet::IpNet::new(address, u8::try_from(cidr.prefix_length).ok()?).ok()
}

fn cidrs_overlap(a: &Cidr, b: &Cidr) -> bool {
    match (net(a), net(b)) {
        (Some(a), Some(b)) => a.contains(&b.network()) || b.contains(&a.network()),
        _ => false,
    }
}
