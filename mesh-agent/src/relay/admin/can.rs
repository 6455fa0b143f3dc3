//! What the loaded policy says of a connection.

use std::net::{IpAddr, SocketAddr};

use mesh_ebpf::policy::{Direction, SetId};
use serde::Serialize;

use super::query::Query;
use super::{AdminError, endpoint};
use crate::handover::{self, CanEndpoint, Question};
use crate::relay::node::Node;
use crate::relay::telemetry::{protocol_name, told};

/// The answer, one destination each.
#[derive(Debug, Serialize)]
pub(super) struct Can {
    node: String,
    source: IpAddr,
    destination: IpAddr,
    port: u16,
    protocol: &'static str,
    /// The Service that was dialled; empty for a direct address.
    service: String,
    /// Every destination is allowed, and there is one.
    allowed: bool,
    /// Why there is no destination to judge; empty when there is.
    reason: &'static str,
    explanation: &'static str,
    endpoints: Vec<Judged>,
}

/// The verdict for one destination.
#[derive(Debug, Serialize)]
struct Judged {
    address: SocketAddr,
    /// `<namespace>/<name>` of the pod there; empty when unknown.
    pod: String,
    /// The node that pod is on; empty when unknown.
    node: String,
    allowed: bool,
    reason: &'static str,
    explanation: &'static str,
    transport: String,
    /// The rule that decided on the way out, if the source is a pod of this node.
    egress: Option<Rule>,
    /// The rule that decided on the way in, if the destination is a pod of this node.
    ingress: Option<Rule>,
    /// The rule of an Audit policy that would deny.
    audit: Option<Rule>,
}

#[derive(Debug, Serialize)]
struct Rule {
    policy: String,
    rule: String,
}

/// Resolves names, asks wire, and names what it answers.
pub(super) async fn answer(node: &Node, query: &Query) -> Result<Can, AdminError> {
    let question = question(node, query)?;
    let Question::Can { source, destination, port, protocol } = question else {
        return Err(AdminError::Mismatch);
    };
    let handover::Answer::Can(can) = node.ask(question).await? else {
        return Err(AdminError::Mismatch);
    };
    let endpoints: Vec<Judged> = can.endpoints.into_iter().map(|one| judged(node, one)).collect();
    Ok(Can {
        node: node.name.clone(),
        source,
        destination,
        port,
        protocol: protocol_name(protocol),
        service: can.service,
        allowed: !endpoints.is_empty() && endpoints.iter().all(|endpoint| endpoint.allowed),
        reason: name(can.reason),
        explanation: told(can.reason).meaning,
        endpoints,
    })
}

fn question(node: &Node, query: &Query) -> Result<Question, AdminError> {
    let desired = node.desired.borrow();
    let protocol = endpoint::protocol(query.text("protocol"))?;
    let sources = endpoint::source(&desired, query.text("source"))?;
    let dialled =
        endpoint::destination(&desired, query.text("destination"), query.number("port")?, protocol)?;
    let port = dialled
        .port
        .ok_or_else(|| endpoint::parameter_port("an address and a pod need one: which port is dialled?"))?;
    // The first pair of one family, as an application would find it.
    let pair = dialled.addresses.iter().find_map(|destination| {
        let of_family = |source: &&IpAddr| source.is_ipv4() == destination.is_ipv4();
        sources.iter().find(of_family).map(|source| (*source, *destination))
    });
    let (source, destination) = pair.ok_or_else(|| AdminError::Parameter {
        name: "destination",
        value: query.text("destination").to_owned(),
        problem: "it has no address of a family that the source has one of",
    })?;
    Ok(Question::Can { source, destination, port, protocol: protocol.number() })
}

fn judged(node: &Node, endpoint: CanEndpoint) -> Judged {
    let (address, port) = endpoint.destination;
    let desired = node.desired.borrow();
    let mut there = desired.workloads_at(address);
    let (pod, on) = match (there.next(), there.next()) {
        (Some(workload), None) => {
            (format!("{}/{}", workload.namespace, workload.name), workload.node.clone())
        }
        _ => (String::new(), String::new()),
    };
    let rule = |decided: Option<(SetId, u16)>, direction| {
        decided.map(|(set, number)| {
            let name = node.names.borrow().rule(set, number, direction);
            Rule { policy: name.policy, rule: name.rule }
        })
    };
    let audited_on = match endpoint.audit {
        Some((set, _)) if endpoint.egress.is_some_and(|(egress, _)| egress == set) => Direction::Egress,
        _ => Direction::Ingress,
    };
    Judged {
        address: SocketAddr::new(address, port),
        pod,
        node: on,
        allowed: endpoint.allowed,
        reason: name(endpoint.reason),
        explanation: told(endpoint.reason).meaning,
        transport: endpoint.transport,
        egress: rule(endpoint.egress, Direction::Egress),
        ingress: rule(endpoint.ingress, Direction::Ingress),
        audit: rule(endpoint.audit, audited_on),
    }
}

fn name(reason: mesh_ebpf::abi::Reason) -> &'static str {
    match reason {
        mesh_ebpf::abi::Reason::None => "",
        reason => reason.name(),
    }
}
