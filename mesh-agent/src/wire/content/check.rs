//! The checks on what relay sends. relay parses the network; whoever took it over must not be able
//! to write into the kernel what no controller could mean.

use std::collections::BTreeSet;
use std::net::IpAddr;

use mesh_ebpf::abi::{Service, TCP, UDP, Workload};
use mesh_ebpf::policy::{Action, CidrKey, Hit, Mtls, RulingKey};

use super::ContentError;
use crate::handover::{LocalPod, PeerEntry, PolicySet, ServiceEntry};

/// Longest name kept for logs and the CLI.
const NAME_LIMIT: usize = 512;
/// Most endpoints of one Service port: a generation is written while the old one is in force.
const ENDPOINT_LIMIT: usize = 65_536;
/// Most frontends of one Service port.
const FRONTEND_LIMIT: usize = 4096;
/// Most probed ports of one pod.
const PROBE_LIMIT: usize = 64;

fn invalid<T>(field: &'static str, value: impl ToString, problem: &'static str) -> Result<T, ContentError> {
    Err(ContentError::Invalid { field, value: value.to_string(), problem })
}

fn unicast(field: &'static str, ip: IpAddr) -> Result<(), ContentError> {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    if ip.is_unspecified() || ip.is_multicast() || broadcast {
        return invalid(field, ip, "is not an address of one host");
    }
    if matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        return invalid(field, ip, "is IPv4 in IPv6 form; send it as IPv4");
    }
    Ok(())
}

fn routable(field: &'static str, ip: IpAddr) -> Result<(), ContentError> {
    unicast(field, ip)?;
    if ip.is_loopback() {
        return invalid(field, ip, "is a loopback address");
    }
    Ok(())
}

/// Checks a pod of this node.
///
/// # Errors
/// Names the field that is wrong.
pub(in super::super) fn pod(pod: &LocalPod) -> Result<(), ContentError> {
    let characters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if pod.uid.is_empty() || pod.uid.len() > 64 || !pod.uid.bytes().all(characters) {
        return invalid("uid", &pod.uid, "is not a UID");
    }
    if pod.name.len() > NAME_LIMIT {
        return invalid("name", pod.name.len(), "bytes are too long");
    }
    for family_v4 in [true, false] {
        if pod.addresses.iter().filter(|ip| ip.is_ipv4() == family_v4).count() > 1 {
            return invalid("addresses", pod.addresses.len(), "hold two of one family");
        }
    }
    pod.addresses.iter().try_for_each(|ip| routable("addresses", *ip))?;
    if pod.probe_ports.len() > PROBE_LIMIT {
        return invalid("probe_ports", pod.probe_ports.len(), "are too many");
    }
    if pod.probe_ports.contains(&0) {
        return invalid("probe_ports", 0, "is not a port");
    }
    Ok(())
}

/// Checks a peer.
///
/// # Errors
/// Names the field that is wrong.
pub(super) fn peer(peer: &PeerEntry) -> Result<(), ContentError> {
    routable("address", peer.address)?;
    let known = Workload::ENROLLED | Workload::LOCAL | Workload::HOST_NETWORK | Workload::ENCRYPT_ALWAYS;
    if peer.flags & !known != 0 {
        return invalid("flags", peer.flags, "has bits that mean nothing");
    }
    Ok(())
}

/// Checks a Service port.
///
/// # Errors
/// Names the field that is wrong.
pub(super) fn service(service: &ServiceEntry) -> Result<(), ContentError> {
    if service.id == 0 {
        return invalid("id", 0, "is reserved");
    }
    if service.name.len() > NAME_LIMIT {
        return invalid("name", service.name.len(), "bytes are too long");
    }
    if service.protocol != TCP && service.protocol != UDP {
        return invalid("protocol", service.protocol, "is neither TCP nor UDP");
    }
    let known = Service::ENGINE | Service::CONSUMERS;
    if service.flags & !known != 0 {
        return invalid("flags", service.flags, "has bits that mean nothing");
    }
    if service.flags & Service::ENGINE != 0 && service.protocol != TCP {
        return invalid("flags", service.flags, "has the agent route what is not TCP");
    }
    if let Some((id, _)) = service.consumer_of {
        if id == 0 || id == service.id {
            return invalid("consumer_of", id, "is not another Service port");
        }
        if !service.frontends.is_empty() || service.flags & Service::CONSUMERS != 0 {
            return invalid(
                "consumer_of",
                id,
                "is not for a Service port that has frontends or consumers of its own",
            );
        }
    }
    if service.frontends.len() > FRONTEND_LIMIT {
        return invalid("frontends", service.frontends.len(), "are too many");
    }
    if service.endpoints.len() > ENDPOINT_LIMIT {
        return invalid("endpoints", service.endpoints.len(), "are too many");
    }
    for (ip, port) in &service.frontends {
        routable("frontends", *ip)?;
        if *port == 0 {
            return invalid("frontends", 0, "is not a port");
        }
    }
    if service.closed != 0 && service.endpoints.is_empty() {
        return invalid("closed", service.closed, "is a share beside endpoints, of which there is none");
    }
    let mut seen = BTreeSet::new();
    for endpoint in &service.endpoints {
        let (ip, port) = (endpoint.address, endpoint.port);
        routable("endpoints", ip)?;
        if port == 0 {
            return invalid("endpoints", 0, "is not a port");
        }
        if !seen.insert((ip, port)) {
            return invalid("endpoints", format!("{ip}:{port}"), "is named twice");
        }
    }
    let one_family = service
        .frontends
        .iter()
        .map(|(ip, _)| ip)
        .chain(service.endpoints.iter().map(|endpoint| &endpoint.address))
        .map(IpAddr::is_ipv4)
        .collect::<BTreeSet<_>>();
    if one_family.len() > 1 {
        return invalid("endpoints", &service.name, "and frontends are of two address families");
    }
    Ok(())
}

/// Checks a policy set: every key is its own, every prefix in bounds, every value means something.
///
/// # Errors
/// Names the field that is wrong.
pub(super) fn set(set: &PolicySet) -> Result<(), ContentError> {
    if set.id.0 & 4 == 0 {
        return invalid("id", format!("{:#x}", set.id.0), "is not the id of a set");
    }
    let own = set.id.0.to_ne_bytes();
    for (bits, key, ruling) in &set.rulings {
        if key.set != own {
            return invalid("ruling", format!("{:?}", key.set), "is of another set");
        }
        if !(RulingKey::PREFIX_BITS..=RulingKey::BITS).contains(bits) {
            return invalid("ruling prefix", bits, "is not between 144 and 160 bits");
        }
        if !(1..=7).contains(&key.kind) {
            return invalid("ruling kind", key.kind, "is not known");
        }
        if ![TCP, UDP, 0].contains(&key.protocol) {
            return invalid("ruling protocol", key.protocol, "is neither TCP, UDP nor 0");
        }
        for stages in [ruling.enforced, ruling.audited] {
            hit(stages.admin)?;
            hit(stages.rest)?;
        }
    }
    for (bits, key, number) in &set.cidrs {
        if key.set != own {
            return invalid("cidr", format!("{:?}", key.set), "is of another set");
        }
        if !(CidrKey::PREFIX_BITS..=CidrKey::BITS).contains(bits) {
            return invalid("cidr prefix", bits, "is not between 64 and 192 bits");
        }
        if *number == 0 {
            return invalid("cidr number", 0, "means none");
        }
    }
    if !set.cidrs.is_empty() && !set.id.uses_cidrs() {
        return invalid("id", format!("{:#x}", set.id.0), "says that it has no CIDRs");
    }
    if set.rules.len() > usize::from(mesh_ebpf::policy::rule::LIMIT) {
        return invalid("rules", set.rules.len(), "are more than can be numbered");
    }
    if set.rules.iter().any(|(policy, rule)| policy.len() > NAME_LIMIT || rule.len() > NAME_LIMIT) {
        return invalid("rules", NAME_LIMIT, "bytes are the most for a name");
    }
    Ok(())
}

fn hit(hit: Hit) -> Result<(), ContentError> {
    if hit.action > Action::Defer as u8 {
        return invalid("ruling action", hit.action, "is not known");
    }
    if hit.mtls > Mtls::Off as u8 {
        return invalid("ruling mtls", hit.mtls, "is not known");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{peer, pod, service, set};
    use crate::handover::{EndpointEntry, LocalPod, PeerEntry, PolicySet, ServiceEntry};
    use mesh_ebpf::policy::{Kind, Ruling, RulingKey, SetId, Stages};
    use proptest::prelude::*;

    fn policy() -> PolicySet {
        let id = SetId::new(0x1230, false, false);
        let ruling = Ruling { enforced: Stages::NONE, audited: Stages::NONE };
        PolicySet {
            id,
            rulings: vec![(160, RulingKey::new(id, Kind::Proven, 1, 6, 80), ruling)],
            cidrs: Vec::new(),
            rules: Vec::new(),
        }
    }

    #[test]
    fn a_key_of_another_set_is_refused() {
        assert!(set(&policy()).is_ok());
        let mut other = policy();
        other.rulings[0].1.set = [9; 8];
        assert!(set(&other).unwrap_err().to_string().contains("another set"));
        let mut empty = policy();
        empty.id = SetId::EMPTY;
        assert!(set(&empty).is_err());
    }

    proptest! {
        #[test]
        fn a_prefix_out_of_bounds_is_refused(bits: u32) {
            let mut policy = policy();
            policy.rulings[0].0 = bits;
            prop_assert_eq!(set(&policy).is_ok(), (144..=160).contains(&bits));
        }

        #[test]
        fn only_known_actions_pass(action: u8, mtls: u8) {
            let mut policy = policy();
            policy.rulings[0].2.enforced.rest.action = action;
            policy.rulings[0].2.enforced.rest.mtls = mtls;
            prop_assert_eq!(set(&policy).is_ok(), action <= 4 && mtls <= 2);
        }
    }

    #[test]
    fn addresses_that_are_no_hosts_are_refused() {
        for address in ["0.0.0.0", "::", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::ffff:10.0.0.1"] {
            let entry = PeerEntry { address: address.parse().unwrap(), group: 1, flags: 0 };
            assert!(peer(&entry).is_err(), "{address}");
        }
        let entry = PeerEntry { address: "10.0.0.1".parse().unwrap(), group: 1, flags: 16 };
        assert!(peer(&entry).is_err());
    }

    #[test]
    fn a_service_of_two_families_or_port_zero_is_refused() {
        let good = ServiceEntry {
            id: 1,
            name: "a/b:http".to_owned(),
            frontends: vec![("10.96.0.1".parse().unwrap(), 80)],
            consumer_of: None,
            flags: 0,
            protocol: 6,
            affinity_seconds: 0,
            endpoints: vec![EndpointEntry {
                address: "10.0.0.2".parse().unwrap(),
                port: 8080,
                weight: 1,
                enrolled: false,
            }],
            closed: 1,
        };
        assert!(service(&good).is_ok());
        let mut families = good.clone();
        families.endpoints[0].address = "fd00::2".parse().unwrap();
        let mut zero = good.clone();
        zero.endpoints[0].port = 0;
        let mut twice = good.clone();
        twice.endpoints.push(twice.endpoints[0]);
        let nothing = ServiceEntry { endpoints: Vec::new(), ..good };
        for bad in [families, zero, twice, nothing] {
            assert!(service(&bad).is_err());
        }
    }

    #[test]
    fn a_uid_that_could_leave_a_directory_is_refused() {
        let mut local = LocalPod {
            uid: "../x".to_owned(),
            name: "a/b".to_owned(),
            enrolled: true,
            host_network: false,
            addresses: Vec::new(),
            group: 1,
            namespace: 1,
            ingress: SetId::EMPTY,
            egress: SetId::EMPTY,
            ingress_denies_other: false,
            egress_denies_other: false,
            require_mtls: false,
            encrypt_always: false,
            probe_ports: Vec::new(),
        };
        assert!(pod(&local).is_err());
        local.uid = "a-1".to_owned();
        assert!(pod(&local).is_ok());
    }
}
