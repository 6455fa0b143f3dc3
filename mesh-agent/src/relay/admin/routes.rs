//! The routes of a Service as this node has them: for whom they are, and what they do, in the order in
//! which they are tried.

mod shown;

use std::net::SocketAddr;

use mesh_l7::table::RouteKind;
use mesh_l7::table::route::{Destination, RouteRule};
use serde::Serialize;

use super::AdminError;
use super::query::Query;
use crate::relay::node::Node;
use crate::relay::resource::{Protocol, Routed};

/// The most endpoints of a backend that are listed.
const ENDPOINTS: usize = 16;

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Routes {
    node: String,
    service: String,
    /// The ports that have routes.
    ports: Vec<Port>,
}

#[derive(Debug, Serialize)]
struct Port {
    port: u16,
    protocol: &'static str,
    /// The producer's first, then those of consumers.
    tables: Vec<Table>,
}

/// What applies to some callers.
#[derive(Debug, Serialize)]
struct Table {
    /// The callers' namespace, of a consumer's routes; empty for the producer's, which are for everybody
    /// else.
    consumer: String,
    /// What is decided on: `requests`, `server names`, `connections`.
    decides_on: &'static str,
    /// In order: what is matched, and the rule that takes it, by its place.
    entries: Vec<Entry>,
    rules: Vec<Rule>,
}

#[derive(Debug, Serialize)]
struct Entry {
    matches: String,
    rule: usize,
}

#[derive(Debug, Serialize)]
struct Rule {
    route: String,
    rule: String,
    filters: Vec<String>,
    backends: Vec<Backend>,
    timeouts: String,
    retry: String,
    /// The status that every request of it is answered, because it cannot be applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    fails: Option<u16>,
}

#[derive(Debug, Serialize)]
struct Backend {
    backend: String,
    weight: u32,
    filters: Vec<String>,
    /// How many are ready, and the first of them.
    ready: usize,
    endpoints: Vec<SocketAddr>,
    /// Why it leads nowhere; empty where it does not.
    #[serde(skip_serializing_if = "String::is_empty")]
    invalid: String,
}

/// `GET /routes?service=<namespace>/<name>`.
pub(super) fn answer(node: &Node, query: &Query) -> Result<Routes, AdminError> {
    let name = query.text("service");
    let desired = node.desired.borrow();
    if desired.service(name).is_none() {
        return Err(AdminError::Unknown { what: "Service", name: name.to_owned() });
    }
    let routes = desired.routes(name);
    let ports = routes.into_iter().flat_map(|routes| &routes.ports).map(|port| {
        let producer = port.routes.producer().map(|table| (String::new(), table));
        let mut consumers: Vec<_> =
            port.routes.consumers().map(|(namespace, table)| (namespace.to_owned(), table)).collect();
        consumers.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let tables = producer.into_iter().chain(consumers);
        Port {
            port: port.port,
            protocol: if port.protocol == Protocol::Tcp { "tcp" } else { "udp" },
            tables: tables.map(|(consumer, table)| self::table(node, consumer, table)).collect(),
        }
    });
    Ok(Routes { node: node.name.clone(), service: name.to_owned(), ports: ports.collect() })
}

fn table(node: &Node, consumer: String, routed: &Routed) -> Table {
    let rules = |rules: &[RouteRule]| rules.iter().map(|rule| self::rule(node, rule)).collect();
    let (decides_on, entries, rules) = match routed {
        Routed::Requests(table) => {
            let calls = table.kind() == RouteKind::Grpc;
            let entries = table.entries().iter().map(|entry| {
                let matches =
                    if calls { shown::call(&entry.matches) } else { shown::request(&entry.matches) };
                Entry { matches, rule: entry.rule }
            });
            (if calls { "gRPC calls" } else { "requests" }, entries.collect(), rules(table.rules()))
        }
        Routed::ServerNames(routes) => {
            let (names, of_routes) = &**routes;
            let entries = names.names().into_iter().map(|(name, rule)| {
                let matches = if name.is_empty() { "any server name, or none".to_owned() } else { name };
                Entry { matches, rule }
            });
            ("server names", entries.collect(), rules(of_routes))
        }
        Routed::Connections(rule) => {
            let entries = rule.iter().map(|_| Entry { matches: "everything".to_owned(), rule: 0 });
            let of_rule = rule.iter().map(|rule| self::rule(node, rule));
            ("connections", entries.collect(), of_rule.collect())
        }
    };
    Table { consumer, decides_on, entries, rules }
}

fn rule(node: &Node, rule: &RouteRule) -> Rule {
    let backends = rule.backends.list().iter().map(|backend| {
        let (name, invalid) = match &backend.destination {
            Destination::Service { service, port, .. } => (format!("{service}:{port}"), String::new()),
            Destination::Invalid(why) => (String::new(), why.to_string()),
        };
        // Those of the other family where there is none of this.
        let known = node.routing.backend(&backend.destination, true);
        let endpoints = known.map(|known| known.endpoints.clone()).unwrap_or_default();
        Backend {
            backend: name,
            weight: backend.weight,
            filters: backend.filters.iter().map(shown::filter).collect(),
            ready: endpoints.len(),
            endpoints: endpoints.into_iter().take(ENDPOINTS).collect(),
            invalid,
        }
    });
    Rule {
        route: rule.route.to_string(),
        rule: rule.name.to_string(),
        filters: rule.filters.iter().map(shown::filter).collect(),
        backends: backends.collect(),
        timeouts: rule.timeouts.to_string(),
        retry: rule.retry.as_ref().map(ToString::to_string).unwrap_or_default(),
        fails: rule.fail.map(|status| status.as_u16()),
    }
}
