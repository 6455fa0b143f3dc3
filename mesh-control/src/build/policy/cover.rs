//! Whether whatever one rule matches another one matches too. Where it says so that is true; of some
//! rules that do it does not say so: it compares one rule with one other, and an address range with one
//! other.

use ipnet::IpNet;
use mesh_api::resources::{Action, Mtls, Peer, PortRange, Rule};

use super::conflict::net;

/// Groups and endpoints of the rules of a direction that are compared, at most.
const NAMES: usize = 16_384;
/// The same of address ranges: each is compared with each.
const RANGES: usize = 512;

/// A rule, ready to be compared with many.
#[derive(Debug)]
pub(super) struct Shape<'a> {
    pub(super) rule: &'a Rule,
    peers: Vec<PeerShape>,
}

#[derive(Debug)]
struct PeerShape {
    services: bool,
    /// Sorted.
    groups: Option<Vec<u64>>,
    /// Sorted.
    endpoints: Vec<(Vec<u8>, u32)>,
    /// Nothing for one that is no range.
    ranges: Vec<Option<IpNet>>,
}

/// The rules of a direction; nothing where they are too many to compare.
pub(super) fn shapes(rules: &[Rule]) -> Option<Vec<Shape<'_>>> {
    let peers = || rules.iter().flat_map(|rule| &rule.peers);
    let names =
        peers().map(|peer| peer.groups.as_ref().map_or(0, |groups| groups.ids.len()) + peer.endpoints.len());
    let ranges = peers().map(|peer| peer.cidrs.len());
    if names.sum::<usize>() > NAMES || ranges.sum::<usize>() > RANGES {
        return None;
    }
    let shape = |rule| Shape { rule, peers: rule.peers.iter().map(PeerShape::of).collect() };
    Some(rules.iter().map(shape).collect())
}

impl PeerShape {
    fn of(peer: &Peer) -> Self {
        let mut groups = peer.groups.as_ref().map(|groups| groups.ids.clone());
        if let Some(ids) = &mut groups {
            ids.sort_unstable();
        }
        let endpoint = |endpoint: &mesh_api::resources::Endpoint| (endpoint.address.clone(), endpoint.port);
        let mut endpoints: Vec<_> = peer.endpoints.iter().map(endpoint).collect();
        endpoints.sort_unstable();
        Self { services: peer.services, groups, endpoints, ranges: peer.cidrs.iter().map(net).collect() }
    }
}

/// Whether `wide` matches everything that `narrow` does.
pub(super) fn covers(wide: &Shape<'_>, narrow: &Shape<'_>, egress: bool) -> bool {
    proof_covers(wide.rule, narrow.rule, egress)
        && ports_cover(&wide.rule.ports, &narrow.rule.ports)
        && requests_cover(wide.rule, narrow.rule)
        && peers_cover(wide, narrow, egress)
}

/// Whether it matches everything.
pub(super) fn is_total(rule: &Rule, egress: bool) -> bool {
    rule.peers.is_empty()
        && rule.ports.is_empty()
        && is_of_connections(rule)
        && (egress || rule.mtls() != Mtls::Required)
}

/// On ingress `mtls: Required` matches who is proven only; on egress it says how to go there.
fn proof_covers(wide: &Rule, narrow: &Rule, egress: bool) -> bool {
    egress || wide.mtls() != Mtls::Required || narrow.mtls() == Mtls::Required
}

/// Whether it decides without a request.
fn is_of_connections(rule: &Rule) -> bool {
    rule.http.is_empty() && rule.grpc.is_empty()
}

/// A rule about requests leaves to others what is no request, so it covers none about connections. Entries
/// are compared as they are written.
fn requests_cover(wide: &Rule, narrow: &Rule) -> bool {
    is_of_connections(wide)
        || (!is_of_connections(narrow)
            && narrow.http.iter().all(|entry| wide.http.contains(entry))
            && narrow.grpc.iter().all(|entry| wide.grpc.contains(entry)))
}

fn ports_cover(wide: &[PortRange], narrow: &[PortRange]) -> bool {
    let within = |narrow: &PortRange| {
        wide.iter().any(|wide| {
            wide.protocol == narrow.protocol && wide.first <= narrow.first && narrow.last <= wide.last
        })
    };
    wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(within))
}

fn peers_cover(wide: &Shape<'_>, narrow: &Shape<'_>, egress: bool) -> bool {
    // An unproven source matches every identity that is denied (SEMANTICS 2.4).
    let meets_strangers = |rule: &Rule| !egress && rule.action() == Action::Deny;
    let groups_count = meets_strangers(wide.rule) || !meets_strangers(narrow.rule);
    let within = |narrow: &PeerShape| wide.peers.iter().any(|wide| peer_covers(wide, narrow, groups_count));
    wide.peers.is_empty() || (!narrow.peers.is_empty() && narrow.peers.iter().all(within))
}

/// `groups_count`: whoever matches groups of the narrow one for want of proof matches those of the
/// wide one for that too.
fn peer_covers(wide: &PeerShape, narrow: &PeerShape, groups_count: bool) -> bool {
    if wide.services {
        let reached = |endpoint| wide.endpoints.binary_search(endpoint).is_ok();
        return narrow.services && narrow.endpoints.iter().all(reached);
    }
    let groups = match (&wide.groups, &narrow.groups) {
        (None, _) => true,
        (Some(wide), Some(narrow)) => groups_count && narrow.iter().all(|id| wide.binary_search(id).is_ok()),
        (Some(_), None) => false,
    };
    // The addresses of Services are left alone: no range is said to cover them.
    let nowhere_else = wide.ranges.is_empty()
        || (!narrow.services
            && !narrow.ranges.is_empty()
            && narrow.ranges.iter().all(|narrow| range_covers(&wide.ranges, narrow.as_ref())));
    groups && nowhere_else
}

fn range_covers(wide: &[Option<IpNet>], narrow: Option<&IpNet>) -> bool {
    narrow.is_some_and(|narrow| wide.iter().flatten().any(|wide| wide.contains(narrow)))
}

#[cfg(test)]
mod tests {
    use mesh_api::resources::{
        Action, Cidr, Endpoint, Groups, GrpcRequests, HttpRequests, Mtls, Peer, PortRange, Protocol, Rule,
    };

    use super::{RANGES, is_total, shapes};

    fn covers(wide: &Rule, narrow: &Rule, egress: bool) -> bool {
        let rules = [wide.clone(), narrow.clone()];
        let shapes = shapes(&rules).unwrap();
        super::covers(&shapes[0], &shapes[1], egress)
    }

    fn groups(ids: &[u64]) -> Peer {
        Peer { groups: Some(Groups { ids: ids.to_vec() }), ..Peer::default() }
    }

    fn cidr(address: [u8; 4], prefix_length: u32) -> Peer {
        let cidr = Cidr { address: address.to_vec(), prefix_length };
        Peer { cidrs: vec![cidr], ..Peer::default() }
    }

    fn rule(action: Action, peers: Vec<Peer>, ports: Vec<(u32, u32)>) -> Rule {
        let range = |(first, last)| PortRange { protocol: Protocol::Tcp.into(), first, last };
        Rule {
            action: action.into(),
            peers,
            ports: ports.into_iter().map(range).collect(),
            ..Rule::default()
        }
    }

    #[test]
    fn more_ports_and_more_peers_cover_fewer() {
        let wide = rule(Action::Allow, vec![groups(&[1, 2])], vec![(80, 90)]);
        for (narrow, covered) in [
            (rule(Action::Allow, vec![groups(&[2])], vec![(85, 85), (80, 90)]), true),
            (rule(Action::Allow, vec![groups(&[2])], vec![(85, 91)]), false),
            (rule(Action::Allow, vec![groups(&[2])], Vec::new()), false),
            (rule(Action::Allow, vec![groups(&[2, 3])], vec![(85, 85)]), false),
            (rule(Action::Allow, Vec::new(), vec![(85, 85)]), false),
            (rule(Action::Allow, vec![cidr([10, 0, 0, 1], 32)], vec![(85, 85)]), false),
        ] {
            assert_eq!(covers(&wide, &narrow, false), covered, "{narrow:?}");
        }
        let anyone = rule(Action::Deny, Vec::new(), Vec::new());
        assert!(covers(&anyone, &wide, false) && is_total(&anyone, false));
    }

    #[test]
    fn who_is_unproven_is_denied_by_identity_and_allowed_by_none() {
        let (allow, deny) = (
            rule(Action::Allow, vec![groups(&[1])], Vec::new()),
            rule(Action::Deny, vec![groups(&[1])], Vec::new()),
        );
        assert!(!covers(&allow, &deny, false), "a stranger matches the second only");
        assert!(covers(&deny, &allow, false));
        assert!(covers(&allow, &deny, true), "on egress an address selects");
    }

    #[test]
    fn on_ingress_required_matches_fewer() {
        let any = rule(Action::Allow, Vec::new(), Vec::new());
        let required = Rule { mtls: Mtls::Required.into(), ..any.clone() };
        assert!(covers(&any, &required, false) && !covers(&required, &any, false));
        assert!(covers(&required, &any, true));
        assert!(!is_total(&required, false) && is_total(&required, true));
    }

    #[test]
    fn ranges_cover_ranges_hosts_and_endpoints() {
        let wide = rule(Action::Allow, vec![cidr([10, 0, 0, 0], 8)], Vec::new());
        let endpoint = Endpoint { address: vec![10, 1, 2, 3], port: 80, ..Endpoint::default() };
        let service = Peer { services: true, endpoints: vec![endpoint], ..Peer::default() };
        let service = rule(Action::Allow, vec![service], Vec::new());
        assert!(!covers(&wide, &service, true) && !covers(&service, &wide, true));
        assert!(covers(&service, &service, true));
        let both = Peer { groups: groups(&[1]).groups, ..cidr([10, 9, 0, 0], 16) };
        assert!(covers(&wide, &rule(Action::Allow, vec![both], Vec::new()), true));
        assert!(!covers(&wide, &rule(Action::Allow, vec![cidr([0, 0, 0, 0], 0)], Vec::new()), true));
        let nothing = rule(Action::Allow, vec![groups(&[1])], Vec::new());
        assert!(!covers(&wide, &nothing, true), "by identity from anywhere");
    }

    #[test]
    fn rules_about_requests_cover_none_about_connections() {
        let connections = rule(Action::Allow, Vec::new(), vec![(80, 80)]);
        let of = |methods: &[&str]| {
            let entry = |method: &&str| HttpRequests {
                methods: vec![(*method).to_owned()],
                ..HttpRequests::default()
            };
            Rule { http: methods.iter().map(entry).collect(), ..connections.clone() }
        };
        let call = GrpcRequests { service: "a.B".to_owned(), method: String::new() };
        let (get, both) = (of(&["GET"]), of(&["PUT", "GET"]));
        assert!(covers(&connections, &get, false) && !covers(&get, &connections, false));
        assert!(covers(&both, &get, false) && !covers(&get, &both, false));
        assert!(!covers(&get, &Rule { grpc: vec![call], ..get.clone() }, false));
        assert!(!is_total(&Rule { ports: Vec::new(), ..get }, false));
    }

    #[test]
    fn of_too_many_nothing_is_said() {
        let rules = vec![rule(Action::Allow, vec![cidr([10, 0, 0, 0], 8)], Vec::new()); RANGES];
        assert!(shapes(&rules).is_some());
        let more = [rules.as_slice(), &rules[..1]].concat();
        assert!(shapes(&more).is_none());
    }
}
