//! Which requests an access rule is about, parsed.

use http::{HeaderName, Method};
use mesh_api::resources as wire;
use mesh_l7::access::rule::{GrpcRule, HttpRule, Requests};
use mesh_l7::host::HostMatch;
use mesh_l7::matching::{HeaderMatch, PathMatch, Pattern, ValueMatch};

use super::error::Fault;
use super::field::indexed;

/// Parses `http` and `grpc` of a rule; with neither it is about every connection.
pub(super) fn parse_requests(
    http: Vec<wire::HttpRequests>,
    grpc: Vec<wire::GrpcRequests>,
) -> Result<Requests, Fault> {
    if http.is_empty() && grpc.is_empty() {
        return Ok(Requests::All);
    }
    let named = |name: String| Some(name).filter(|name| !name.is_empty());
    let call =
        |call: wire::GrpcRequests| GrpcRule { service: named(call.service), method: named(call.method) };
    Ok(Requests::Some {
        http: indexed("http", http, parse_http)?,
        grpc: grpc.into_iter().map(call).collect(),
    })
}

fn parse_http(message: wire::HttpRequests) -> Result<HttpRule, Fault> {
    Ok(HttpRule {
        methods: indexed("methods", message.methods, |method| {
            Method::from_bytes(method.as_bytes())
                .map_err(|_| Fault::new("method", method, "a method is a token, such as GET"))
        })?,
        paths: indexed("paths", message.paths, path_match)?,
        headers: indexed("headers", message.headers, header_match)?,
        hosts: indexed("hosts", message.hosts, |host| {
            HostMatch::parse(&host).map_err(|_| {
                Fault::new("host", host, "a host is a DNS name, or `*.` and one, without a port")
            })
        })?,
    })
}

/// Parses a matcher of paths.
pub(super) fn path_match(message: wire::PathMatch) -> Result<PathMatch, Fault> {
    use wire::path_match::Type;
    let value = message.value;
    let parsed = match Type::try_from(message.r#type) {
        Ok(Type::Exact) => PathMatch::exact(&value),
        Ok(Type::Prefix) => PathMatch::prefix(&value),
        Ok(Type::Regex) => PathMatch::regex(&value),
        _ => return Err(Fault::new("type", message.r#type, "no type this agent knows")),
    };
    parsed.map_err(|_| Fault::new("value", value, "no path, or no pattern, that requests can be matched by"))
}

/// Parses a matcher of a header field.
pub(super) fn header_match(message: wire::ValueMatch) -> Result<HeaderMatch, Fault> {
    let name = HeaderName::from_bytes(message.name.as_bytes())
        .map_err(|_| Fault::new("name", &message.name, "no name of a header field"))?;
    Ok(HeaderMatch { name, value: value_match(message)? })
}

/// Parses what a header field or query parameter has to be.
pub(super) fn value_match(message: wire::ValueMatch) -> Result<ValueMatch, Fault> {
    use wire::value_match::Type;
    let value = message.value;
    Ok(match Type::try_from(message.r#type) {
        Ok(Type::Exact) => ValueMatch::Exact(value),
        Ok(Type::Prefix) => ValueMatch::Prefix(value),
        Ok(Type::Present) => ValueMatch::Present,
        Ok(Type::Regex) => ValueMatch::Regex(
            Pattern::new(&value)
                .map_err(|_| Fault::new("value", value, "no pattern that values can be matched by"))?,
        ),
        _ => return Err(Fault::new("type", message.r#type, "no type this agent knows")),
    })
}
