//! `meshctl can`: the verdict on a connection, from what the data path of both sides has loaded.
//!
//! The node of the source is asked first: which destinations the connection may get, and whether
//! each may be left for. The way in is judged where the destination is: by the same answer when it
//! is on that node, else by its own node. A node that does not answer keeps the others from nothing:
//! what only it could tell is not judged.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::client::{ClientError, encode};
use super::endpoint::{Destination, EndpointError, source};
use super::node::{Node, each};
use super::output::{View, cell, table};
use super::{CanArguments, CliError, Outcome};

/// A node's answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Can {
    node: String,
    source: IpAddr,
    destination: IpAddr,
    port: u16,
    protocol: String,
    service: String,
    allowed: bool,
    reason: String,
    explanation: String,
    endpoints: Vec<Judged>,
}

/// The verdict for one destination.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Judged {
    address: SocketAddr,
    pod: String,
    node: String,
    allowed: bool,
    reason: String,
    explanation: String,
    transport: String,
    egress: Option<Rule>,
    ingress: Option<Rule>,
    audit: Option<Rule>,
    /// Why the way in is not judged: its node did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unanswered: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Rule {
    policy: String,
    rule: String,
}

/// A node's pod, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
struct Pod {
    namespace: String,
    name: String,
    addresses: Vec<IpAddr>,
}

/// Asks and joins the answers. `asked` names the node that is asked for the way out, `known` the one
/// that has the pod of one of the two, where that is known without asking.
pub(super) async fn can(
    nodes: &[Node],
    asked: Option<&str>,
    known: Option<&str>,
    arguments: &CanArguments,
) -> Result<(View, Outcome), CliError> {
    let from = source(&arguments.source)?;
    let destination = Destination::parse(&arguments.destination)?;
    let named = |name: Option<&str>| nodes.iter().find(|node| Some(node.name.as_str()) == name);
    if let (Some(known), None) = (known, asked.or_else(|| named(known).map(|node| node.name.as_str()))) {
        return Err(EndpointError::NoAgent(known.to_owned()).into());
    }
    let (pods, silent) = if known.is_some() { (Vec::new(), None) } else { pods_of(nodes).await };
    let is_source = |pod: &Pod| match &from {
        Ok(address) => pod.addresses.contains(address),
        Err((namespace, name)) => (&pod.namespace, &pod.name) == (namespace, name),
    };
    let home = pods.iter().find(|(_, pod)| is_source(pod)).map(|(node, _)| *node);
    if home.is_none() && known.is_none() && from.is_err() {
        // It may be on a node that does not answer.
        return Err(
            silent.map_or_else(|| EndpointError::NoPod(arguments.source.clone()).into(), CliError::from)
        );
    }
    let home = named(asked).or_else(|| named(known)).or(home);
    let mut can = match home {
        Some(node) => ask(node, &arguments.source, &destination, arguments.udp).await?,
        // A stranger's own way out is nobody's to judge: whoever knows the destination is asked.
        None => ask_anyone(nodes, &pods, &arguments.source, &destination, arguments.udp).await?,
    };
    for judged in &mut can.endpoints {
        judge_ingress(nodes, &can.node, can.source, judged, arguments.udp).await;
    }
    let outcome = outcome(&can.endpoints);
    can.allowed = outcome == Outcome::Yes;
    Ok((View::new(&can, text(arguments, &can)), outcome))
}

fn outcome(endpoints: &[Judged]) -> Outcome {
    if endpoints.is_empty() || endpoints.iter().any(|judged| !judged.allowed) {
        Outcome::No
    } else if endpoints.iter().any(|judged| judged.unanswered.is_some()) {
        Outcome::Unknown
    } else {
        Outcome::Yes
    }
}

/// The pods of the nodes that answer, and why one does not if one does not.
async fn pods_of(nodes: &[Node]) -> (Vec<(&Node, Pod)>, Option<ClientError>) {
    let mut pods = Vec::new();
    let mut silent = None;
    for (node, answer) in
        each(nodes, |node| async move { (node, node.agent.get::<Vec<Pod>>("/pods").await) }).await
    {
        match answer {
            Ok(of_node) => pods.extend(of_node.into_iter().map(|pod| (node, pod))),
            Err(error) => silent = Some(error),
        }
    }
    (pods, silent)
}

async fn ask(node: &Node, from: &str, to: &Destination, udp: bool) -> Result<Can, CliError> {
    let port = to.port.map(|port| format!("&port={port}")).unwrap_or_default();
    let path = format!(
        "/can?source={}&destination={}{port}&protocol={}",
        encode(from),
        encode(&to.name),
        if udp { "udp" } else { "tcp" }
    );
    Ok(node.agent.get(&path).await?)
}

/// Asks the node that has the destination, else every node until one knows it.
async fn ask_anyone(
    nodes: &[Node],
    pods: &[(&Node, Pod)],
    from: &str,
    to: &Destination,
    udp: bool,
) -> Result<Can, CliError> {
    let is_destination = |pod: &Pod| {
        format!("{}/{}", pod.namespace, pod.name) == to.name
            || to.name.parse().is_ok_and(|address: IpAddr| pod.addresses.contains(&address))
    };
    let home = pods.iter().find(|(_, pod)| is_destination(pod)).map(|(node, _)| *node);
    if let Some(node) = home {
        return ask(node, from, to, udp).await;
    }
    let mut silent = None;
    for node in nodes {
        match ask(node, from, to, udp).await {
            Err(CliError::Client(error)) if error.is_unknown() => {}
            Err(CliError::Client(error)) => silent = Some(error),
            answer => return answer,
        }
    }
    Err(silent.map_or_else(|| EndpointError::Unknown(to.name.clone()).into(), CliError::from))
}

/// Has the way in judged by the node of the destination, where that is another one.
async fn judge_ingress(nodes: &[Node], asked: &str, from: IpAddr, judged: &mut Judged, udp: bool) {
    let elsewhere = nodes.iter().find(|node| node.name == judged.node && node.name != asked);
    let Some(node) = elsewhere.filter(|_| judged.allowed) else { return };
    let to = Destination { name: judged.address.ip().to_string(), port: Some(judged.address.port()) };
    let answer = match ask(node, &from.to_string(), &to, udp).await {
        Ok(answer) => answer,
        Err(error) => {
            judged.unanswered = Some(error.to_string());
            return;
        }
    };
    let Some(there) = answer.endpoints.into_iter().next() else { return };
    judged.ingress = there.ingress;
    judged.audit = judged.audit.take().or(there.audit);
    if !there.allowed {
        judged.allowed = false;
        judged.reason = there.reason;
        judged.explanation = there.explanation;
    }
}

fn text(arguments: &CanArguments, can: &Can) -> String {
    let dialled = SocketAddr::new(can.destination, can.port);
    let verdict = match outcome(&can.endpoints) {
        Outcome::Yes => "allowed",
        Outcome::Unknown => "not judged, a node does not answer",
        Outcome::No if can.endpoints.iter().any(|judged| judged.allowed) => "denied in part",
        Outcome::No => "denied",
    };
    let mut text = format!(
        "{} -> {} ({dialled}/{}): {verdict}\n",
        arguments.source, arguments.destination, can.protocol
    );
    if !can.service.is_empty() {
        text.push_str(&format!("Service {}\n", can.service));
    }
    if !can.reason.is_empty() {
        text.push_str(&format!("{}: {}\n", can.reason, can.explanation));
    }
    let rows: Vec<Vec<String>> = can
        .endpoints
        .iter()
        .map(|judged| {
            let verdict = match (judged.allowed, &judged.unanswered) {
                (true, None) => "allowed",
                (true, Some(_)) => "not judged",
                (false, _) => "denied",
            };
            vec![
                judged.address.to_string(),
                cell(&judged.pod),
                cell(&judged.node),
                verdict.to_owned(),
                cell(&judged.transport),
                rule(judged.egress.as_ref()),
                rule(judged.ingress.as_ref()),
                cell(&judged.reason),
            ]
        })
        .collect();
    text.push_str(&table(
        &["ENDPOINT", "POD", "NODE", "VERDICT", "TRANSPORT", "EGRESS", "INGRESS", "REASON"],
        &rows,
    ));
    let mut told: Vec<&str> = Vec::new();
    for judged in can.endpoints.iter().filter(|judged| !judged.explanation.is_empty()) {
        if !told.contains(&judged.reason.as_str()) {
            told.push(&judged.reason);
            text.push_str(&format!("{}: {}\n", judged.reason, judged.explanation));
        }
    }
    for audit in can.endpoints.iter().filter_map(|judged| judged.audit.as_ref()) {
        text.push_str(&format!("Audit: {} would deny it\n", rule(Some(audit))));
    }
    for unanswered in can.endpoints.iter().filter_map(|judged| judged.unanswered.as_ref()) {
        text.push_str(&format!("{unanswered}\n"));
    }
    text
}

fn rule(rule: Option<&Rule>) -> String {
    match rule {
        Some(rule) if rule.policy.is_empty() => "(no policy)".to_owned(),
        Some(rule) => format!("{} {}", rule.policy, rule.rule),
        None => "-".to_owned(),
    }
}
