//! What the workers know of Services: which port of one is dialled at an address, what routes make
//! of it for its callers, and where a backend's endpoints are.
//!
//! As [`World`](super::world::World): the control thread writes it as discovery changes, workers read it under a
//! lock held for a look-up. What is handed out is shared by reference count, so a request keeps the
//! routes and endpoints that it was decided by.

mod state;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use mesh_l7::host::Host;
use mesh_l7::table::route::Destination;

use super::engine::decide::Backend;
use super::resource::{Protocol, Routed, Service, ServiceRoutes};
use state::State;

/// What is known of Services and their routes.
#[derive(Debug)]
pub(crate) struct Routing {
    state: RwLock<State>,
}

/// A port of a Service, as it was dialled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dialled {
    /// The port: where what is dialled goes when no route says otherwise.
    pub destination: Destination,
    /// What stands for it in a URL: `<name>.<namespace>`.
    pub host: Host,
    /// `<namespace>/<name>:<port>`, for texts.
    pub name: Arc<str>,
    /// The port of the Service.
    pub port: u16,
    /// Its requests are looked at also where there are no routes.
    pub by_request: bool,
}

impl Routing {
    /// Nothing known.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: RwLock::default() })
    }

    /// Takes the Service of a resource name, or forgets it.
    pub(crate) fn set_service(&self, name: &str, service: Option<&Arc<Service>>) {
        self.write().set_service(name, service);
    }

    /// Takes the routes of a Service, or forgets them.
    pub(crate) fn set_routes(&self, name: &str, routes: Option<&Arc<ServiceRoutes>>) {
        self.write().set_routes(name, routes);
    }

    /// The port of a Service that is dialled over TCP at one of its cluster addresses. Routes do not apply
    /// to node ports, nor to external and load-balancer addresses (SEMANTICS 8).
    pub(crate) fn dialled(&self, at: SocketAddr) -> Option<Arc<Dialled>> {
        let state = self.read();
        let (service, port) = state.at(at.ip().to_canonical(), at.port())?;
        let host = Host::parse(&format!("{}.{}", service.name, service.namespace)).ok()?;
        let destination = Destination::Service {
            service: format!("{}/{}", service.namespace, service.name).into(),
            port: port.port,
            protocol: port.app_protocol,
        };
        let name = format!("{}/{}:{}", service.namespace, service.name, port.port).into();
        Some(Arc::new(Dialled { destination, host, name, port: port.port, by_request: port.by_request }))
    }

    /// What routes make of what was dialled, for callers of a namespace, now; `None` where there are none.
    pub(crate) fn routed(&self, dialled: &Dialled, namespace: &str) -> Option<Routed> {
        let Destination::Service { service, port, .. } = &dialled.destination else { return None };
        let state = self.read();
        let routes = state.routes(service)?.port(Protocol::Tcp, *port)?;
        routes.of(namespace).cloned()
    }

    /// The ready endpoints of a backend now: those of the wanted family, or of the other where there is
    /// none of that. The same one while they stay what they are, so that whose turn it is goes on.
    /// `None` where no Service of that name and port is known.
    pub(crate) fn backend(&self, destination: &Destination, v4: bool) -> Option<Arc<Backend>> {
        let known = self.read().backend(destination, v4)?;
        match known {
            state::Kept::Made(backend) => Some(backend),
            state::Kept::ToMake => self.write().make_backend(destination, v4),
        }
    }

    /// Whether a backend's Service says that the endpoint is an enrolled pod.
    pub(crate) fn is_enrolled(&self, destination: &Destination, endpoint: SocketAddr) -> bool {
        let address = endpoint.ip().to_canonical();
        self.read().port(destination).is_some_and(|port| {
            let mut endpoints = port.endpoints.iter();
            endpoints.any(|known| known.address == address && known.port == endpoint.port() && known.enrolled)
        })
    }

    // A writer that panicked left whole entries behind: every write is one insert or remove.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}
