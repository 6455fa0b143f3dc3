//! The rules of one direction of one pod, compiled to a flat set (see [`mesh_ebpf::policy`]).
//!
//! A rule's place in the order of evaluation is its rank, so merging what several keys say is taking
//! the lowest rank:
//!
//! - every key (kind, group) covers every port, "anyone" rules and the closing verdicts included;
//! - CIDR and (group, CIDR) keys hold only what those entries add;
//! - proof is needed to be let through, never to be denied (SEMANTICS 2.4): for an unproven peer
//!   only Deny rules match by identity, and from an unknown address every one of them does;
//! - a rule about requests defers to the agent over TCP, and matches nothing else.

use std::collections::{BTreeMap, BTreeSet};

use mesh_ebpf::policy::{self, Direction, Hit, Kind, SetId, pair, rule};
use mesh_l7::access::rule::Requests;

use super::named::{Held, Named};
use super::painting::{Layer, paint};
use super::ranges::Ranges;
use super::seal::{Keyed, seal};
use crate::handover::PolicySet;
use crate::relay::resource::{Action, DirectionPolicy, Entry, Mtls, Protocol, Rule, Tier};

/// The most trie entries one set may have; a frame of the handover holds as many.
pub(crate) const ENTRY_LIMIT: usize = 100_000;

/// Why a policy has no compiled form. The pod then gets the set that denies everything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CompileError {
    /// More rules than a set can number.
    #[error("{0} rules, over the limit of {limit} for one pod and direction; merge or drop rules", limit = rule::LIMIT)]
    TooManyRules(usize),
    /// More trie entries than a set may have.
    #[error("its rules need more than {ENTRY_LIMIT} entries; use fewer groups, CIDRs or port ranges per pod")]
    TooManyEntries,
    /// Another set has the same id.
    #[error("its rules and those of another policy have the same id ({:#x}) and are not the same; change a rule", id.0)]
    SameId {
        /// The id.
        id: SetId,
    },
}

/// Rank of the floor that MeshConfig's `mtls: Required` sets, before every rule.
const FLOOR_RANK: u32 = 0;
/// Rank of MeshConfig's default, after every rule.
const DEFAULT_RANK: u32 = u32::MAX - 1;

/// Whether some protocol other than TCP and UDP may be denied: because nothing allows it, or by a
/// Deny rule that names no ports.
pub(crate) fn denies_other_protocols(policy: &DirectionPolicy) -> bool {
    let mut rules = policy.rules.iter();
    policy.isolated
        || policy.default_deny
        || rules.any(|rule| {
            rule.action == Action::Deny
                && !rule.audit
                && rule.ports.is_empty()
                && rule.requests == Requests::All
        })
}

/// Compiles the rules of one direction. A policy that says nothing is [`SetId::EMPTY`].
///
/// # Errors
/// When it is over a limit.
pub(crate) fn compile(direction: Direction, policy: &DirectionPolicy) -> Result<PolicySet, CompileError> {
    if policy.rules.len() >= usize::from(rule::LIMIT) {
        return Err(CompileError::TooManyRules(policy.rules.len()));
    }
    let says_nothing = policy.rules.is_empty()
        && !policy.isolated
        && !policy.isolated_audit
        && !policy.default_deny
        && !policy.require_mtls;
    if says_nothing {
        return Ok(PolicySet { id: SetId::EMPTY, rulings: Vec::new(), cidrs: Vec::new(), rules: Vec::new() });
    }
    let mut compiler = Compiler { direction, policy, ranks: ranks(&policy.rules), entries: Vec::new() };
    let named = Named::of(&policy.rules);
    compiler.bases(&named)?;
    let ranges = Ranges::new(named.cidrs);
    let uses_pairs = compiler.ranges(&ranges)?;
    let mut rules: Vec<_> =
        policy.rules.iter().map(|rule| (rule.policy.clone(), rule.name.clone())).collect();
    rules.push((isolating(policy), NO_RULE_ALLOWS.to_owned()));
    Ok(seal(compiler.entries, &ranges, uses_pairs, rules))
}

/// How the row after the rules is named, which [`rule::ISOLATED`] stands for.
pub(crate) const NO_RULE_ALLOWS: &str = "(no rule allows)";

/// The policies that select the pod, for the verdict that no rule of theirs allowed: the enforced
/// ones, or the audited where only such do; three of them at most.
pub(crate) fn isolating(policy: &DirectionPolicy) -> String {
    let of_mode = |audit: bool| -> BTreeSet<&str> {
        let rules = policy.rules.iter();
        let access = rules.filter(|rule| rule.tier == Tier::Access && rule.audit == audit);
        access.map(|rule| rule.policy.as_str()).collect()
    };
    let mut policies = of_mode(false);
    if policies.is_empty() {
        policies = of_mode(true);
    }
    if policies.is_empty() {
        "AccessPolicy".to_owned()
    } else {
        policies.into_iter().take(3).collect::<Vec<_>>().join(",")
    }
}

/// The set that denies everything, for a pod whose policy is missing or over a limit.
pub(crate) fn denies_all() -> PolicySet {
    let refusal = Hit { rank: FLOOR_RANK, rule: rule::MISSING, action: policy::Action::Deny as u8, mtls: 0 };
    let layer = Layer { hit: refusal, admin: true, enforced: true, audited: true, ports: None };
    let mut entries = Vec::new();
    for kind in [Kind::Proven, Kind::Claimed, Kind::Unknown] {
        for protocol in PROTOCOLS {
            entries.extend(
                paint(std::slice::from_ref(&layer)).into_iter().map(|(port, bits, ruling)| Keyed {
                    kind,
                    peer: 0,
                    protocol,
                    port,
                    bits,
                    ruling,
                }),
            );
        }
    }
    seal(entries, &Ranges::new(BTreeMap::new()), false, Vec::new())
}

const PROTOCOLS: [u8; 3] = [mesh_ebpf::abi::TCP, mesh_ebpf::abi::UDP, 0];

struct Compiler<'a> {
    direction: Direction,
    policy: &'a DirectionPolicy,
    /// By rule.
    ranks: Vec<u32>,
    entries: Vec<Keyed>,
}

impl Compiler<'_> {
    /// The keys of anyone and of every group that a rule names.
    fn bases(&mut self, named: &Named) -> Result<(), CompileError> {
        let unproven_anyone: BTreeSet<usize> = self.unproven(&named.anyone, false);
        self.base(Kind::Proven, 0, &named.anyone)?;
        self.base(Kind::Claimed, 0, &unproven_anyone)?;
        let denied: BTreeSet<usize> = self.unproven(&named.identities, true);
        self.base(Kind::Unknown, 0, &(&unproven_anyone | &denied))?;
        for (&group, rules) in &named.groups {
            self.base(Kind::Proven, group, &(&named.anyone | rules))?;
            let denied = self.unproven(rules, true);
            self.base(Kind::Claimed, group, &(&unproven_anyone | &denied))?;
        }
        Ok(())
    }

    /// The keys of every CIDR, and of the groups asked for within it. Returns whether any pair is.
    fn ranges(&mut self, ranges: &Ranges<Held>) -> Result<bool, CompileError> {
        let mut uses_pairs = false;
        for (number, _, holds) in ranges.iter() {
            let by_address: Vec<Held> =
                holds.iter().copied().filter(|held| !matches!(held, Held::Pair(..))).collect();
            self.addition(Kind::CidrProven, number, &by_address)?;
            let unproven: Vec<Held> =
                by_address.into_iter().filter(|held| self.matches_unproven(held.rule(), false)).collect();
            self.addition(Kind::CidrUnproven, number, &unproven)?;

            let mut by_group: BTreeMap<u64, BTreeSet<Held>> = BTreeMap::new();
            let mut from_unknown: BTreeSet<Held> = BTreeSet::new();
            for &held in holds {
                let Held::Pair(rule, entry) = held else { continue };
                uses_pairs = true;
                let rule_held = Held::Rule(rule);
                if self.matches_unproven(rule, true) {
                    from_unknown.insert(rule_held);
                }
                if let Some(Entry::Both(groups, _)) = self.policy.rules[rule].peers.get(entry) {
                    for &group in groups {
                        by_group.entry(group).or_default().insert(rule_held);
                    }
                }
            }
            for (group, held) in by_group {
                let proven: Vec<Held> = held.into_iter().collect();
                self.addition(Kind::PairProven, pair(group, number), &proven)?;
                let unproven: Vec<Held> =
                    proven.into_iter().filter(|held| self.matches_unproven(held.rule(), true)).collect();
                self.addition(Kind::PairUnproven, pair(group, number), &unproven)?;
            }
            let from_unknown: Vec<Held> = from_unknown.into_iter().collect();
            self.addition(Kind::PairUnproven, pair(0, number), &from_unknown)?;
        }
        Ok(uses_pairs)
    }

    /// The rules of `rules` that match an unproven peer.
    fn unproven(&self, rules: &BTreeSet<usize>, by_identity: bool) -> BTreeSet<usize> {
        rules.iter().copied().filter(|&rule| self.matches_unproven(rule, by_identity)).collect()
    }

    /// Whether a rule that names the peer, by identity or otherwise, matches it without proof.
    fn matches_unproven(&self, rule: usize, by_identity: bool) -> bool {
        let rule = &self.policy.rules[rule];
        let asks_for_proof = self.direction == Direction::Ingress && rule.mtls == Mtls::Required;
        rule.action == Action::Deny || !(by_identity || asks_for_proof)
    }

    /// A key that covers every port and protocol, closing verdicts included.
    fn base(&mut self, kind: Kind, group: u64, rules: &BTreeSet<usize>) -> Result<(), CompileError> {
        for protocol in PROTOCOLS {
            let mut layers = Vec::with_capacity(rules.len() + 3);
            if self.policy.require_mtls && kind != Kind::Proven && protocol == mesh_ebpf::abi::TCP {
                layers.push(self.closing(FLOOR_RANK, rule::MTLS, true, [true, true]));
            }
            layers.extend(rules.iter().filter_map(|&index| self.layer(index, protocol, None)));
            layers.sort_by_key(|layer| layer.hit.rank);
            let isolated = self.policy.isolated;
            let audited = isolated || self.policy.isolated_audit;
            if audited {
                // Between the access rules and the baseline.
                let rank = self.isolation_rank();
                let at = layers.partition_point(|layer| layer.hit.rank < rank);
                layers.insert(at, self.closing(rank, rule::ISOLATED, true, [isolated, audited]));
            }
            let deny = self.policy.default_deny;
            layers.push(self.closing(DEFAULT_RANK, rule::DEFAULT, deny, [true, true]));
            self.push(kind, group, protocol, &layers)?;
        }
        Ok(())
    }

    /// A key that holds only what `held` adds to the base.
    fn addition(&mut self, kind: Kind, peer: u64, held: &[Held]) -> Result<(), CompileError> {
        if held.is_empty() {
            return Ok(());
        }
        for protocol in PROTOCOLS {
            let mut layers: Vec<Layer> = held
                .iter()
                .filter_map(|held| match *held {
                    Held::Rule(rule) | Held::Pair(rule, _) => self.layer(rule, protocol, None),
                    Held::Endpoint(rule, port) => self.layer(rule, protocol, Some(port)),
                })
                .collect();
            layers.sort_by_key(|layer| layer.hit.rank);
            if !layers.is_empty() {
                self.push(kind, peer, protocol, &layers)?;
            }
        }
        Ok(())
    }

    /// A rule as it applies to `protocol`, if it does; `endpoint` takes the place of its ports.
    fn layer(&self, index: usize, protocol: u8, endpoint: Option<u16>) -> Option<Layer> {
        let rule = &self.policy.rules[index];
        let of_protocol = || {
            rule.ports
                .iter()
                .filter(|range| range.protocol.number() == protocol)
                .map(|range| (range.first, range.last))
                .collect::<Vec<_>>()
        };
        let ports = match endpoint {
            // An endpoint is a port; the rule's ports only narrow its protocol.
            Some(port) => {
                let named = rule.ports.is_empty() || !of_protocol().is_empty();
                let has_ports = [Protocol::Tcp, Protocol::Udp].iter().any(|known| known.number() == protocol);
                (named && has_ports).then(|| Some(vec![(port, port)]))?
            }
            None if rule.ports.is_empty() => None,
            None => Some(of_protocol()).filter(|ranges| !ranges.is_empty()).map(Some)?,
        };
        let action = match (&rule.requests, rule.action) {
            (Requests::All, Action::Allow) => policy::Action::Allow,
            (Requests::All, Action::Deny) => policy::Action::Deny,
            (Requests::All, Action::Pass) => policy::Action::Pass,
            (Requests::Some { .. }, _) if protocol == mesh_ebpf::abi::TCP => policy::Action::Defer,
            (Requests::Some { .. } | Requests::None, _) => return None,
        };
        let mtls = match rule.mtls {
            _ if self.direction == Direction::Ingress => policy::Mtls::Preferred,
            Mtls::Preferred => policy::Mtls::Preferred,
            Mtls::Required => policy::Mtls::Required,
            Mtls::Off => policy::Mtls::Off,
        };
        Some(Layer {
            hit: Hit {
                rank: self.ranks[index],
                rule: u16::try_from(index).unwrap_or(rule::MISSING),
                action: action as u8,
                mtls: mtls as u8,
            },
            admin: rule.tier == Tier::Admin,
            enforced: !rule.audit,
            audited: true,
            ports,
        })
    }

    /// A verdict that is no rule of a policy.
    fn closing(&self, rank: u32, number: u16, deny: bool, [enforced, audited]: [bool; 2]) -> Layer {
        let action = if deny { policy::Action::Deny } else { policy::Action::Allow };
        Layer {
            hit: Hit { rank, rule: number, action: action as u8, mtls: 0 },
            admin: rank == FLOOR_RANK,
            enforced,
            audited,
            ports: None,
        }
    }

    /// Just before the first Baseline rule.
    fn isolation_rank(&self) -> u32 {
        rank_of(self.policy.rules.partition_point(|rule| rule.tier < Tier::Baseline)) - 1
    }

    fn push(&mut self, kind: Kind, peer: u64, protocol: u8, layers: &[Layer]) -> Result<(), CompileError> {
        self.entries.extend(paint(layers).into_iter().map(|(port, bits, ruling)| Keyed {
            kind,
            peer,
            protocol,
            port,
            bits,
            ruling,
        }));
        if self.entries.len() > ENTRY_LIMIT { Err(CompileError::TooManyEntries) } else { Ok(()) }
    }
}

/// The ranks of rules: as they come, but in the Access tier a Deny that needs no request before all
/// that do, because a final denial waits for none (SEMANTICS 5.1).
fn ranks(rules: &[Rule]) -> Vec<u32> {
    let mut order: Vec<usize> = (0..rules.len()).collect();
    order.sort_by_key(|&index| {
        let rule = &rules[index];
        let waits = rule.action != Action::Deny || rule.requests != Requests::All;
        (rule.tier, rule.tier == Tier::Access && waits)
    });
    let mut ranks = vec![0; rules.len()];
    for (place, index) in order.into_iter().enumerate() {
        ranks[index] = rank_of(place);
    }
    ranks
}

/// Even ranks from 2 for rules; odd ones are free for what stands between them.
fn rank_of(place: usize) -> u32 {
    u32::try_from(place).map_or(DEFAULT_RANK - 1, |place| 2 * place + 2)
}
