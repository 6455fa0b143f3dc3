//! References to Services, resolved against those that there are.

use std::{collections::BTreeMap, sync::Arc};

use mesh_api::{
    crd::Protocol,
    resources::{AppProtocol, RouteBackend},
};

use super::{super::service::ServiceView, guarded::Guarded, written};
use crate::objects::{ObjectName, RouteKind};

/// What a reference names, as far as it can be judged on its own.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reference {
    /// A port of a Service.
    Service(ObjectName, Option<u16>),
    /// Something that is no backend here, and why.
    Other(String),
}

/// Why a reference leads nowhere that may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unresolved {
    /// A reason of `ResolvedRefs`.
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The Services that there are, and of which of them TLS is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Services<'a> {
    pub(super) views: &'a BTreeMap<ObjectName, Arc<ServiceView>>,
    pub(super) guarded: &'a Guarded,
}

impl Reference {
    /// Reads it, in a route of this namespace.
    pub(super) fn of(written: &written::BackendRef, namespace: &str) -> Self {
        let (group, kind) =
            (written.group.as_deref().unwrap_or_default(), written.kind.as_deref().unwrap_or("Service"));
        if !group.is_empty() || kind != "Service" {
            let group = if group.is_empty() { "core" } else { group };
            return Self::Other(format!(
                "{kind} {} of group {group}: only Services of the core group can be backends",
                written.name
            ));
        }
        let namespace = written.namespace.as_deref().unwrap_or(namespace);
        Self::Service(ObjectName::new(namespace, &written.name), written.port)
    }

    /// The Service that is named.
    pub(super) fn service(&self) -> Option<&ObjectName> {
        match self {
            Self::Service(name, _) => Some(name),
            Self::Other(_) => None,
        }
    }

    /// As nodes are told, and what is wrong with it if anything is. A reference into another namespace needs no
    /// ReferenceGrant: who calls could as well dial that Service itself, and is judged there by its own identity
    /// (GEP-1294, section "Namespace boundaries").
    pub(super) fn resolve(
        &self,
        of: RouteKind,
        services: &Services<'_>,
    ) -> (RouteBackend, Option<Unresolved>) {
        let mut backend = RouteBackend { weight: 1, ..RouteBackend::default() };
        match self.find(of, services) {
            Ok((name, port, app_protocol)) => {
                backend.service = name.to_string();
                backend.port = port.into();
                backend.app_protocol = app_protocol.into();
                (backend, None)
            }
            Err(unresolved) => {
                backend.invalid.clone_from(&unresolved.message);
                (backend, Some(unresolved))
            }
        }
    }

    fn find<'a>(
        &'a self,
        of: RouteKind,
        services: &Services<'_>,
    ) -> Result<(&'a ObjectName, u16, AppProtocol), Unresolved> {
        let not_found = |message: String| Unresolved { reason: "BackendNotFound", message };
        let (name, port) = match self {
            Self::Other(message) => {
                return Err(Unresolved { reason: "InvalidKind", message: message.clone() });
            }
            Self::Service(name, port) => (name, *port),
        };
        let view =
            services.views.get(name).ok_or_else(|| not_found(format!("there is no Service {name}")))?;
        if view.skipped {
            return Err(not_found(format!(
                "Service {name} has no endpoints of its own: it is of type ExternalName, or something else serves it"
            )));
        }
        let port =
            port.ok_or_else(|| not_found(format!("Service {name} is named without a port; write one")))?;
        let mut ports = view.ports.iter().filter(|view| view.port == port).peekable();
        if ports.peek().is_none() {
            return Err(not_found(format!("Service {name} has no port {port}")));
        }
        let wanted = if of == RouteKind::Udp { Protocol::Udp } else { Protocol::Tcp };
        let unsupported = |what: &str| Unresolved {
            reason: "UnsupportedProtocol",
            message: format!("port {port} of Service {name} {what}"),
        };
        let found = ports.find(|port| port.protocol == wanted);
        let Some(found) = found else {
            let what = if of == RouteKind::Udp { "is not a UDP port" } else { "is not a TCP port" };
            return Err(unsupported(what));
        };
        if let Some(policy) = services.guarded.by(name, &found.name) {
            let what =
                format!("is to be spoken to by TLS (BackendTLSPolicy {policy}), which is not built yet");
            return Err(unsupported(&what));
        }
        if matches!(of, RouteKind::Http | RouteKind::Grpc) && found.app_protocol == AppProtocol::Tls {
            return Err(unsupported("speaks TLS of its own, and requests are not encrypted for it"));
        }
        Ok((name, port, found.app_protocol))
    }
}
