//! `meshctl explain pod/NAME`: whether a pod is in the mesh, as whom, what is enforced for it, and what
//! went wrong lately. All of it is what its node's agent and kernel hold.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::endpoint::EndpointError;
use super::super::identity::left;
use super::super::node::{Node, each};
use super::super::output::View;
use super::super::{CliError, Outcome};
use super::{Explained, collected};

/// A pod, as its node's agent tells it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Pod {
    pub namespace: String,
    pub name: String,
    pub state: String,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    late_enrolled: bool,
    #[serde(default)]
    preexisting_connections: u64,
    pub addresses: Vec<IpAddr>,
    #[serde(default)]
    pub identity: String,
}

impl Pod {
    pub(super) fn is(&self, name: &str) -> bool {
        name.split_once('/') == Some((&self.namespace, &self.name))
    }
}

/// A certificate, as far as it matters here.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Certificate {
    id: String,
    state: String,
    pods: Vec<String>,
    expires_in_seconds: Option<i64>,
    error: String,
}

/// The whole answer.
#[derive(Debug, Serialize)]
struct Told {
    node: String,
    pod: Pod,
    /// What the labels ask for, where somebody can say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<String>,
    certificate: Option<Certificate>,
    /// The rules that are enforced, in no order: `POLICY RULE`.
    ingress: Vec<String>,
    egress: Vec<String>,
    /// The Services whose connections may arrive here.
    services: Vec<String>,
    #[serde(flatten)]
    lately: Explained,
}

/// Tells of a pod. `home` is its node where that is known, `asked` what its labels ask for.
pub(in super::super) async fn pod(
    nodes: &[Node],
    name: &str,
    home: Option<&str>,
    asked: Option<String>,
) -> Result<(View, Outcome), CliError> {
    let (node, pod) = find(nodes, name, home).await?;
    let identities: Vec<Certificate> = node.agent.get("/identities").await?;
    let dump: Value = node.agent.get("/dump?flows=0").await?;
    let lately = collected(nodes, None, Some(name)).await?;
    let kernel = dump["pods"].as_array().into_iter().flatten().find(|row| row["name"] == name);
    let rules = |direction: &str| {
        let set = kernel.and_then(|row| row["kernel"][direction].as_str()).unwrap_or_default();
        strings(&dump["sets"][set]["rules"])
    };
    let told = Told {
        node: node.name.clone(),
        asked,
        certificate: identities.into_iter().find(|one| one.pods.iter().any(|of| of == name)),
        ingress: rules("ingress"),
        egress: rules("egress"),
        services: services(&dump, &pod.addresses),
        lately,
        pod,
    };
    let in_order = match told.pod.state.as_str() {
        "wired" => told.certificate.as_ref().is_some_and(|one| one.state == "valid"),
        "plain" => told.pod.reason.is_empty(),
        _ => false,
    };
    let outcome = if in_order && told.lately.is_empty() { Outcome::Yes } else { Outcome::No };
    let text = told.text();
    Ok((View::new(&told, text), outcome))
}

async fn find<'a>(nodes: &'a [Node], name: &str, home: Option<&str>) -> Result<(&'a Node, Pod), CliError> {
    if let Some(home) = home {
        let node = nodes.iter().find(|node| node.name == home);
        let node = node.ok_or_else(|| EndpointError::NoAgent(home.to_owned()))?;
        let pods: Vec<Pod> = node.agent.get("/pods").await?;
        let pod = pods.into_iter().find(|pod| pod.is(name));
        return Ok((node, pod.ok_or_else(|| EndpointError::Unknown(name.to_owned()))?));
    }
    let mut silent = None;
    for (node, pods) in
        each(nodes, |node| async move { (node, node.agent.get::<Vec<Pod>>("/pods").await) }).await
    {
        match pods {
            Ok(pods) => {
                if let Some(pod) = pods.into_iter().find(|pod| pod.is(name)) {
                    return Ok((node, pod));
                }
            }
            Err(error) => silent = Some(error),
        }
    }
    Err(silent.map_or_else(|| EndpointError::NoPod(name.to_owned()).into(), CliError::from))
}

pub(super) fn strings(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// The Services, with their port, that have one of these addresses behind them.
fn services(dump: &Value, addresses: &[IpAddr]) -> Vec<String> {
    let behind = |service: &&Value| {
        let endpoints = strings(&service["endpoints"]);
        let mut endpoints =
            endpoints.iter().filter_map(|endpoint| endpoint.parse::<std::net::SocketAddr>().ok());
        endpoints.any(|endpoint| addresses.contains(&endpoint.ip()))
    };
    let all = dump["services"].as_array().into_iter().flatten();
    let mut names: Vec<String> =
        all.filter(behind).filter_map(|service| service["name"].as_str().map(str::to_owned)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

impl Told {
    fn text(&self) -> String {
        let Self { pod, node, .. } = self;
        let meaning = match pod.state.as_str() {
            "wired" => "in the mesh",
            "plain" => "not in the mesh",
            "pending" => "to be in the mesh, and without network until it is",
            _ => "not known to discovery yet",
        };
        let mut text = format!("Pod {}/{} on {node}: {}, {meaning}\n", pod.namespace, pod.name, pod.state);
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                text.push_str(&format!("  {name:<13} {value}\n"));
            }
        };
        line("reason", &pod.reason);
        line("labels", self.asked.as_deref().unwrap_or_default());
        line("addresses", &pod.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
        line("identity", &pod.identity);
        match &self.certificate {
            Some(one) => {
                let ends = one.expires_in_seconds.map(|seconds| format!(", ends {}", left(seconds)));
                line("certificate", &format!("{}{}", one.state, ends.unwrap_or_default()));
                line("  why", &one.error);
            }
            None if pod.state == "wired" => line("certificate", "none"),
            None => {}
        }
        if pod.late_enrolled {
            line("late", "it ran before it was wired");
        }
        if pod.preexisting_connections > 0 {
            line(
                "older",
                &format!(
                    "{} connections from before it was wired, without the mesh; `meshctl enroll --reset` ends them",
                    pod.preexisting_connections
                ),
            );
        }
        line("behind", &self.services.join(", "));
        if pod.state == "wired" {
            for (direction, rules) in [("ingress", &self.ingress), ("egress", &self.egress)] {
                if rules.is_empty() {
                    line(direction, "no policy; MeshConfig's defaults");
                }
                for rule in rules {
                    line(direction, rule);
                }
            }
        }
        text + "\n" + &super::text(&self.lately)
    }
}
