//! The access policy of a pod, parsed.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::resources as wire;
use mesh_l7::access::rule::Requests;

use super::Cidr;
use super::error::Fault;
use super::field::{address, indexed, port};
use super::requests::parse_requests;

/// The access policy of one pod of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodPolicy {
    /// UID of the pod.
    pub pod_uid: String,
    /// What may come in.
    pub ingress: Arc<DirectionPolicy>,
    /// What may go out.
    pub egress: Arc<DirectionPolicy>,
}

/// The rules of one direction, in the order in which the first match decides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct DirectionPolicy {
    /// Admin, Access, Baseline, in this order.
    pub rules: Vec<Rule>,
    /// An enforced AccessPolicy selects the pod.
    pub isolated: bool,
    /// The same, Audit policies counted in.
    pub isolated_audit: bool,
    /// What nothing decided is denied.
    pub default_deny: bool,
    /// Unproven TCP is denied whatever the rules say.
    pub require_mtls: bool,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Its place in the order.
    pub tier: Tier,
    /// What it decides.
    pub action: Action,
    /// Counted as if enforced, enforces nothing.
    pub audit: bool,
    /// The policy it stands in: `<kind>/<namespace>/<name>`.
    pub policy: String,
    /// Its name in the policy.
    pub name: String,
    /// Who it is about; empty = anyone.
    pub peers: Vec<Entry>,
    /// Which ports; empty = every port of every protocol.
    pub ports: Vec<PortRange>,
    /// Ingress: [`Mtls::Required`] matches proven sources only. Egress: the transport.
    pub mtls: Mtls,
    /// Which requests; one that is not about all of them is decided for each (SEMANTICS 5.1).
    pub requests: Requests,
}

/// Where a rule stands in the order of SEMANTICS 5.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// First.
    Admin,
    /// AccessPolicy.
    Access,
    /// Last, before the default.
    Baseline,
}

/// What a rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Let it through.
    Allow,
    /// Refuse it.
    Deny,
    /// Skip the rest of the Admin tier.
    Pass,
}

/// What a rule asks of mTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mtls {
    /// Where both sides can.
    Preferred,
    /// Nothing else.
    Required,
    /// Plaintext; egress only.
    Off,
}

/// One entry of `from` or `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Pods of these groups.
    Groups(BTreeSet<u64>),
    /// Addresses in these ranges.
    Cidrs(Vec<Cidr>),
    /// Pods of these groups at addresses in these ranges.
    Both(BTreeSet<u64>, Vec<Cidr>),
    /// Exactly these endpoints of Services.
    Endpoints(Vec<(IpAddr, u16)>),
}

/// Ports `first` to `last` of one protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortRange {
    /// The protocol.
    pub protocol: Protocol,
    /// First port.
    pub first: u16,
    /// Last port, inclusive.
    pub last: u16,
}

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Its IP protocol number.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Tcp => mesh_ebpf::abi::TCP,
            Self::Udp => mesh_ebpf::abi::UDP,
        }
    }

    pub(super) fn parse(number: i32) -> Result<Self, Fault> {
        match wire::Protocol::try_from(number) {
            Ok(wire::Protocol::Tcp) => Ok(Self::Tcp),
            Ok(wire::Protocol::Udp) => Ok(Self::Udp),
            _ => Err(Fault::new("protocol", number, "neither TCP (1) nor UDP (2)")),
        }
    }
}

pub(super) fn parse_pod_policy(message: wire::PodPolicy) -> Result<PodPolicy, Fault> {
    if message.pod_uid.is_empty() {
        return Err(Fault::new("pod_uid", "empty", "a policy must name its pod"));
    }
    Ok(PodPolicy {
        pod_uid: message.pod_uid,
        ingress: parse_direction(message.ingress.unwrap_or_default())
            .map(Arc::new)
            .map_err(|fault| fault.within("ingress"))?,
        egress: parse_direction(message.egress.unwrap_or_default())
            .map(Arc::new)
            .map_err(|fault| fault.within("egress"))?,
    })
}

/// Parses the rules of one direction.
pub(crate) fn parse_direction(message: wire::DirectionPolicy) -> Result<DirectionPolicy, Fault> {
    let mut rules = Vec::with_capacity(message.rules.len());
    let mut reached = Tier::Admin;
    for (index, rule) in message.rules.into_iter().enumerate() {
        let rule = parse_rule(rule).map_err(|fault| fault.within(&format!("rules[{index}]")))?;
        if rule.tier < reached {
            return Err(Fault::new(
                format!("rules[{index}].tier"),
                format!("{:?} after {reached:?}", rule.tier),
                "tiers come in the order Admin, Access, Baseline",
            ));
        }
        reached = rule.tier;
        rules.push(rule);
    }
    Ok(DirectionPolicy {
        rules,
        isolated: message.isolated,
        isolated_audit: message.isolated_audit,
        default_deny: message.default_deny,
        require_mtls: message.require_mtls,
    })
}

fn parse_rule(message: wire::Rule) -> Result<Rule, Fault> {
    let tier = match wire::Tier::try_from(message.tier) {
        Ok(wire::Tier::Admin) => Tier::Admin,
        Ok(wire::Tier::Access) => Tier::Access,
        Ok(wire::Tier::Baseline) => Tier::Baseline,
        _ => return Err(Fault::new("tier", message.tier, "no tier this agent knows")),
    };
    let action = match wire::Action::try_from(message.action) {
        Ok(wire::Action::Allow) => Action::Allow,
        Ok(wire::Action::Deny) => Action::Deny,
        Ok(wire::Action::Pass) if tier == Tier::Admin => Action::Pass,
        Ok(wire::Action::Pass) => {
            return Err(Fault::new("action", "Pass", "only the Admin tier can pass"));
        }
        _ => return Err(Fault::new("action", message.action, "no action this agent knows")),
    };
    let mtls = match wire::Mtls::try_from(message.mtls) {
        Ok(wire::Mtls::Preferred) => Mtls::Preferred,
        Ok(wire::Mtls::Required) => Mtls::Required,
        Ok(wire::Mtls::Off) => Mtls::Off,
        _ => return Err(Fault::new("mtls", message.mtls, "no mode this agent knows")),
    };
    Ok(Rule {
        tier,
        action,
        audit: message.audit,
        policy: message.policy,
        name: message.rule,
        peers: indexed("peers", message.peers, parse_entry)?,
        ports: indexed("ports", message.ports, parse_ports)?,
        mtls,
        requests: parse_requests(message.http, message.grpc)?,
    })
}

fn parse_entry(message: wire::Peer) -> Result<Entry, Fault> {
    if message.services {
        if message.groups.is_some() || !message.cidrs.is_empty() {
            return Err(Fault::new("services", true, "an entry that names services names nothing else"));
        }
        return Ok(Entry::Endpoints(indexed("endpoints", message.endpoints, |endpoint| {
            Ok((address(&endpoint.address)?, port("port", endpoint.port)?))
        })?));
    }
    let cidrs = indexed("cidrs", message.cidrs, |cidr| {
        let base = address(&cidr.address)?;
        Cidr::new(base, cidr.prefix_length)
            .ok_or_else(|| Fault::new("prefix_length", cidr.prefix_length, "longer than the address"))
    })?;
    match (message.groups, cidrs.is_empty()) {
        (Some(groups), true) => Ok(Entry::Groups(parse_groups(groups)?)),
        (Some(groups), false) => Ok(Entry::Both(parse_groups(groups)?, cidrs)),
        (None, false) => Ok(Entry::Cidrs(cidrs)),
        (None, true) => Err(Fault::new(
            "groups",
            "absent",
            "an entry must name groups, cidrs or services; anyone is written by no entry",
        )),
    }
}

fn parse_groups(message: wire::Groups) -> Result<BTreeSet<u64>, Fault> {
    let groups: BTreeSet<u64> = message.ids.into_iter().collect();
    if groups.contains(&0) {
        return Err(Fault::new("groups.ids", 0, "0 is no group"));
    }
    Ok(groups)
}

fn parse_ports(message: wire::PortRange) -> Result<PortRange, Fault> {
    let range = PortRange {
        protocol: Protocol::parse(message.protocol)?,
        first: bound("first", message.first)?,
        last: bound("last", message.last)?,
    };
    if range.last < range.first {
        return Err(Fault::new("last", range.last, "before the first port"));
    }
    Ok(range)
}

/// A bound of a range: unlike a port that is dialled it may be 0.
fn bound(field: &str, number: u32) -> Result<u16, Fault> {
    u16::try_from(number).map_err(|_| Fault::new(field, number, "a port is at most 65535"))
}
