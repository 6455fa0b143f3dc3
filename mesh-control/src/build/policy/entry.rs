//! One entry of `from` or `to`, judged on its own.

use std::net::IpAddr;

use ipnet::IpNet;
use mesh_api::crd::{Destination, LabelSelector, ServiceRef, Source};

use super::{super::fields::Problem, rule::Place, spiffe::SpiffePattern};
use crate::objects::ObjectName;

/// One entry of `from` or `to`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PeerDraft {
    /// The AND of what is there.
    Matching(Box<Matcher>),
    /// Any of these Services.
    Services(Vec<ObjectName>),
}

/// The parts of an entry by identity and address.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Matcher {
    pub(super) service_accounts: Option<Vec<String>>,
    pub(super) namespaces: Option<Vec<String>>,
    pub(super) namespace_selector: Option<LabelSelector>,
    pub(super) spiffe: Option<Vec<SpiffePattern>>,
    pub(super) pods: Option<LabelSelector>,
    pub(super) cidrs: Option<Vec<IpNet>>,
}

impl Matcher {
    /// Whether it says anything of who, not only of where.
    pub(super) fn names_identities(&self) -> bool {
        self.service_accounts.is_some()
            || self.namespaces.is_some()
            || self.namespace_selector.is_some()
            || self.spiffe.is_some()
            || self.pods.is_some()
    }
}

/// Reads an entry of `from`.
pub(super) fn read_source(
    source: Source,
    path: &str,
    place: Place<'_>,
    problems: &mut Vec<Problem>,
) -> Option<PeerDraft> {
    let Source { service_accounts, namespaces, namespace_selector, spiffe, pods, cidrs } = source;
    let cidrs = cidrs.map(|cidrs| read_cidrs(&cidrs, path, problems));
    let spiffe = spiffe.map(|patterns| read_spiffe(&patterns, path, problems));
    let matcher = Matcher { service_accounts, namespaces, namespace_selector, spiffe, pods, cidrs };
    check_matcher(&matcher, path, place, problems);
    Some(PeerDraft::Matching(Box::new(matcher)))
}

/// Reads an entry of `to`; nothing where it cannot stand for anyone.
pub(super) fn read_destination(
    to: Destination,
    path: &str,
    place: Place<'_>,
    problems: &mut Vec<Problem>,
) -> Option<PeerDraft> {
    if to.fqdns.is_some() {
        problems.push(Problem::not_built(&format!("{path}.fqdns"), "take it out"));
        return None;
    }
    let Destination {
        service_accounts,
        namespaces,
        namespace_selector,
        spiffe,
        pods,
        cidrs,
        services,
        fqdns: _,
    } = to;
    let Some(services) = services else {
        let source = Source { service_accounts, namespaces, namespace_selector, spiffe, pods, cidrs };
        return read_source(source, path, place, problems);
    };
    let alone = service_accounts.is_none()
        && namespaces.is_none()
        && namespace_selector.is_none()
        && spiffe.is_none()
        && pods.is_none()
        && cidrs.is_none();
    let path = format!("{path}.services");
    if !alone {
        problems.push(Problem::invalid(
            &path,
            "stands alone in its entry; write the other fields as an entry of their own",
        ));
    }
    if services.is_empty() {
        problems.push(Problem::invalid(&path, "must not be empty"));
    }
    Some(PeerDraft::Services(
        services.iter().filter_map(|service| qualify(service, &path, place, problems)).collect(),
    ))
}

fn qualify(
    service: &ServiceRef,
    path: &str,
    place: Place<'_>,
    problems: &mut Vec<Problem>,
) -> Option<ObjectName> {
    let namespace = service.namespace.as_deref().or(place.namespace);
    if namespace.is_none() {
        let what = format!("service `{}` needs a namespace in a ClusterAccessPolicy", service.name);
        problems.push(Problem::invalid(path, what));
    }
    namespace.map(|namespace| ObjectName::new(namespace, &service.name))
}

fn check_matcher(matcher: &Matcher, path: &str, place: Place<'_>, problems: &mut Vec<Problem>) {
    if !matcher.names_identities() && matcher.cidrs.is_none() {
        problems.push(Problem::invalid(path, "names nobody; name someone, or leave the list out for anyone"));
    }
    let empty = |list: Option<usize>| list == Some(0);
    for (field, length) in [
        ("serviceAccounts", matcher.service_accounts.as_ref().map(Vec::len)),
        ("namespaces", matcher.namespaces.as_ref().map(Vec::len)),
    ] {
        if empty(length) {
            problems.push(Problem::invalid(&format!("{path}.{field}"), "must not be empty"));
        }
    }
    for (field, selector) in [("namespaceSelector", &matcher.namespace_selector), ("pods", &matcher.pods)] {
        if let Some(fault) = selector.as_ref().and_then(LabelSelector::problem) {
            problems.push(Problem::invalid(&format!("{path}.{field}"), fault));
        }
    }
    let unplaced = matcher.namespaces.is_none() && matcher.namespace_selector.is_none();
    if place.namespace.is_none() && matcher.service_accounts.is_some() && unplaced {
        let what = "a ClusterAccessPolicy has no namespace of its own; add namespaces, or namespaceSelector: {} for every one";
        problems.push(Problem::invalid(&format!("{path}.serviceAccounts"), what));
    }
}

fn read_cidrs(cidrs: &[String], path: &str, problems: &mut Vec<Problem>) -> Vec<IpNet> {
    let path = format!("{path}.cidrs");
    if cidrs.is_empty() {
        problems.push(Problem::invalid(&path, "must not be empty"));
    }
    let mut read = Vec::new();
    for cidr in cidrs {
        match cidr.parse::<IpNet>() {
            Ok(net) if is_v4_mapped(net.network()) => {
                problems.push(Problem::invalid(
                    &path,
                    format!("`{cidr}` is an IPv4 range in IPv6 form; write it as IPv4"),
                ));
            }
            Ok(net) => read.push(net.trunc()),
            Err(_) => {
                problems.push(Problem::invalid(
                    &path,
                    format!("`{cidr}` is not a CIDR; write address/prefix, such as 10.0.0.0/8 or fd00::/8"),
                ));
            }
        }
    }
    read
}

fn is_v4_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

fn read_spiffe(patterns: &[String], path: &str, problems: &mut Vec<Problem>) -> Vec<SpiffePattern> {
    let path = format!("{path}.spiffe");
    if patterns.is_empty() {
        problems.push(Problem::invalid(&path, "must not be empty"));
    }
    let mut read = Vec::new();
    for pattern in patterns {
        match SpiffePattern::parse(pattern) {
            Ok(pattern) => read.push(pattern),
            Err(what) => problems.push(Problem::invalid(&path, what)),
        }
    }
    read
}
