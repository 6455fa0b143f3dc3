//! `meshctl explain svc/NAME`: what is behind a Service as the nodes have it loaded, and which of that
//! is in the mesh; and its routes ([`super::routes`]).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use serde_json::Value;

use super::super::client::Socket;
use super::super::endpoint::EndpointError;
use super::super::node::{Node, each};
use super::super::output::{View, cell, table};
use super::super::{CliError, Outcome};
use super::pod::{Pod, strings};
use super::routes::{self, Applying};

/// The whole answer.
#[derive(Debug, Serialize)]
struct Told {
    service: String,
    ports: Vec<Port>,
    routes: Applying,
    /// Why some nodes did not answer.
    unanswered: Vec<String>,
}

/// One port of the Service.
#[derive(Debug, Default, Serialize)]
struct Port {
    name: String,
    frontends: Vec<String>,
    endpoints: Vec<Endpoint>,
    /// Nodes whose kernel has other endpoints than the first, for their zone, their `Local` policy, or
    /// because they are behind.
    differs_on: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Endpoint {
    address: String,
    pod: String,
    node: String,
    state: String,
    identity: String,
}

/// Tells of a Service, `NAMESPACE/NAME`; of its routes only those for `from`, where that is said.
pub(in super::super) async fn service(
    nodes: &[Node],
    controller: Option<&Socket>,
    name: &str,
    from: Option<&str>,
) -> Result<(View, Outcome), CliError> {
    let asked = each(nodes, |node| async move {
        let pods = node.agent.get::<Vec<Pod>>("/pods").await;
        let dump = node.agent.get::<Value>("/dump?flows=0").await;
        (node.name.as_str(), pods, dump)
    });
    let mut pods: BTreeMap<IpAddr, (&str, Pod)> = BTreeMap::new();
    let mut ports: BTreeMap<String, Port> = BTreeMap::new();
    let mut unanswered = Vec::new();
    let mut first: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut failed = None;
    for (node, of_node, dump) in asked.await {
        let (of_node, dump) = match (of_node, dump) {
            (Ok(of_node), Ok(dump)) => (of_node, dump),
            (Err(error), _) | (_, Err(error)) => {
                unanswered.push(error.to_string());
                failed = Some(error);
                continue;
            }
        };
        for pod in of_node {
            for address in pod.addresses.clone() {
                // Pods on the node's own network share its addresses with each other.
                pods.entry(address).or_insert((node, pod.clone()));
            }
        }
        for (port, frontends, endpoints) in ports_of(&dump, name) {
            let known =
                ports.entry(port.clone()).or_insert_with(|| Port { name: port.clone(), ..Port::default() });
            if known.frontends.is_empty() {
                known.frontends = frontends;
            }
            let same = first.entry(port).or_insert_with(|| endpoints.clone());
            if *same != endpoints {
                known.differs_on.push(node.to_owned());
            }
        }
    }
    if ports.is_empty() {
        let unknown = || EndpointError::Unknown(format!("svc/{name}")).into();
        return Err(failed.map_or_else(unknown, CliError::from));
    }
    for (name, port) in &mut ports {
        let addresses = first.remove(name).unwrap_or_default();
        port.endpoints = addresses.into_iter().map(|address| endpoint(address, &pods)).collect();
    }
    let caller = from.map(|from| routes::caller(from, pods.values().map(|(_, pod)| pod))).transpose()?;
    let routes = routes::applying(nodes, controller, name, caller).await;
    let told = Told { service: name.to_owned(), ports: ports.into_values().collect(), routes, unanswered };
    let fine = told.unanswered.is_empty()
        && told.routes.are_in_force()
        && told.ports.iter().all(|port| !port.endpoints.is_empty());
    let text = told.text();
    Ok((View::new(&told, text), if fine { Outcome::Yes } else { Outcome::No }))
}

/// The ports of a Service that a node has loaded: name, frontends, endpoints. A port is loaded once for
/// each address family.
fn ports_of(dump: &Value, name: &str) -> Vec<(String, Vec<String>, Vec<String>)> {
    let mut found: BTreeMap<String, (Vec<String>, Vec<String>)> = BTreeMap::new();
    for service in dump["services"].as_array().into_iter().flatten() {
        let full = service["name"].as_str().unwrap_or_default();
        if full.rsplit_once(':').map(|(service, _)| service) != Some(name) {
            continue;
        }
        let (frontends, endpoints) = found.entry(full.to_owned()).or_default();
        frontends.extend(strings(&service["frontends"]));
        endpoints.extend(strings(&service["endpoints"]));
    }
    let sorted = |mut list: Vec<String>| {
        list.sort_unstable();
        list.dedup();
        list
    };
    found
        .into_iter()
        .map(|(name, (frontends, endpoints))| (name, sorted(frontends), sorted(endpoints)))
        .collect()
}

fn endpoint(address: String, pods: &BTreeMap<IpAddr, (&str, Pod)>) -> Endpoint {
    let ip = address.parse::<SocketAddr>().ok().map(|address| address.ip());
    let found = ip.and_then(|ip| pods.get(&ip));
    let text = |of: fn(&Pod) -> String| found.map(|(_, pod)| of(pod)).unwrap_or_default();
    Endpoint {
        pod: text(|pod| format!("{}/{}", pod.namespace, pod.name)),
        node: found.map(|(node, _)| (*node).to_owned()).unwrap_or_default(),
        state: text(|pod| pod.state.clone()),
        identity: text(|pod| pod.identity.clone()),
        address,
    }
}

impl Told {
    fn text(&self) -> String {
        let mut text = String::new();
        for port in &self.ports {
            text.push_str(&format!("Service {} at {}\n", port.name, port.frontends.join(", ")));
            if port.endpoints.is_empty() {
                text.push_str("  nothing ready is behind it: connections are refused\n");
            }
            let rows: Vec<Vec<String>> = port
                .endpoints
                .iter()
                .map(|one| {
                    let fields = [&one.address, &one.pod, &one.node, &one.state, &one.identity];
                    fields.map(|text| cell(text)).to_vec()
                })
                .collect();
            text.push_str(&table(&["ENDPOINT", "POD", "NODE", "STATE", "IDENTITY"], &rows));
            if !port.differs_on.is_empty() {
                text.push_str(&format!("other endpoints on: {}\n", port.differs_on.join(", ")));
            }
        }
        let all = || self.ports.iter().flat_map(|port| &port.endpoints);
        let wired = all().filter(|one| one.state == "wired").count();
        text.push_str(&format!(
            "{wired} of {} endpoints are in the mesh: pods of the mesh reach those by mTLS or kernel to kernel, the others in plaintext\n",
            all().count()
        ));
        text.push_str(&self.routes.text());
        for error in &self.unanswered {
            text.push_str(&format!("{error}\n"));
        }
        text
    }
}
