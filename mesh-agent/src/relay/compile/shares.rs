//! The backends of a TCPRoute or UDPRoute, as endpoints that the kernel picks among.
//!
//! A backend's share of connections is its weight over the sum of all, however many endpoints it has, and an
//! endpoint's share of that its own weight over the sum of its backend's. The share of a reference that leads
//! nowhere and of a backend without endpoints of the family is refused, not given to the others (Gateway API,
//! `TCPRouteRule.backendRefs`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use mesh_l7::table::route::{Destination, RouteRule};

use crate::handover::EndpointEntry;

/// What stands for all connections. Every number below it is one that the kernel's table takes.
const ALL: u128 = u32::MAX as u128;

/// What the connections to a port are led to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Shares {
    /// With their weights.
    pub(super) endpoints: Vec<EndpointEntry>,
    /// The weight of what is refused beside them.
    pub(super) closed: u32,
}

/// What a rule makes of connections; `endpoints` gives those of a port of a Service, if there is one. Without
/// any endpoint everything is refused.
pub(super) fn shares(
    rule: &RouteRule,
    endpoints: &dyn Fn(&str, u16) -> Option<Vec<EndpointEntry>>,
) -> Shares {
    let backends = rule.backends.list();
    let all: u64 = backends.iter().map(|backend| u64::from(backend.weight)).sum();
    if all == 0 || rule.fail.is_some() {
        return Shares::default();
    }
    let mut shared: BTreeMap<(IpAddr, u16), (u32, bool)> = BTreeMap::new();
    let mut closed: u64 = 0;
    for backend in backends.iter().filter(|backend| backend.weight != 0) {
        let found = match &backend.destination {
            Destination::Service { service, port, .. } => endpoints(service, *port).unwrap_or_default(),
            Destination::Invalid(_) => Vec::new(),
        };
        let sum: u64 = found.iter().map(|endpoint| u64::from(endpoint.weight)).sum();
        if sum == 0 {
            closed += u64::from(backend.weight);
        }
        for endpoint in found.into_iter().filter(|endpoint| endpoint.weight != 0) {
            let part = u128::from(backend.weight) * u128::from(endpoint.weight);
            let share = scaled(part, u128::from(all) * u128::from(sum));
            // Two backends may lead to one endpoint.
            let (weight, enrolled) = shared.entry((endpoint.address, endpoint.port)).or_default();
            *weight = weight.saturating_add(share);
            *enrolled |= endpoint.enrolled;
        }
    }
    let endpoints: Vec<_> = shared
        .into_iter()
        .map(|((address, port), (weight, enrolled))| EndpointEntry { address, port, weight, enrolled })
        .collect();
    let closed = if closed == 0 || endpoints.is_empty() { 0 } else { scaled(closed.into(), all.into()) };
    Shares { endpoints, closed }
}

/// A part of a whole, of [`ALL`]; at least 1, so that nobody's share is nothing.
fn scaled(part: u128, whole: u128) -> u32 {
    u32::try_from(part * ALL / whole).unwrap_or(u32::MAX).max(1)
}
