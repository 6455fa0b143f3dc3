//! One rule, judged on its own.

use mesh_api::crd::{Action, EgressRule, GrpcRule, HttpRule, IngressRule, Mtls, PortRef, PortRule, Protocol};
use serde_json::Value;

use super::{
    super::fields::{Problem, parse},
    entry::{PeerDraft, read_destination, read_source},
    requests::{self, Requests},
};

/// A rule that can be used: a valid one, or what an invalid Deny rule becomes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RuleDraft {
    /// Its name, or direction and index.
    pub(super) name: String,
    pub(super) action: Action,
    /// Nothing = anyone.
    pub(super) peers: Option<Vec<PeerDraft>>,
    /// Nothing = every port.
    pub(super) ports: Option<Vec<PortRule>>,
    pub(super) mtls: Mtls,
    /// Which requests on those ports.
    pub(super) requests: Requests,
}

/// Where a rule stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The policy's namespace; nothing for cluster scope.
    pub(super) namespace: Option<&'a str>,
    pub(super) egress: bool,
    /// Whether Pass is an action here.
    pub(super) may_pass: bool,
}

/// Reads a rule. An invalid Allow or Pass matches nothing, so there is no draft; an invalid Deny
/// matches everyone, whatever they request, on the ports it selects (SEMANTICS 5.3).
pub(super) fn read(
    value: &Value,
    path: &str,
    index: usize,
    place: Place<'_>,
    problems: &mut Vec<Problem>,
) -> Option<RuleDraft> {
    let direction = if place.egress { "egress" } else { "ingress" };
    let given = value.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    let name = given.map_or_else(|| format!("{direction}[{index}]"), str::to_owned);
    let mut found = Vec::new();
    refuse_nulls(value, path, &mut found);
    let draft = if place.egress {
        parse::<EgressRule>(value, path).map(|rule| egress(rule, path, &name, place, &mut found))
    } else {
        parse::<IngressRule>(value, path).map(|rule| ingress(rule, path, &name, place, &mut found))
    };
    let draft = draft.map_err(|problem| found.push(problem)).ok();
    if found.is_empty() {
        return draft;
    }
    let action = action_of(value);
    for problem in &mut found {
        let effect = match action {
            Action::Deny => "denies everyone on its ports",
            Action::Allow | Action::Pass => "matches nothing",
        };
        problem.message = format!("{}; until then rule `{name}` {effect}", problem.message);
    }
    problems.append(&mut found);
    (action == Action::Deny).then(|| RuleDraft {
        name,
        action,
        peers: None,
        ports: ports_of(value),
        mtls: Mtls::Preferred,
        requests: Requests::default(),
    })
}

/// A field without a value would read as one left out, and most that are left out mean "any".
fn refuse_nulls(value: &Value, path: &str, problems: &mut Vec<Problem>) {
    match value {
        Value::Null => problems.push(Problem::invalid(path, "has no value; give it one or take it out")),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                refuse_nulls(item, &format!("{path}[{index}]"), problems);
            }
        }
        Value::Object(fields) => {
            for (field, value) in fields {
                refuse_nulls(value, &format!("{path}.{field}"), problems);
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The action of a rule that is not valid. What cannot be read might have been a Deny.
fn action_of(value: &Value) -> Action {
    match value.get("action").and_then(Value::as_str) {
        Some("Allow") => Action::Allow,
        Some("Pass") => Action::Pass,
        None if value.get("action").is_none() => Action::Allow,
        _ => Action::Deny,
    }
}

/// The ports of a rule that is not valid, if at least they are; else every port.
fn ports_of(value: &Value) -> Option<Vec<PortRule>> {
    let ports: Vec<PortRule> = parse(value.get("ports")?, "ports").ok()?;
    let mut problems = Vec::new();
    check_ports(&ports, "ports", &mut problems);
    problems.is_empty().then_some(ports)
}

fn ingress(
    rule: IngressRule,
    path: &str,
    name: &str,
    place: Place<'_>,
    problems: &mut Vec<Problem>,
) -> RuleDraft {
    refuse_not_built(&[("jwt", &rule.jwt), ("limit", &rule.limit)], path, problems);
    if rule.mtls == Mtls::Off {
        problems.push(Problem::invalid(
            &format!("{path}.mtls"),
            "Off is for egress rules only; write Preferred or Required",
        ));
    }
    let from = format!("{path}.from");
    let peers =
        peers(rule.from, &from, problems, |source, at, problems| read_source(source, at, place, problems));
    let rest = Rest { ports: rule.ports, mtls: rule.mtls, http: rule.http, grpc: rule.grpc };
    finish(name, rule.action, peers, rest, path, place, problems)
}

fn egress(
    rule: EgressRule,
    path: &str,
    name: &str,
    place: Place<'_>,
    problems: &mut Vec<Problem>,
) -> RuleDraft {
    refuse_not_built(&[("jwt", &rule.jwt), ("limit", &rule.limit)], path, problems);
    let to = format!("{path}.to");
    let peers = peers(rule.to, &to, problems, |destination, at, problems| {
        read_destination(destination, at, place, problems)
    });
    let rest = Rest { ports: rule.ports, mtls: rule.mtls, http: rule.http, grpc: rule.grpc };
    finish(name, rule.action, peers, rest, path, place, problems)
}

/// Reads the list of who is at the other side; nothing where there is none, which means anyone.
fn peers<T>(
    entries: Option<Vec<T>>,
    path: &str,
    problems: &mut Vec<Problem>,
    read: impl Fn(T, &str, &mut Vec<Problem>) -> Option<PeerDraft>,
) -> Option<Vec<PeerDraft>> {
    let entries = entries?.into_iter().enumerate();
    let read: Vec<PeerDraft> =
        entries.filter_map(|(index, entry)| read(entry, &format!("{path}[{index}]"), problems)).collect();
    if read.is_empty() {
        problems.push(Problem::invalid(path, "must not be empty; leave it out for anyone"));
    }
    Some(read)
}

/// The fields that both kinds of rules share.
struct Rest {
    ports: Option<Vec<PortRule>>,
    mtls: Mtls,
    http: Option<Vec<HttpRule>>,
    grpc: Option<Vec<GrpcRule>>,
}

fn finish(
    name: &str,
    action: Action,
    peers: Option<Vec<PeerDraft>>,
    rest: Rest,
    path: &str,
    place: Place<'_>,
    problems: &mut Vec<Problem>,
) -> RuleDraft {
    if action == Action::Pass && !place.may_pass {
        let what = "Pass is for the Admin tier of ClusterAccessPolicy only; write Allow or Deny";
        problems.push(Problem::invalid(&format!("{path}.action"), what));
    }
    let Rest { ports, mtls, http, grpc } = rest;
    if let Some(ports) = &ports {
        check_ports(ports, &format!("{path}.ports"), problems);
    }
    let requests = requests::read(http, grpc, ports.as_deref(), path, problems);
    RuleDraft { name: name.to_owned(), action, peers, ports, mtls, requests }
}

fn refuse_not_built(fields: &[(&str, &Option<Value>)], path: &str, problems: &mut Vec<Problem>) {
    for (field, _) in fields.iter().filter(|(_, value)| value.is_some()) {
        problems.push(Problem::not_built(&format!("{path}.{field}"), "take it out"));
    }
}

fn check_ports(ports: &[PortRule], path: &str, problems: &mut Vec<Problem>) {
    if ports.is_empty() {
        problems.push(Problem::invalid(path, "must not be empty; leave it out for every port"));
    }
    for (index, rule) in ports.iter().enumerate() {
        let Some(end) = rule.end_port else { continue };
        let path = format!("{path}[{index}].endPort");
        match &rule.port {
            PortRef::Name(name) => problems
                .push(Problem::invalid(&path, format!("needs a number as port, not the name `{name}`"))),
            PortRef::Number(first) if end < *first => {
                problems.push(Problem::invalid(&path, format!("{end} is below port {first}")));
            }
            PortRef::Number(_) => {}
        }
    }
}

/// Whether a rule asks for proof on a UDP port by name of the protocol (SEMANTICS 4.5).
pub(super) fn requires_proof_of_udp(rule: &RuleDraft) -> bool {
    let names_udp = |ports: &Vec<PortRule>| ports.iter().any(|port| port.protocol == Protocol::Udp);
    rule.mtls == Mtls::Required && rule.ports.as_ref().is_some_and(names_udp)
}
