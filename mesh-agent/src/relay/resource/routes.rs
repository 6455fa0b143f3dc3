//! The routes of Services, as `mesh-l7` works with them.
//!
//! The controller judges routes with the same constructors, so what it sends is taken here; what is not
//! is a fault of the resource, and the last good one stays.

mod filter;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method, StatusCode};
use mesh_api::resources as wire;
use mesh_l7::matching::{HeaderMatch, HttpMatch, PathMatch, Pattern, QueryMatch, ValueMatch};
use mesh_l7::retry::Retry;
use mesh_l7::table::route::{AppProtocol, Backend, Backends, Destination, RouteRule};
use mesh_l7::table::sni::SniTable;
use mesh_l7::table::{PortRoutes, RouteEntry, RouteKind, RouteTable};
use mesh_l7::timeouts::Timeouts;

use super::error::Fault;
use super::field::{indexed, port};
use super::policy::Protocol;

/// The routes of one Service.
#[derive(Debug, PartialEq)]
pub(crate) struct ServiceRoutes {
    /// The Service's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its ports that have routes.
    pub ports: Vec<RoutedPort>,
}

/// A port of a Service that has routes.
#[derive(Debug, PartialEq)]
pub(crate) struct RoutedPort {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port of the Service.
    pub port: u16,
    /// The producer's, and those of consumers by namespace.
    pub routes: PortRoutes<Routed>,
}

impl ServiceRoutes {
    /// The routes of a port.
    pub(crate) fn port(&self, protocol: Protocol, port: u16) -> Option<&PortRoutes<Routed>> {
        let of_port = |known: &&RoutedPort| known.protocol == protocol && known.port == port;
        self.ports.iter().find(of_port).map(|known| &known.routes)
    }

    /// Every table.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Routed> {
        self.ports.iter().flat_map(|port| {
            port.routes.producer().into_iter().chain(port.routes.consumers().map(|(_, table)| table))
        })
    }
}

/// What becomes of what is dialled to a port.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Routed {
    /// Each request by its own: HTTPRoute, GRPCRoute.
    Requests(Arc<RouteTable>),
    /// Each connection by the server name it asks for: TLSRoute.
    ServerNames(Arc<(SniTable, Vec<RouteRule>)>),
    /// Each connection or flow alike: TCPRoute, UDPRoute. `None`: closed.
    Connections(Option<Arc<RouteRule>>),
}

pub(super) fn parse_routes(message: wire::ServiceRoutes) -> Result<ServiceRoutes, Fault> {
    for (field, value) in [("namespace", &message.namespace), ("name", &message.name)] {
        if value.is_empty() {
            return Err(Fault::new(field, "empty", "a Service has one"));
        }
    }
    let ports = indexed("ports", message.ports, routed_port)?;
    Ok(ServiceRoutes { namespace: message.namespace, name: message.name, ports })
}

fn routed_port(message: wire::PortRoutes) -> Result<RoutedPort, Fault> {
    let producer = message.producer.map(table).transpose().map_err(|fault| fault.within("producer"))?;
    let consumers = indexed("consumers", message.consumers, |consumer| {
        let absent = || Fault::new("table", "absent", "a consumer's routes have a table");
        let table = table(consumer.table.ok_or_else(absent)?).map_err(|fault| fault.within("table"))?;
        Ok((consumer.namespace, table))
    })?;
    let consumers: HashMap<String, Routed> = consumers.into_iter().collect();
    let protocol = Protocol::parse(message.protocol)?;
    let by_connection = |table: &Routed| matches!(table, Routed::Connections(_));
    if protocol == Protocol::Udp && !producer.iter().chain(consumers.values()).all(by_connection) {
        return Err(Fault::new("protocol", "UDP", "only UDPRoutes are routes of it"));
    }
    Ok(RoutedPort {
        protocol,
        port: port("port", message.port)?,
        routes: PortRoutes::new(producer, consumers),
    })
}

fn table(message: wire::RouteTable) -> Result<Routed, Fault> {
    let sent = message.kind();
    let rules = indexed("rules", message.rules, rule)?;
    let kind = match sent {
        wire::RouteKind::Http => RouteKind::Http,
        wire::RouteKind::Grpc => RouteKind::Grpc,
        wire::RouteKind::Tls => {
            let entries = indexed("entries", message.entries, |entry| {
                let rule = index(entry.rule, rules.len())?;
                Ok((entry.server_name, rule))
            })?;
            let names = SniTable::new(entries.iter().map(|(name, rule)| (name.as_str(), *rule)));
            return Ok(Routed::ServerNames(Arc::new((names, rules))));
        }
        wire::RouteKind::Tcp | wire::RouteKind::Udp => {
            // The first in order of precedence takes everything: such routes have no matches.
            let first = message.entries.first().map(|entry| index(entry.rule, rules.len())).transpose()?;
            let first = first.and_then(|first| rules.into_iter().nth(first));
            return Ok(Routed::Connections(first.map(Arc::new)));
        }
        wire::RouteKind::Unspecified => {
            return Err(Fault::new("kind", message.kind, "no kind of routes this agent knows"));
        }
    };
    let entries = indexed("entries", message.entries, |message| {
        let matches = http_match(message.http.unwrap_or_default()).map_err(|fault| fault.within("http"))?;
        Ok(RouteEntry { matches, rule: index(message.rule, rules.len())? })
    })?;
    let count = entries.len();
    RouteTable::new(kind, entries, rules)
        .map(|table| Routed::Requests(Arc::new(table)))
        .map_err(|_| Fault::new("entries", count, "more matches than a port takes"))
}

fn index(number: u32, rules: usize) -> Result<usize, Fault> {
    usize::try_from(number)
        .ok()
        .filter(|index| *index < rules)
        .ok_or_else(|| Fault::new("rule", number, "the table has no rule of that number"))
}

fn http_match(message: wire::HttpMatch) -> Result<HttpMatch, Fault> {
    let path = match message.path {
        Some(path) => path_match(&path).map_err(|fault| fault.within("path"))?,
        None => {
            path_match(&wire::PathMatch { r#type: wire::path_match::Type::Prefix.into(), value: "/".into() })?
        }
    };
    let method = match message.method.as_str() {
        "" => None,
        text => {
            let method = Method::from_bytes(text.as_bytes());
            Some(method.map_err(|_| Fault::new("method", text, "no method (RFC 9110, 9.1)"))?)
        }
    };
    let headers = indexed("headers", message.headers, |matcher| {
        let name = HeaderName::from_bytes(matcher.name.as_bytes());
        let name = name.map_err(|_| Fault::new("name", &matcher.name, "no name of a header field"))?;
        Ok(HeaderMatch { name, value: value_match(&matcher)? })
    })?;
    let queries = indexed("queries", message.queries, |matcher| {
        let value = value_match(&matcher)?;
        Ok(QueryMatch { name: matcher.name, value })
    })?;
    Ok(HttpMatch::new(path, method, headers, queries))
}

fn path_match(message: &wire::PathMatch) -> Result<PathMatch, Fault> {
    let value = message.value.as_str();
    let parsed = match message.r#type() {
        wire::path_match::Type::Exact => PathMatch::exact(value),
        wire::path_match::Type::Prefix => PathMatch::prefix(value),
        wire::path_match::Type::Regex => PathMatch::regex(value),
        wire::path_match::Type::Unspecified => {
            return Err(Fault::new("type", message.r#type, "no way to match paths this agent knows"));
        }
    };
    parsed.map_err(|error| Fault::new("value", error, "nothing can be matched by it"))
}

/// Of a route: access rules have two more ways.
fn value_match(message: &wire::ValueMatch) -> Result<ValueMatch, Fault> {
    match message.r#type() {
        wire::value_match::Type::Exact => Ok(ValueMatch::Exact(message.value.clone())),
        wire::value_match::Type::Regex => Pattern::new(&message.value)
            .map(ValueMatch::Regex)
            .map_err(|error| Fault::new("value", error, "nothing can be matched by it")),
        _ => Err(Fault::new("type", message.r#type, "no way to match values of a route this agent knows")),
    }
}

fn rule(message: wire::RouteRule) -> Result<RouteRule, Fault> {
    let fail = match message.fail_status {
        0 => None,
        number => Some(status("fail_status", number)?),
    };
    Ok(RouteRule {
        route: message.route.into(),
        name: message.rule.into(),
        filters: indexed("filters", message.filters, filter::filter)?,
        backends: Backends::new(indexed("backends", message.backends, backend)?),
        timeouts: message.timeouts.map(timeouts).unwrap_or_default(),
        retry: message.retry.map(retry).transpose()?,
        fail,
    })
}

fn status(field: &str, number: u32) -> Result<StatusCode, Fault> {
    let status = u16::try_from(number).ok().and_then(|number| StatusCode::from_u16(number).ok());
    status.ok_or_else(|| Fault::new(field, number, "no status (RFC 9110, 15)"))
}

fn timeouts(message: wire::RouteTimeouts) -> Timeouts {
    let wait = |milliseconds: Option<u64>| milliseconds.map(Duration::from_millis);
    Timeouts::new(wait(message.request_milliseconds), wait(message.backend_request_milliseconds))
}

fn retry(message: wire::RouteRetry) -> Result<Retry, Fault> {
    let codes = indexed("retry.codes", message.codes, |code| Ok(status("code", code)?.as_u16()))?;
    Retry::new(&codes, message.attempts, message.backoff_milliseconds.map(Duration::from_millis))
        .map_err(|error| Fault::new("retry.codes", error, "not a status to try again on"))
}

fn backend(message: wire::RouteBackend) -> Result<Backend, Fault> {
    let weight = message.weight;
    let filters = indexed("filters", message.filters.clone(), filter::filter)?;
    Ok(Backend { destination: destination(message)?, weight, filters })
}

/// What a port's Service says is spoken there.
pub(super) const fn app_protocol(said: wire::AppProtocol) -> AppProtocol {
    match said {
        wire::AppProtocol::Unknown => AppProtocol::Unknown,
        wire::AppProtocol::Http1 => AppProtocol::Http1,
        wire::AppProtocol::Http2 => AppProtocol::Http2,
        wire::AppProtocol::Grpc => AppProtocol::Grpc,
        wire::AppProtocol::Websocket => AppProtocol::WebSocket,
        wire::AppProtocol::Tcp => AppProtocol::Tcp,
        wire::AppProtocol::Tls => AppProtocol::Tls,
    }
}

fn destination(message: wire::RouteBackend) -> Result<Destination, Fault> {
    if !message.invalid.is_empty() {
        return Ok(Destination::Invalid(message.invalid.into()));
    }
    let protocol = app_protocol(message.app_protocol());
    if !message
        .service
        .split_once('/')
        .is_some_and(|(namespace, name)| !namespace.is_empty() && !name.is_empty())
    {
        return Err(Fault::new("service", &message.service, "not <namespace>/<name> of a Service"));
    }
    Ok(Destination::Service { port: port("port", message.port)?, service: message.service.into(), protocol })
}
