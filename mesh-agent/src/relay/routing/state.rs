//! Services and routes by name, Services by address, and the backends that were asked for.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use mesh_l7::pick::Weighted;
use mesh_l7::table::route::Destination;

use crate::handover::EndpointEntry;
use crate::relay::engine::decide::{Backend, Balance, Protocol as Spoken};
use crate::relay::engine::routes::protocol;
use crate::relay::resource::{Protocol, Service, ServicePort, ServiceRoutes};

/// What is known.
#[derive(Debug, Default)]
pub(super) struct State {
    /// By resource name.
    services: HashMap<Arc<str>, Known>,
    routes: HashMap<Arc<str>, Arc<ServiceRoutes>>,
    /// Resource names of the Services with a cluster address.
    at: HashMap<IpAddr, BTreeSet<Arc<str>>>,
}

/// A Service, and the backends made of it.
#[derive(Debug)]
struct Known {
    service: Arc<Service>,
    backends: HashMap<Which, Arc<Backend>>,
}

/// A backend among those of a Service: it differs by what its endpoints are told that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Which {
    port: u16,
    spoken: Spoken,
    v4: bool,
}

/// A backend of a Service that is known.
pub(super) enum Kept {
    /// It has been asked for before.
    Made(Arc<Backend>),
    /// It has not.
    ToMake,
}

impl State {
    /// Takes or forgets a Service.
    pub(super) fn set_service(&mut self, name: &str, service: Option<&Arc<Service>>) {
        let before = self.services.remove(name);
        if let Some(before) = &before {
            for address in &before.service.addresses {
                if let Some(names) = self.at.get_mut(address) {
                    names.remove(name);
                    if names.is_empty() {
                        self.at.remove(address);
                    }
                }
            }
        }
        let Some(service) = service else { return };
        let name: Arc<str> = name.into();
        for &address in &service.addresses {
            self.at.entry(address).or_default().insert(Arc::clone(&name));
        }
        let backends = before.map(|before| before.still(service)).unwrap_or_default();
        self.services.insert(name, Known { service: Arc::clone(service), backends });
    }

    /// Takes or forgets the routes of a Service.
    pub(super) fn set_routes(&mut self, name: &str, routes: Option<&Arc<ServiceRoutes>>) {
        match routes {
            Some(routes) => self.routes.insert(name.into(), Arc::clone(routes)),
            None => self.routes.remove(name),
        };
    }

    /// The Service, and its port, that is dialled over TCP at a cluster address.
    pub(super) fn at(&self, address: IpAddr, port: u16) -> Option<(&Service, &ServicePort)> {
        self.at.get(&address)?.iter().find_map(|name| {
            let service = &self.services.get(name)?.service;
            Some((&**service, tcp_port(service, port)?))
        })
    }

    /// The routes of a Service.
    pub(super) fn routes(&self, service: &str) -> Option<&ServiceRoutes> {
        self.routes.get(service).map(|routes| &**routes)
    }

    /// The port of a Service that is a destination.
    pub(super) fn port(&self, destination: &Destination) -> Option<&ServicePort> {
        let Destination::Service { service, port, .. } = destination else { return None };
        tcp_port(&self.services.get(&**service)?.service, *port)
    }

    /// A backend, if it has been made; `None` where there is nothing to make it of.
    pub(super) fn backend(&self, destination: &Destination, v4: bool) -> Option<Kept> {
        let (service, which, _) = self.found(destination, v4)?;
        let made = self.services.get(service)?.backends.get(&which);
        Some(made.cloned().map_or(Kept::ToMake, Kept::Made))
    }

    /// A backend, made if it has not been.
    pub(super) fn make_backend(&mut self, destination: &Destination, v4: bool) -> Option<Arc<Backend>> {
        let (service, which, port) = self.found(destination, v4)?;
        let round_robin = self.services.get(service).is_some_and(|known| known.service.round_robin);
        let endpoints = endpoints(port, which.v4);
        let backend = Backend {
            name: format!("{service}:{}", which.port),
            protocol: which.spoken,
            balance: if round_robin { Balance::RoundRobin } else { Balance::LeastRequests },
            weights: Weighted::new(endpoints.iter().map(|endpoint| endpoint.weight)),
            picked: true,
            enrolled: endpoints
                .iter()
                .filter(|endpoint| endpoint.enrolled)
                .map(|endpoint| SocketAddr::new(endpoint.address, endpoint.port))
                .collect(),
            endpoints: endpoints
                .into_iter()
                .map(|endpoint| SocketAddr::new(endpoint.address, endpoint.port))
                .collect(),
            turn: AtomicU64::default(),
        };
        let made = &mut self.services.get_mut(service)?.backends;
        Some(Arc::clone(made.entry(which).or_insert_with(|| Arc::new(backend))))
    }

    fn found<'a>(&self, destination: &'a Destination, v4: bool) -> Option<(&'a str, Which, &ServicePort)> {
        let Destination::Service { service, port, protocol: said } = destination else { return None };
        let found = self.port(destination)?;
        let has = |v4: bool| found.endpoints.iter().any(|endpoint| endpoint.address.is_ipv4() == v4);
        let v4 = if has(v4) || !has(!v4) { v4 } else { !v4 };
        Some((service, Which { port: *port, spoken: protocol(*said), v4 }, found))
    }
}

impl Known {
    /// Those of its backends that `now` has no other endpoints for.
    fn still(mut self, now: &Service) -> HashMap<Which, Arc<Backend>> {
        self.backends.retain(|which, _| {
            let of = |service| tcp_port(service, which.port).map(|port| endpoints(port, which.v4));
            of(now).is_some_and(|now| Some(now) == of(&self.service))
                && now.round_robin == self.service.round_robin
        });
        self.backends
    }
}

fn tcp_port(service: &Service, port: u16) -> Option<&ServicePort> {
    service.ports.iter().find(|known| known.protocol == Protocol::Tcp && known.port == port)
}

/// The endpoints of one family, in an order of their own.
fn endpoints(port: &ServicePort, v4: bool) -> Vec<EndpointEntry> {
    let of_family = port.endpoints.iter().filter(|endpoint| endpoint.address.is_ipv4() == v4);
    let mut endpoints: Vec<_> = of_family.copied().collect();
    endpoints.sort_unstable();
    endpoints
}
