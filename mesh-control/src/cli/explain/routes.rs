//! The routes of a Service: which apply to a caller, in which order they are tried, what they do; and those
//! that are not in force, with the reason.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::client::{Socket, encode};
use super::super::endpoint::EndpointError;
use super::super::node::{Node, each};
use super::pod::Pod;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Caller {
    /// `<namespace>/<name>` of a pod, or a namespace.
    name: String,
    namespace: String,
    /// Whether it is in the mesh; a namespace is taken to be.
    in_mesh: bool,
}

/// The whole of it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Applying {
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<Caller>,
    /// The node that tells.
    node: String,
    ports: Vec<Port>,
    /// Nodes that have other routes: they are behind.
    differs_on: Vec<String>,
    /// What the controller says of routes that name the Service and are not in order.
    troubles: Vec<Trouble>,
    /// Why the controller did not say.
    #[serde(skip_serializing_if = "String::is_empty")]
    unanswered: String,
}

/// What an agent tells.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Told {
    ports: Vec<Port>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Port {
    port: u16,
    protocol: String,
    tables: Vec<Table>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Table {
    consumer: String,
    decides_on: String,
    entries: Vec<Entry>,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    matches: String,
    rule: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Rule {
    route: String,
    rule: String,
    filters: Vec<String>,
    backends: Vec<Backend>,
    timeouts: String,
    retry: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fails: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Backend {
    backend: String,
    weight: u32,
    filters: Vec<String>,
    ready: usize,
    endpoints: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    invalid: String,
}

/// A condition of a route that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Trouble {
    route: String,
    /// The parent, as the route has it.
    parent: Value,
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
}

/// Reads who calls: a namespace, or one of the pods.
pub(super) fn caller<'a>(
    text: &str,
    mut pods: impl Iterator<Item = &'a Pod>,
) -> Result<Caller, EndpointError> {
    let of =
        |namespace: &str, in_mesh| Caller { name: text.to_owned(), namespace: namespace.to_owned(), in_mesh };
    match text.split_once('/') {
        None if !text.is_empty() => Ok(of(text, true)),
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            let pod = pods.find(|pod| pod.is(text)).ok_or_else(|| EndpointError::NoPod(text.to_owned()))?;
            Ok(of(namespace, pod.state == "wired"))
        }
        _ => Err(EndpointError::Source(text.to_owned())),
    }
}

/// Asks every node and the controller.
pub(super) async fn applying(
    nodes: &[Node],
    controller: Option<&Socket>,
    service: &str,
    caller: Option<Caller>,
) -> Applying {
    let path = format!("/routes?service={}", encode(service));
    let asked = each(nodes, |node| {
        let path = &path;
        async move { (node.name.as_str(), node.agent.get::<Told>(path).await) }
    });
    let mut applying = Applying { caller, ..Applying::default() };
    // A node that does not answer has been told of with the Service.
    for (node, told) in asked.await.into_iter().filter_map(|(node, told)| Some((node, told.ok()?))) {
        if applying.node.is_empty() {
            node.clone_into(&mut applying.node);
            applying.ports = told.ports;
        } else if !told.ports.iter().map(essence).eq(applying.ports.iter().map(essence)) {
            applying.differs_on.push(node.to_owned());
        }
    }
    match controller {
        Some(controller) => match controller.get(&path).await {
            Ok(troubles) => applying.troubles = troubles,
            Err(error) => applying.unanswered = error.to_string(),
        },
        None => "the controller is not there to say which routes are not in force"
            .clone_into(&mut applying.unanswered),
    }
    if let Some(caller) = &applying.caller {
        for port in &mut applying.ports {
            let own = port.tables.iter().any(|table| table.consumer == caller.namespace);
            let applies = if own { caller.namespace.as_str() } else { "" };
            port.tables.retain(|table| caller.in_mesh && table.consumer == applies);
        }
    }
    applying
}

/// A port without what differs from node to node for a good reason: ready endpoints.
fn essence(port: &Port) -> Port {
    let mut port = port.clone();
    let rules = port.tables.iter_mut().flat_map(|table| &mut table.rules);
    for backend in rules.flat_map(|rule| &mut rule.backends) {
        backend.ready = 0;
        backend.endpoints.clear();
    }
    port
}

impl Applying {
    /// Whether nothing is wrong with them.
    pub(super) fn are_in_force(&self) -> bool {
        self.troubles.is_empty() && self.differs_on.is_empty()
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if let Some(caller) = self.caller.as_ref().filter(|caller| !caller.in_mesh) {
            text.push_str(&format!("No route applies to {}: it is not in the mesh\n", caller.name));
        }
        for port in &self.ports {
            if let Some(caller) =
                self.caller.as_ref().filter(|caller| caller.in_mesh && port.tables.is_empty())
            {
                let (port, protocol, name) = (port.port, &port.protocol, &caller.name);
                text.push_str(&format!("Port {port}/{protocol}: no route applies to {name}\n"));
            }
            for table in &port.tables {
                text.push_str(&table.text(port));
            }
        }
        if self.node.is_empty() {
            text.push_str("No node says which routes it has\n");
        } else if self.ports.is_empty() {
            text.push_str("No route is attached to it\n");
        } else {
            text.push_str(
                "Routes are for callers in the mesh that dial a cluster address: not for others, nor for node ports, external and load-balancer addresses\n",
            );
        }
        if !self.differs_on.is_empty() {
            text.push_str(&format!("other routes on: {}\n", self.differs_on.join(", ")));
        }
        for trouble in &self.troubles {
            let port = trouble.parent.get("port").and_then(Value::as_u64);
            let port = port.map(|port| format!(" for port {port}")).unwrap_or_default();
            let Trouble { route, kind, status, reason, message, .. } = trouble;
            text.push_str(&format!("{route}{port}: {kind} {status}, {reason}: {message}\n"));
        }
        if !self.unanswered.is_empty() {
            text.push_str(&format!("{}\n", self.unanswered));
        }
        text
    }
}

impl Table {
    fn text(&self, port: &Port) -> String {
        let whose = match self.consumer.as_str() {
            "" => "for callers without routes of their own (producer)".to_owned(),
            namespace => format!("for callers in {namespace}, in the place of the producer's (consumer)"),
        };
        let mut text = format!("Port {}/{}: {} {whose}\n", port.port, port.protocol, self.decides_on);
        for (place, entry) in self.entries.iter().enumerate() {
            let rule = self.rules.get(entry.rule);
            let rule = rule.map(|rule| format!("{} {}", rule.route, rule.rule)).unwrap_or_default();
            text.push_str(&format!("  {}. {} -> {rule}\n", place + 1, entry.matches));
        }
        let otherwise = match self.decides_on.as_str() {
            "requests" => "404",
            "gRPC calls" => "UNIMPLEMENTED",
            _ => "closed",
        };
        if self.entries.iter().all(|entry| entry.matches != "everything") {
            text.push_str(&format!("  otherwise: {otherwise}\n"));
        }
        for rule in &self.rules {
            text.push_str(&rule.text());
        }
        text
    }
}

impl Rule {
    fn text(&self) -> String {
        let mut text = format!("  {} {}\n", self.route, self.rule);
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                text.push_str(&format!("    {name} {value}\n"));
            }
        };
        if let Some(status) = self.fails {
            line("fails", &format!("every request with {status}: the controller refuses the rule"));
        }
        for filter in &self.filters {
            line("filter", filter);
        }
        for backend in &self.backends {
            line("backend", &backend.text());
        }
        line("timeouts", &self.timeouts);
        line("retry", &self.retry);
        text
    }
}

impl Backend {
    fn text(&self) -> String {
        let filters: String = self.filters.iter().map(|filter| format!("; {filter}")).collect();
        if !self.invalid.is_empty() {
            return format!("leads nowhere (500), weight {}: {}", self.weight, self.invalid);
        }
        let more = if self.ready > self.endpoints.len() { ", ..." } else { "" };
        let listed = self.endpoints.join(", ");
        let ready = match self.ready {
            0 => "no endpoint is ready".to_owned(),
            ready => format!("{ready} ready: {listed}{more}"),
        };
        format!("{}, weight {}, {ready}{filters}", self.backend, self.weight)
    }
}
