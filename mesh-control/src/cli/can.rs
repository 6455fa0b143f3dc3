//! `meshctl can`: the verdict on a connection, or on a request, from what the data path of both sides has
//! loaded.
//!
//! The node of the source is asked first: which destinations the connection may get, and whether
//! each may be left for. The way in is judged where the destination is: by the same answer when it
//! is on that node, else by its own node. A node that does not answer keeps the others from nothing:
//! what only it could tell is not judged. A request goes to the destination's node in the form that the
//! routes of the source's have given it.

mod text;

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::client::{ClientError, encode};
use super::endpoint::{Destination, EndpointError, source};
use super::node::{Node, each};
use super::output::View;
use super::{CanArguments, CliError, Outcome};
use text::text;

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
    /// The request, as the source's node has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<Request>,
    /// How routes decide on what the source dials; empty where there are none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    routed: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    route: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    route_rule: String,
    /// What the mesh answers by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    answers: Vec<Answered>,
    endpoints: Vec<Judged>,
}

/// A request without content.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Request {
    method: String,
    target: String,
    host: String,
    headers: Vec<String>,
}

/// An answer of the mesh itself, to a request or to the share of a backend.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Answered {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    backend: String,
    weight: u32,
    status: u16,
    reason: String,
    explanation: String,
    detail: String,
    refused: bool,
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
    /// Rules that decide by request, where none was given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<Rule>,
    /// The backend of the route.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    backend: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
    /// The request as it goes there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sent: Option<Request>,
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
    let over = over(arguments);
    let mut can = match home {
        Some(node) => ask(node, &arguments.source, &destination, &over).await?,
        // A stranger's own way out is nobody's to judge: whoever knows the destination is asked.
        None => ask_anyone(nodes, &pods, &arguments.source, &destination, &over).await?,
    };
    for judged in &mut can.endpoints {
        let request = judged.sent.clone().or_else(|| can.request.clone());
        let over = request.map_or_else(|| over.clone(), |request| request.over());
        judge_ingress(nodes, &can.node, can.source, judged, &over).await;
    }
    let outcome = outcome(&can);
    can.allowed = outcome == Outcome::Yes;
    Ok((View::new(&can, text(arguments, &can)), outcome))
}

fn outcome(can: &Can) -> Outcome {
    let Can { endpoints, answers, .. } = can;
    let is_there = !endpoints.is_empty() || !answers.is_empty();
    let refused = answers.iter().any(|answer| answer.refused);
    if !is_there || refused || endpoints.iter().any(|judged| !judged.allowed) {
        Outcome::No
    } else if endpoints.iter().any(|judged| judged.unanswered.is_some() || !judged.depends_on.is_empty()) {
        Outcome::Unknown
    } else {
        Outcome::Yes
    }
}

/// What goes from the source to the destination: the part of the question after the two.
fn over(arguments: &CanArguments) -> String {
    let (Some(method), Some(target)) = (&arguments.method, &arguments.target) else {
        return format!("&protocol={}", if arguments.udp { "udp" } else { "tcp" });
    };
    let request = Request {
        method: method.clone(),
        target: target.clone(),
        host: arguments.host.clone().unwrap_or_default(),
        headers: arguments.headers.clone(),
    };
    request.over()
}

impl Request {
    fn over(&self) -> String {
        let mut text =
            format!("&protocol=tcp&method={}&target={}", encode(&self.method), encode(&self.target));
        for (name, value) in
            [("host", &self.host)].into_iter().chain(self.headers.iter().map(|field| ("header", field)))
        {
            if !value.is_empty() {
                text.push_str(&format!("&{name}={}", encode(value)));
            }
        }
        text
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

async fn ask(node: &Node, from: &str, to: &Destination, over: &str) -> Result<Can, CliError> {
    let port = to.port.map(|port| format!("&port={port}")).unwrap_or_default();
    let path = format!("/can?source={}&destination={}{port}{over}", encode(from), encode(&to.name));
    Ok(node.agent.get(&path).await?)
}

/// Asks the node that has the destination, else every node until one knows it.
async fn ask_anyone(
    nodes: &[Node],
    pods: &[(&Node, Pod)],
    from: &str,
    to: &Destination,
    over: &str,
) -> Result<Can, CliError> {
    let is_destination = |pod: &Pod| {
        format!("{}/{}", pod.namespace, pod.name) == to.name
            || to.name.parse().is_ok_and(|address: IpAddr| pod.addresses.contains(&address))
    };
    let home = pods.iter().find(|(_, pod)| is_destination(pod)).map(|(node, _)| *node);
    if let Some(node) = home {
        return ask(node, from, to, over).await;
    }
    let mut silent = None;
    for node in nodes {
        match ask(node, from, to, over).await {
            Err(CliError::Client(error)) if error.is_unknown() => {}
            Err(CliError::Client(error)) => silent = Some(error),
            answer => return answer,
        }
    }
    Err(silent.map_or_else(|| EndpointError::Unknown(to.name.clone()).into(), CliError::from))
}

/// Has the way in judged by the node of the destination, where that is another one.
async fn judge_ingress(nodes: &[Node], asked: &str, from: IpAddr, judged: &mut Judged, over: &str) {
    let elsewhere = nodes.iter().find(|node| node.name == judged.node && node.name != asked);
    let Some(node) = elsewhere.filter(|_| judged.allowed) else { return };
    let to = Destination { name: judged.address.ip().to_string(), port: Some(judged.address.port()) };
    let answer = match ask(node, &from.to_string(), &to, over).await {
        Ok(answer) => answer,
        Err(error) => {
            judged.unanswered = Some(error.to_string());
            return;
        }
    };
    let Some(there) = answer.endpoints.into_iter().next() else { return };
    judged.ingress = there.ingress;
    judged.audit = judged.audit.take().or(there.audit);
    judged.depends_on.extend(there.depends_on);
    if !there.allowed {
        judged.allowed = false;
        judged.reason = there.reason;
        judged.explanation = there.explanation;
    }
}
