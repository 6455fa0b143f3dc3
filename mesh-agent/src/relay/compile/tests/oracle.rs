//! The verdict straight from SEMANTICS 2.4 and 5, reading the policy message rule by rule.

use std::net::IpAddr;

use mesh_api::resources as wire;
use mesh_ebpf::policy::{Direction, Peer, Question, rule};

/// What the policy says of a question.
#[derive(Debug, PartialEq)]
pub(super) struct Expected {
    pub(super) allowed: bool,
    pub(super) deferred: bool,
    pub(super) audit_denies: bool,
    pub(super) rule: u16,
    pub(super) audit_rule: u16,
    pub(super) mtls: u8,
}

/// A verdict, or that a rule about requests is met before one that decides (SEMANTICS 5.1).
#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Allowed,
    Denied,
    Deferred,
}

pub(super) fn decide(direction: Direction, policy: &wire::DirectionPolicy, question: &Question) -> Expected {
    let (enforced, rule, mtls) = walk(direction, policy, question, false);
    let (audited, audit_rule, _) = walk(direction, policy, question, true);
    let deferred =
        enforced == Outcome::Deferred || (enforced == Outcome::Allowed && audited == Outcome::Deferred);
    let allowed = enforced == Outcome::Allowed && !deferred;
    Expected {
        allowed,
        deferred,
        audit_denies: enforced == Outcome::Allowed && audited != Outcome::Allowed,
        rule,
        audit_rule,
        mtls,
    }
}

/// Walks the tiers; `audit` takes Audit policies as enforced.
fn walk(
    direction: Direction,
    policy: &wire::DirectionPolicy,
    question: &Question,
    audit: bool,
) -> (Outcome, u16, u8) {
    let closing = |allowed| if allowed { Outcome::Allowed } else { Outcome::Denied };
    let proven = matches!(question.peer, Peer::Proven(_));
    if policy.require_mtls && question.protocol == 6 && !proven {
        return (Outcome::Denied, rule::MTLS, 0);
    }
    let of_tier = |tier: wire::Tier| {
        policy.rules.iter().enumerate().filter(move |(_, rule)| {
            rule.tier() == tier && (audit || !rule.audit) && matches(direction, rule, question)
        })
    };
    let decided = |(index, rule): (usize, &wire::Rule)| {
        let mtls = if direction == Direction::Egress { rule.mtls as u8 } else { 0 };
        let outcome = match is_by_request(rule) {
            true => Outcome::Deferred,
            false => closing(rule.action() == wire::Action::Allow),
        };
        (outcome, index as u16, mtls)
    };
    if let Some((index, rule)) = of_tier(wire::Tier::Admin).next()
        && (rule.action() != wire::Action::Pass || is_by_request(rule))
    {
        return decided((index, rule));
    }
    let is_final = |rule: &wire::Rule| rule.action() == wire::Action::Deny && !is_by_request(rule);
    let denial = of_tier(wire::Tier::Access).find(|(_, rule)| is_final(rule));
    if let Some(found) = denial.or_else(|| of_tier(wire::Tier::Access).next()) {
        return decided(found);
    }
    if policy.isolated || (audit && policy.isolated_audit) {
        return (Outcome::Denied, rule::ISOLATED, 0);
    }
    if let Some(found) = of_tier(wire::Tier::Baseline).next() {
        return decided(found);
    }
    (closing(!policy.default_deny), rule::DEFAULT, 0)
}

fn is_by_request(rule: &wire::Rule) -> bool {
    !rule.http.is_empty() || !rule.grpc.is_empty()
}

fn matches(direction: Direction, rule: &wire::Rule, question: &Question) -> bool {
    if is_by_request(rule) && question.protocol != 6 {
        return false;
    }
    let denies = rule.action() == wire::Action::Deny;
    let proven = matches!(question.peer, Peer::Proven(_));
    let wants_proof = direction == Direction::Ingress && rule.mtls() == wire::Mtls::Required;
    if wants_proof && !proven && !denies {
        return false;
    }
    let protocol = |range: &wire::PortRange| match range.protocol() {
        wire::Protocol::Tcp => question.protocol == 6,
        wire::Protocol::Udp => question.protocol == 17,
        wire::Protocol::Unspecified => false,
    };
    let port = u32::from(question.port);
    let on_port = rule.ports.is_empty()
        || rule.ports.iter().any(|range| protocol(range) && range.first <= port && port <= range.last);
    if rule.peers.is_empty() {
        return on_port;
    }
    rule.peers.iter().any(|entry| {
        if entry.services {
            let of_protocol =
                question.protocol != 0 && (rule.ports.is_empty() || rule.ports.iter().any(protocol));
            return of_protocol
                && entry.endpoints.iter().any(|endpoint| {
                    ip(&endpoint.address) == IpAddr::from(question.address) && endpoint.port == port
                });
        }
        let by_identity = entry.groups.as_ref().is_none_or(|groups| match question.peer {
            Peer::Proven(group) => groups.ids.contains(&group),
            Peer::Claimed(group) => denies && groups.ids.contains(&group),
            Peer::Unknown => denies,
        });
        let by_address = entry.cidrs.is_empty()
            || entry.cidrs.iter().any(|cidr| within(cidr, IpAddr::from(question.address)));
        on_port && by_identity && by_address
    })
}

fn ip(bytes: &[u8]) -> IpAddr {
    match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).unwrap()),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).unwrap()),
    }
}

fn within(cidr: &wire::Cidr, address: IpAddr) -> bool {
    let bits = |address: IpAddr| -> String {
        match address {
            IpAddr::V4(v4) => v4.octets().iter().map(|byte| format!("{byte:08b}")).collect(),
            IpAddr::V6(v6) => v6.octets().iter().map(|byte| format!("{byte:08b}")).collect(),
        }
    };
    let base = ip(&cidr.address);
    base.is_ipv4() == address.is_ipv4()
        && bits(base)[..cidr.prefix_length as usize] == bits(address)[..cidr.prefix_length as usize]
}
