//! What the loaded policy says of a connection, or of a request on it.
//!
//! wire says what the kernel does with the connection. A request is brought to the engine's form
//! ([`asked`]), follows the routes of the port that is dialled ([`routed`]), and each endpoint it may get is
//! asked about in its turn; what the kernel leaves to be decided by request is asked of the engine's
//! rules ([`policy`]).

mod asked;
mod policy;
mod routed;

use std::net::{IpAddr, SocketAddr};

use mesh_ebpf::policy::{Direction, SetId};
use serde::Serialize;

use super::query::Query;
use super::{AdminError, endpoint};
use crate::handover::{self, CanEndpoint, Question};
use crate::relay::engine::record::Ending;
use crate::relay::engine::rest::Rest;
use crate::relay::node::Node;
use crate::relay::resource::Routed as Routes;
use crate::relay::telemetry::{protocol_name, told, told_of_request};
use asked::{Asked, Told};
use policy::Said;
use routed::{Outcome, Routed};

/// The most endpoints of routes that are asked about; more are not listed.
const ENDPOINTS: usize = 256;

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
    /// The request, as the engine has it; where one was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Told>,
    /// What routes the source's connections have, that decide by request or by server name; empty for none.
    #[serde(skip_serializing_if = "str::is_empty")]
    routed: &'static str,
    /// The route and its rule that take the request.
    #[serde(skip_serializing_if = "str::is_empty")]
    route: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    route_rule: String,
    /// What is answered without any endpoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    answers: Vec<Answered>,
    endpoints: Vec<Judged>,
}

/// An answer of the mesh itself to a request, or to the share of a backend.
#[derive(Debug, Serialize)]
struct Answered {
    /// The backend whose share it is; empty where it is not of one.
    #[serde(skip_serializing_if = "str::is_empty")]
    backend: String,
    weight: u32,
    status: u16,
    reason: &'static str,
    explanation: &'static str,
    /// Why, or where a redirect leads.
    detail: String,
    refused: bool,
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
    /// Rules that decide by request, where none was asked about and it depends on them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<Rule>,
    /// The backend of the route that it is an endpoint of, and its weight.
    #[serde(skip_serializing_if = "str::is_empty")]
    backend: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
    /// The request as it goes there.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<Told>,
}

/// A rule by name; both are empty when no policy decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Rule {
    policy: String,
    rule: String,
}

impl Rule {
    fn new(policy: &str, rule: &str) -> Self {
        Self { policy: policy.to_owned(), rule: rule.to_owned() }
    }
}

/// Resolves names, asks wire, and names what it answers.
pub(super) async fn answer(node: &Node, query: &Query) -> Result<Can, AdminError> {
    let question = question(node, query)?;
    let Question::Can { source, destination, port, protocol } = question else {
        return Err(AdminError::Mismatch);
    };
    let at = SocketAddr::new(destination, port);
    let dialled = (protocol == mesh_ebpf::abi::TCP).then(|| node.routing.dialled(at)).flatten();
    let host = dialled.as_ref().map_or_else(|| at.to_string(), |dialled| dialled.host.to_string());
    let asked = Asked::read(query, &host)?;
    if asked.is_some() && protocol != mesh_ebpf::abi::TCP {
        let value = query.text("protocol").to_owned();
        return Err(AdminError::Parameter { name: "protocol", value, problem: "requests go over tcp" });
    }
    let routes = dialled.as_ref().and_then(|dialled| {
        // Only who is in the mesh is routed.
        let desired = node.desired.borrow();
        let caller = desired.workloads_at(source).find(|workload| workload.enrolled)?;
        node.routing.routed(dialled, &caller.namespace)
    });
    let asked_wire = ask(node, question).await?;
    let mut can = Can {
        node: node.name.clone(),
        source,
        destination,
        port,
        protocol: protocol_name(protocol),
        service: asked_wire.service,
        allowed: false,
        reason: name(asked_wire.reason),
        explanation: told(asked_wire.reason).meaning,
        request: None,
        routed: routes.as_ref().map_or("", kind),
        route: String::new(),
        route_rule: String::new(),
        answers: Vec::new(),
        endpoints: Vec::new(),
    };
    let by_request = |rest: Option<&Rest>| -> Vec<Judged> {
        asked_wire.endpoints.iter().map(|one| judged(node, source, one, rest)).collect()
    };
    match (asked, routes, &dialled) {
        (None, ..) => can.endpoints = by_request(None),
        (Some(Err(bad)), routes, _) => {
            can.endpoints = by_request(None);
            // Nobody else looks at what it asks.
            let read = matches!(routes, Some(Routes::Requests(_)))
                || can.endpoints.iter().any(|endpoint| !endpoint.depends_on.is_empty());
            if read {
                can.endpoints.clear();
                can.answers.push(Answered::refused(Ending::BadRequest, &bad, String::new(), 1));
            }
        }
        (Some(Ok(asked)), Some(Routes::Requests(table)), Some(dialled)) => {
            let routed = routed::follow(&table, &asked, dialled, &node.routing, destination.is_ipv4());
            can.request = Some(asked.told());
            (can.reason, can.explanation) = ("", "");
            follow(node, &mut can, routed).await?;
        }
        (Some(Ok(asked)), ..) => {
            can.request = Some(asked.told());
            can.endpoints = by_request(Some(&asked.rest()));
        }
    }
    let answered = can.answers.iter().any(|answer| !answer.refused);
    can.allowed = (answered || !can.endpoints.is_empty())
        && can.answers.iter().all(|answer| !answer.refused)
        && can.endpoints.iter().all(|endpoint| endpoint.allowed && endpoint.depends_on.is_empty());
    Ok(can)
}

async fn ask(node: &Node, question: Question) -> Result<handover::Can, AdminError> {
    match node.ask(question).await? {
        handover::Answer::Can(can) => Ok(can),
        _ => Err(AdminError::Mismatch),
    }
}

/// Judges what routes make of a request.
async fn follow(node: &Node, can: &mut Can, routed: Routed) -> Result<(), AdminError> {
    (can.route, can.route_rule) = (routed.route, routed.rule);
    for share in routed.shares {
        let (sent, backend) = match share.outcome {
            Outcome::Sent(sent, backend) => (sent, backend),
            Outcome::Answered(response) => {
                can.answers.push(Answered::by_route(&response, share.backend, share.weight));
                continue;
            }
            Outcome::Refused(ending, bad) => {
                can.answers.push(Answered::refused(ending, &bad, share.backend, share.weight));
                continue;
            }
        };
        let (rest, told) = (sent.rest(), sent.told());
        if backend.endpoints.is_empty() {
            let status = http::StatusCode::SERVICE_UNAVAILABLE;
            let bad = asked::Bad { status, why: "it has no endpoint that is ready".to_owned() };
            can.answers.push(Answered::refused(
                Ending::NoEndpoint,
                &bad,
                share.backend.clone(),
                share.weight,
            ));
        }
        for endpoint in backend.endpoints.iter().take(ENDPOINTS.saturating_sub(can.endpoints.len())) {
            let (destination, port) = (endpoint.ip(), endpoint.port());
            let protocol = mesh_ebpf::abi::TCP;
            let question = Question::Can { source: can.source, destination, port, protocol };
            let answer = ask(node, question).await?;
            can.endpoints.extend(answer.endpoints.iter().map(|one| Judged {
                backend: share.backend.clone(),
                weight: Some(share.weight),
                sent: Some(told.clone()),
                ..judged(node, can.source, one, Some(&rest))
            }));
        }
    }
    Ok(())
}

const fn kind(routes: &Routes) -> &'static str {
    match routes {
        Routes::Requests(_) => "by request",
        Routes::ServerNames(_) => "by server name",
        Routes::Connections(_) => "by connection",
    }
}

impl Answered {
    fn refused(ending: Ending, bad: &asked::Bad, backend: String, weight: u32) -> Self {
        Self {
            backend,
            weight,
            status: bad.status.as_u16(),
            reason: ending.name(),
            explanation: told_of_request(ending).meaning,
            detail: bad.why.clone(),
            refused: true,
        }
    }

    fn by_route(response: &http::Response<bytes::Bytes>, backend: String, weight: u32) -> Self {
        let location = response.headers().get(http::header::LOCATION);
        let location = location.map(|location| String::from_utf8_lossy(location.as_bytes()).into_owned());
        Self {
            backend,
            weight,
            status: response.status().as_u16(),
            reason: Ending::Answered.name(),
            explanation: told_of_request(Ending::Answered).meaning,
            detail: location.map(|location| format!("location: {location}")).unwrap_or_default(),
            refused: false,
        }
    }
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

fn judged(node: &Node, source: IpAddr, endpoint: &CanEndpoint, request: Option<&Rest>) -> Judged {
    let (address, port) = endpoint.destination;
    let (pod, on) = {
        let desired = node.desired.borrow();
        let mut there = desired.workloads_at(address);
        match (there.next(), there.next()) {
            (Some(workload), None) => {
                (format!("{}/{}", workload.namespace, workload.name), workload.node.clone())
            }
            _ => (String::new(), String::new()),
        }
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
    let mut judged = Judged {
        address: SocketAddr::new(address, port),
        pod,
        node: on,
        allowed: endpoint.allowed,
        reason: name(endpoint.reason),
        explanation: told(endpoint.reason).meaning,
        transport: endpoint.transport.clone(),
        egress: rule(endpoint.egress, Direction::Egress),
        ingress: rule(endpoint.ingress, Direction::Ingress),
        audit: rule(endpoint.audit, audited_on),
        depends_on: Vec::new(),
        backend: String::new(),
        weight: None,
        sent: None,
    };
    // The kernel asks each side in its turn, and the next one only where the first lets it on.
    for (asked, direction) in [(endpoint.egress, Direction::Egress), (endpoint.ingress, Direction::Ingress)] {
        if asked.is_none() || !judged.allowed {
            continue;
        }
        let said = match direction {
            Direction::Egress => policy::egress(node, source, judged.address, request),
            Direction::Ingress => {
                policy::ingress(node, source, judged.address, endpoint.transport == "tunnel", request)
            }
        };
        judged.take(said, direction);
    }
    judged
}

impl Judged {
    fn take(&mut self, said: Said, direction: Direction) {
        let place = match direction {
            Direction::Egress => &mut self.egress,
            Direction::Ingress => &mut self.ingress,
        };
        match said {
            Said::Kernel => {}
            Said::Depends(rules) => {
                *place = None;
                self.depends_on.extend(rules);
            }
            Said::Allowed { by, audit } => {
                *place = Some(by);
                self.audit = self.audit.take().or(audit);
            }
            Said::Denied { by, reason } => {
                *place = Some(by);
                self.allowed = false;
                self.reason = name(reason);
                self.explanation = told(reason).meaning;
            }
        }
    }
}

fn name(reason: mesh_ebpf::abi::Reason) -> &'static str {
    match reason {
        mesh_ebpf::abi::Reason::None => "",
        reason => reason.name(),
    }
}
