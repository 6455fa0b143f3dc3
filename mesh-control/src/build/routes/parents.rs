//! The parents of a route that are Services, and the ports of them that it is for.

use mesh_api::{crd::Protocol, resources::AppProtocol};
use serde_json::Value;

use super::{
    super::{
        fields::{Problem, parse},
        service::{PortView, ServiceView},
    },
    written,
};
use crate::objects::{ObjectName, RouteKind};

/// Parents of a route, at most.
const PARENTS: usize = 32;

/// A parent that is a Service.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parent {
    /// As it is written, for the status.
    pub(super) written: Value,
    /// What it refers to, or what is wrong with it.
    pub(super) target: Result<Target, String>,
}

/// A Service, or some ports of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    pub(super) service: ObjectName,
    port_name: Option<String>,
    port: Option<u16>,
}

/// Why a route is not attached to a parent: a reason of `Accepted`, and a message.
pub(super) type NotAttached = (&'static str, String);

/// Reads the parents that are Services. Others are left to whom they belong.
pub(super) fn read(value: Option<&Value>, namespace: &str, problems: &mut Vec<Problem>) -> Vec<Parent> {
    let Some(value) = value else { return Vec::new() };
    let Some(values) = value.as_array() else {
        problems.push(Problem::invalid("spec.parentRefs", "must be a list"));
        return Vec::new();
    };
    let is_service = |value: &&Value| {
        let text = |field| value.get(field).and_then(Value::as_str);
        // Left out, the group is the Gateway API's own.
        text("group") == Some("") && text("kind") == Some("Service")
    };
    let services = values.iter().enumerate().filter(|(_, value)| is_service(value)).take(PARENTS);
    services
        .map(|(index, value)| {
            let target = parse::<written::ParentRef>(value, &format!("spec.parentRefs[{index}]"));
            let target = target.map(|written| Target {
                service: ObjectName::new(written.namespace.as_deref().unwrap_or(namespace), written.name),
                port_name: written.section_name.filter(|name| !name.is_empty()),
                port: written.port,
            });
            Parent { written: value.clone(), target: target.map_err(|problem| problem.message) }
        })
        .collect()
}

impl Target {
    /// The ports of its Service that routes of this kind are for.
    pub(super) fn ports(
        &self,
        of: RouteKind,
        view: Option<&ServiceView>,
    ) -> Result<Vec<(Protocol, u16)>, NotAttached> {
        let none = |message: String| Err(("NoMatchingParent", message));
        let name = &self.service;
        let Some(view) = view else { return none(format!("there is no Service {name}")) };
        if view.skipped || view.cluster_addresses.is_empty() {
            return none(format!(
                "Service {name} has no address of its own that is dialled: it is headless, of type ExternalName, or something else serves it"
            ));
        }
        let wanted = if of == RouteKind::Udp { Protocol::Udp } else { Protocol::Tcp };
        let named = |port: &&PortView| {
            self.port.is_none_or(|number| number == port.port)
                && self.port_name.as_ref().is_none_or(|name| *name == port.name)
        };
        let is_named = self.port.is_some() || self.port_name.is_some();
        let ports = view.ports.iter().filter(named).filter(|port| port.protocol == wanted);
        let ports: Vec<_> = ports
            .filter(|port| is_named || may_be(of, port.app_protocol))
            .map(|port| (port.protocol, port.port))
            .collect();
        if ports.is_empty() {
            let what = match (&self.port_name, self.port) {
                (Some(name), Some(port)) => format!(" that is {port} and has the name `{name}`"),
                (Some(name), None) => format!(" named `{name}`"),
                (None, Some(port)) => format!(" {port}"),
                (None, None) => String::new(),
            };
            let protocol = if wanted == Protocol::Udp { "UDP" } else { "TCP" };
            let what = format!("Service {name} has no {protocol} port{what} that a {} can be for", of.name());
            return none(what);
        }
        Ok(ports)
    }
}

/// Whether a route that names no port is for one that speaks this: a route for requests leaves a database's port
/// alone, and so on. The route itself tells where the Service says nothing.
fn may_be(kind: RouteKind, spoken: AppProtocol) -> bool {
    match kind {
        RouteKind::Grpc | RouteKind::Http => !matches!(spoken, AppProtocol::Tcp | AppProtocol::Tls),
        RouteKind::Tls => matches!(spoken, AppProtocol::Unknown | AppProtocol::Tcp | AppProtocol::Tls),
        RouteKind::Tcp | RouteKind::Udp => true,
    }
}
