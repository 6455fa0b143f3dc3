//! `meshctl can`: the verdict on a connection, from what the data path of both sides has loaded.
//!
//! The node of the source is asked first: which destinations the connection may get, and whether
//! each may be left for. The way in is judged where the destination is: by the same answer when it
//! is on that node, else by its own node.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::client::encode;
use super::endpoint::{Destination, EndpointError, source};
use super::output::{View, cell, table};
use super::run_dir::Node;
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

/// Asks and joins the answers. `asked` names the node that is asked for the way out.
pub(super) async fn can(
    nodes: &[Node],
    asked: Option<&str>,
    arguments: &CanArguments,
) -> Result<(View, Outcome), CliError> {
    let from = source(&arguments.source)?;
    let destination = Destination::parse(&arguments.destination)?;
    let pods = pods_of(nodes).await?;
    let is_source = |pod: &Pod| match &from {
        Ok(address) => pod.addresses.contains(address),
        Err((namespace, name)) => (&pod.namespace, &pod.name) == (namespace, name),
    };
    let home = pods.iter().find(|(_, pod)| is_source(pod)).map(|(node, _)| *node);
    if home.is_none() && from.is_err() {
        return Err(EndpointError::NoPod(arguments.source.clone()).into());
    }
    let home = nodes.iter().find(|node| Some(node.name.as_str()) == asked).or(home);
    let mut can = match home {
        Some(node) => ask(node, &arguments.source, &destination, arguments.udp).await?,
        // A stranger's own way out is nobody's to judge: whoever knows the destination is asked.
        None => ask_anyone(nodes, &pods, &arguments.source, &destination, arguments.udp).await?,
    };
    for judged in &mut can.endpoints {
        judge_ingress(nodes, &can.node, can.source, judged, arguments.udp).await?;
    }
    can.allowed = !can.endpoints.is_empty() && can.endpoints.iter().all(|judged| judged.allowed);
    let outcome = if can.allowed { Outcome::Yes } else { Outcome::No };
    Ok((View::new(&can, text(arguments, &can)), outcome))
}

async fn pods_of(nodes: &[Node]) -> Result<Vec<(&Node, Pod)>, CliError> {
    let mut pods = Vec::new();
    for node in nodes {
        let of_node: Vec<Pod> = node.agent.get("/pods").await?;
        pods.extend(of_node.into_iter().map(|pod| (node, pod)));
    }
    Ok(pods)
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
    for node in nodes {
        match ask(node, from, to, udp).await {
            Err(CliError::Client(error)) if error.is_unknown() => {}
            answer => return answer,
        }
    }
    Err(EndpointError::Unknown(to.name.clone()).into())
}

/// Has the way in judged by the node of the destination, where that is another one.
async fn judge_ingress(
    nodes: &[Node],
    asked: &str,
    from: IpAddr,
    judged: &mut Judged,
    udp: bool,
) -> Result<(), CliError> {
    let elsewhere = nodes.iter().find(|node| node.name == judged.node && node.name != asked);
    let Some(node) = elsewhere.filter(|_| judged.allowed) else { return Ok(()) };
    let to = Destination { name: judged.address.ip().to_string(), port: Some(judged.address.port()) };
    let answer = ask(node, &from.to_string(), &to, udp).await?;
    let Some(there) = answer.endpoints.into_iter().next() else { return Ok(()) };
    judged.ingress = there.ingress;
    judged.audit = judged.audit.take().or(there.audit);
    if !there.allowed {
        judged.allowed = false;
        judged.reason = there.reason;
        judged.explanation = there.explanation;
    }
    Ok(())
}

fn text(arguments: &CanArguments, can: &Can) -> String {
    let dialled = SocketAddr::new(can.destination, can.port);
    let verdict = match (can.allowed, can.endpoints.iter().any(|judged| judged.allowed)) {
        (true, _) => "allowed",
        (false, true) => "denied in part",
        (false, false) => "denied",
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
            let verdict = if judged.allowed { "allowed" } else { "denied" };
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
    text
}

fn rule(rule: Option<&Rule>) -> String {
    match rule {
        Some(rule) if rule.policy.is_empty() => "(no policy)".to_owned(),
        Some(rule) => format!("{} {}", rule.policy, rule.rule),
        None => "-".to_owned(),
    }
}
