//! A pod's rules for what is decided by request: the same policy as the compiled set, with what the
//! set has no room for.
//!
//! A set says [`deferred`](mesh_ebpf::policy::Verdict) where a rule about requests is met before one
//! that decides. The engine then asks here: once for each connection which rules match its caller,
//! and for each request what those say.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_ebpf::policy::{Direction, Peer, Question};
use mesh_l7::access::rule as l7;
use mesh_l7::access::{Connection, Decider, Policy};

use crate::relay::compile::isolating;
use crate::relay::resource::{Action, Cidr, DirectionPolicy, Entry, Mtls, PodPolicy, Rule, Tier};

/// The rules of both directions of one pod.
#[derive(Debug)]
pub(crate) struct PodRules {
    /// Who may come in.
    pub ingress: Rules,
    /// Where it may go.
    pub egress: Rules,
}

impl PodRules {
    /// Of a pod's policy.
    pub(crate) fn new(policy: &PodPolicy) -> Self {
        Self {
            ingress: Rules::new(Direction::Ingress, &policy.ingress),
            egress: Rules::new(Direction::Egress, &policy.egress),
        }
    }
}

/// The rules of one direction.
#[derive(Debug)]
pub(crate) struct Rules {
    direction: Direction,
    rules: Arc<DirectionPolicy>,
    policy: Arc<Policy>,
}

impl Rules {
    /// Of a policy.
    pub(crate) fn new(direction: Direction, rules: &Arc<DirectionPolicy>) -> Self {
        let policy = Policy {
            rules: rules.rules.iter().map(by_request).collect(),
            isolated: rules.isolated,
            isolated_audit: rules.isolated_audit,
            default_deny: rules.default_deny,
            require_mtls: rules.require_mtls,
            isolated_by: isolating(rules).into(),
        };
        Self { direction, rules: Arc::clone(rules), policy: Arc::new(policy) }
    }

    /// What a rule that decided asks of the transport; of what no rule decided nothing is asked.
    pub(crate) fn mtls(&self, by: Decider) -> Mtls {
        match by {
            Decider::Rule(index) => self.rules.rules.get(index).map_or(Mtls::Preferred, |rule| rule.mtls),
            _ => Mtls::Preferred,
        }
    }

    /// A TCP connection, as the rules that match its caller see it.
    pub(crate) fn connection(&self, question: &Question) -> Connection {
        let proven = matches!(question.peer, Peer::Proven(_));
        let rule = |rule: usize| matches(self.direction, &self.rules.rules[rule], question);
        Connection::new(Arc::clone(&self.policy), proven, rule)
    }
}

fn by_request(rule: &Rule) -> l7::Rule {
    l7::Rule {
        tier: match rule.tier {
            Tier::Admin => l7::Tier::Admin,
            Tier::Access => l7::Tier::Access,
            Tier::Baseline => l7::Tier::Baseline,
        },
        action: match rule.action {
            Action::Allow => l7::Action::Allow,
            Action::Deny => l7::Action::Deny,
            Action::Pass => l7::Action::Pass,
        },
        audit: rule.audit,
        policy: rule.policy.as_str().into(),
        name: rule.name.as_str().into(),
        requests: rule.requests.clone(),
    }
}

/// Whether what a rule says of the peer, its address and the port holds. What needs proof to be let
/// through needs none to be denied (SEMANTICS 2.4).
fn matches(direction: Direction, rule: &Rule, question: &Question) -> bool {
    let denies = rule.action == Action::Deny;
    let proven = matches!(question.peer, Peer::Proven(_));
    if direction == Direction::Ingress && rule.mtls == Mtls::Required && !proven && !denies {
        return false;
    }
    let protocol = |number: u8| number == question.protocol;
    let on_port = rule.ports.is_empty()
        || rule.ports.iter().any(|range| {
            protocol(range.protocol.number()) && (range.first..=range.last).contains(&question.port)
        });
    let has = |groups: &BTreeSet<u64>| match question.peer {
        Peer::Proven(group) => groups.contains(&group),
        Peer::Claimed(group) => denies && groups.contains(&group),
        Peer::Unknown => denies,
    };
    let address = IpAddr::from(question.address);
    let within = |cidrs: &[Cidr]| cidrs.iter().any(|cidr| cidr.contains(&Cidr::host(address)));
    let names = |entry: &Entry| match entry {
        Entry::Groups(groups) => on_port && has(groups),
        Entry::Cidrs(cidrs) => on_port && within(cidrs),
        Entry::Both(groups, cidrs) => on_port && has(groups) && within(cidrs),
        // An endpoint is a port; the rule's ports only narrow its protocol.
        Entry::Endpoints(endpoints) => {
            let of_protocol =
                rule.ports.is_empty() || rule.ports.iter().any(|range| protocol(range.protocol.number()));
            question.protocol != 0 && of_protocol && endpoints.contains(&(address, question.port))
        }
    };
    if rule.peers.is_empty() { on_port } else { rule.peers.iter().any(names) }
}
