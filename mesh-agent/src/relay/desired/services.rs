//! Services, their routes, and the entries that these compile to.
//!
//! An entry is compiled from what is held whenever it is needed: its endpoints are held once, with the
//! Service whose they are. Routes of connections put endpoints of one Service into entries of another, so a change
//! of a Service is one of all whose routes lead to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_l7::table::route::Destination;

use crate::handover::ServiceEntry;
use crate::relay::compile::port_entries;
use crate::relay::resource::{Protocol, Routed, Service, ServiceRoutes};

/// What is known of Services.
#[derive(Debug, Default)]
pub(super) struct Services {
    /// By resource name.
    known: BTreeMap<String, Arc<Service>>,
    /// By the resource name of their Service.
    routes: BTreeMap<String, Arc<ServiceRoutes>>,
    /// By a Service: those whose routes lead connections to it.
    led_here: BTreeMap<Arc<str>, BTreeSet<String>>,
    /// By id: what an entry is of.
    entries: BTreeMap<u64, ServicePortName>,
    /// Which entry is dialled at (address, port, protocol).
    frontends: HashMap<(IpAddr, u16, u8), u64>,
}

/// The port of a Service that an entry is of.
#[derive(Debug)]
pub(crate) struct ServicePortName {
    /// `<namespace>/<name>:<port>`.
    pub name: String,
    /// The resource it is made of.
    resource: String,
    protocol: Protocol,
    port: u16,
}

/// An entry, and what it is of.
struct Compiled {
    of: ServicePortName,
    entry: ServiceEntry,
}

impl Services {
    /// Takes or forgets a Service; gives the entries that are other than before.
    pub(super) fn set(&mut self, name: &str, service: Option<Service>) -> Vec<u64> {
        if self.known.get(name).map(|known| &**known) == service.as_ref() {
            return Vec::new();
        }
        let led_here = self.led_here.get(name).into_iter().flatten().cloned();
        let affected: BTreeSet<String> = led_here.chain([name.to_owned()]).collect();
        self.change(&affected, |services| match service {
            Some(service) => services.known.insert(name.to_owned(), Arc::new(service)),
            None => services.known.remove(name),
        })
    }

    /// Takes or forgets the routes of a Service; gives the entries that are other than before.
    pub(super) fn set_routes(&mut self, name: &str, routes: Option<Arc<ServiceRoutes>>) -> Vec<u64> {
        if self.routes.get(name) == routes.as_ref() {
            return Vec::new();
        }
        self.change(&[name.to_owned()].into(), |services| {
            for backend in services.routes.get(name).map(|routes| led_to(routes)).unwrap_or_default() {
                if let Some(names) = services.led_here.get_mut(&backend) {
                    names.remove(name);
                    if names.is_empty() {
                        services.led_here.remove(&backend);
                    }
                }
            }
            for backend in routes.as_deref().map(led_to).unwrap_or_default() {
                services.led_here.entry(backend).or_default().insert(name.to_owned());
            }
            match routes {
                Some(routes) => services.routes.insert(name.to_owned(), routes),
                None => services.routes.remove(name),
            };
        })
    }

    /// Does `edit` and gives the entries of these Services that are other for it.
    fn change<R>(&mut self, resources: &BTreeSet<String>, edit: impl FnOnce(&mut Self) -> R) -> Vec<u64> {
        let before = self.compiled(resources);
        edit(self);
        let after = self.compiled(resources);
        let other = |one: &Compiled, id: &u64, there: &BTreeMap<u64, Compiled>| {
            there.get(id).is_none_or(|there| there.entry != one.entry)
        };
        let gone: Vec<_> = before.iter().filter(|(id, was)| other(was, id, &after)).collect();
        for (id, was) in &gone {
            self.forget(**id, was);
        }
        let mut changed: Vec<u64> = gone.into_iter().map(|(id, _)| *id).collect();
        for (id, now) in after.into_iter().filter(|(id, now)| other(now, id, &before)) {
            for &(address, port) in &now.entry.frontends {
                self.frontends.insert((address, port, now.entry.protocol), id);
            }
            self.entries.insert(id, now.of);
            changed.push(id);
        }
        changed
    }

    fn forget(&mut self, id: u64, was: &Compiled) {
        if self.entries.get(&id).is_some_and(|of| of.resource == was.of.resource) {
            self.entries.remove(&id);
        }
        for &(address, port) in &was.entry.frontends {
            let frontend = (address, port, was.entry.protocol);
            if self.frontends.get(&frontend) == Some(&id) {
                self.frontends.remove(&frontend);
            }
        }
    }

    fn compiled(&self, resources: &BTreeSet<String>) -> BTreeMap<u64, Compiled> {
        let mut compiled = BTreeMap::new();
        for resource in resources {
            for port in self.known.get(resource).into_iter().flat_map(|service| &service.ports) {
                let entries = self.entries_of_port(resource, port.protocol, port.port);
                compiled.extend(entries.into_iter().map(|entry| {
                    let (name, resource) = (entry.name.clone(), resource.clone());
                    let of = ServicePortName { name, resource, protocol: port.protocol, port: port.port };
                    (entry.id, Compiled { of, entry })
                }));
            }
        }
        compiled
    }

    fn entries_of_port(&self, resource: &str, protocol: Protocol, port: u16) -> Vec<ServiceEntry> {
        let Some(service) = self.known.get(resource) else { return Vec::new() };
        let mut ports = service.ports.iter();
        let Some(port) = ports.find(|known| known.protocol == protocol && known.port == port) else {
            return Vec::new();
        };
        let routes = self.routes.get(resource).map(|routes| &**routes);
        port_entries(service, port, routes, &|backend| self.known.get(backend).map(|service| &**service))
    }

    /// An entry.
    pub(super) fn entry(&self, id: u64) -> Option<ServiceEntry> {
        let of = self.entries.get(&id)?;
        let entries = self.entries_of_port(&of.resource, of.protocol, of.port);
        entries.into_iter().find(|entry| entry.id == id)
    }

    /// The entries of a Service.
    pub(super) fn entries_of(&self, resource: &str) -> impl Iterator<Item = u64> {
        self.compiled(&[resource.to_owned()].into()).into_keys()
    }

    /// Every entry.
    pub(super) fn ids(&self) -> impl Iterator<Item = u64> {
        self.entries.keys().copied()
    }

    /// The port of a Service that is dialled at an address.
    pub(super) fn at(&self, address: IpAddr, port: u16, protocol: u8) -> Option<&ServicePortName> {
        self.entries.get(self.frontends.get(&(address, port, protocol))?)
    }

    /// The Services by resource name.
    pub(super) fn known(&self) -> &BTreeMap<String, Arc<Service>> {
        &self.known
    }

    /// The routes by the resource name of their Service.
    pub(super) fn routes(&self) -> &BTreeMap<String, Arc<ServiceRoutes>> {
        &self.routes
    }
}

/// The Services that routes lead connections to.
fn led_to(routes: &ServiceRoutes) -> BTreeSet<Arc<str>> {
    let rules = routes.tables().filter_map(|table| match table {
        Routed::Connections(rule) => rule.as_deref(),
        Routed::Requests(_) | Routed::ServerNames(_) => None,
    });
    let services =
        rules.flat_map(|rule| rule.backends.list()).filter_map(|backend| match &backend.destination {
            Destination::Service { service, .. } => Some(Arc::clone(service)),
            Destination::Invalid(_) => None,
        });
    services.collect()
}
