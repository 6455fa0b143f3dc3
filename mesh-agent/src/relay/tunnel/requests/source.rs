//! The source's side: a pod's connection to what is routed, or to what its egress policy asks about by
//! request.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use mesh_ebpf::abi::{FlowRecord, Reason, Workload};
use mesh_l7::host::Host;
use mesh_l7::pick::Weighted;
use mesh_l7::table::RouteTable;
use mesh_l7::table::route::{AppProtocol, Destination};
use tokio::net::TcpStream;

use super::leaving::Leaving;
use super::reach::Reach;
use super::server_name;
use super::splice::splice;
use super::way::{Endpoint, question, way};
use crate::relay::engine::decide::{Backend, Decide};
use crate::relay::engine::detect::{Opaque, Speaks};
use crate::relay::engine::routes::{Routes, Services};
use crate::relay::engine::socket::Socket;
use crate::relay::engine::{self, Io, Served, Sharing};
use crate::relay::resource::{Mtls, Routed};
use crate::relay::routing::{Dialled, Routing};
use crate::relay::tunnel::failure::Failure;
use crate::relay::tunnel::open::Place;
use crate::relay::tunnel::report::requests::{About, Metered};
use crate::relay::tunnel::report::{Connection, PeerIdentity, Side};
use crate::relay::tunnel::sockets::Sockets;
use crate::relay::tunnel::{Pod, Worker};
use crate::relay::world::{Resident, World};

/// What became of a connection.
pub(in crate::relay::tunnel) enum Ended {
    /// Its requests were served, and told of one by one.
    Requests,
    /// Its octets were carried, or nothing was.
    Octets(Failure),
}

/// Whether octets of a pod that nobody reads may go to an endpoint.
pub(in crate::relay::tunnel) fn may_leave_unread(world: &World, pod: &Resident, to: Endpoint) -> bool {
    match way(world, pod, to) {
        Err(_) => false,
        Ok(way) if !way.deferred => true,
        Ok(_) => pod.rules.as_ref().is_some_and(|rules| {
            let there = world.whereabouts(to.at.ip());
            let verdict = rules.egress.connection(&question(there, to.at)).not_http();
            let proves = there.is_some_and(|there| there.flags & Workload::ENROLLED != 0);
            verdict.allowed && (proves || rules.egress.mtls(verdict.by) != Mtls::Required)
        }),
    }
}

/// Whether the pod's egress policy asks about requests to an address.
fn depends<S>(worker: &Worker<S>, pod: &Resident, at: SocketAddr) -> bool {
    pod.egress.decide(&question(worker.world.whereabouts(at.ip()), at)).deferred
}

/// How long a connection waits for the first whole state of a relay that has just started.
const WHOLE_WITHIN: Duration = Duration::from_secs(5);

/// One connection of a pod.
struct From<'a, S> {
    worker: &'a Rc<Worker<S>>,
    pod: &'a Pod,
    resident: &'a Resident,
    place: &'a Place,
    reach: Reach<S>,
}

/// Serves a connection that the kernel left to the engine, to its end.
pub(in crate::relay::tunnel) async fn serve<S: Sockets>(
    (worker, pod, resident): (&Rc<Worker<S>>, &Pod, &Resident),
    socket: TcpStream,
    record: &FlowRecord,
    place: &Place,
    connection: &mut Connection,
) -> Ended {
    let client = connection.report.source;
    let from = From {
        worker,
        pod,
        resident,
        place,
        reach: Reach::new(Rc::clone(worker), Arc::clone(&pod.uid), client),
    };
    let dialled = SocketAddr::new(IpAddr::from(record.dialled), record.dialled_port);
    let endpoint = SocketAddr::new(IpAddr::from(record.endpoint), record.endpoint_port);
    let socket: Io = match Socket::new(socket) {
        Ok(socket) => Box::new(socket),
        Err(error) => {
            return Ended::Octets(Failure::new(
                Reason::Cancelled,
                format!("the application's socket: {error}"),
            ));
        }
    };
    if !worker.world.whole_within(WHOLE_WITHIN).await {
        let text = "relay has started just now and was not told yet which routes there are";
        return Ended::Octets(Failure::new(Reason::Draining, text));
    }
    let service = worker.routing.dialled(dialled);
    match service {
        // No endpoint was picked: it is the routes' to say.
        Some(service) if endpoint == dialled => from.routed(socket, &service, dialled, connection).await,
        // A Service's address that no Service has any more.
        None if endpoint == dialled && !depends(worker, resident, dialled) => {
            from.nowhere(format!("{dialled} is no Service's address any more"))
        }
        service => from.dialled(socket, service.as_deref(), endpoint, dialled, connection).await,
    }
}

impl<S: Sockets> From<'_, S> {
    /// To a Service whose port has routes, or had them when the kernel looked.
    async fn routed(
        &self,
        mut socket: Io,
        service: &Arc<Dialled>,
        dialled: SocketAddr,
        connection: &mut Connection,
    ) -> Ended {
        let v4 = dialled.is_ipv4();
        match self.worker.routing.routed(service, &self.resident.namespace) {
            Some(Routed::Requests(_)) => self.by_routes(socket, service, dialled, connection).await,
            None if service.by_request => self.by_routes(socket, service, dialled, connection).await,
            Some(Routed::ServerNames(routes)) => {
                let (name, first) = match server_name::read(&mut socket).await {
                    Ok(read) => read,
                    Err(error) => return Ended::Octets(Failure::new(Reason::NoRoute, error.to_string())),
                };
                let (names, rules) = &*routes;
                let Some(rule) = names.find(name.as_deref()).and_then(|rule| rules.get(rule)) else {
                    let asked = name.as_deref().unwrap_or("none");
                    let text = format!("{}: no TLSRoute takes the server name {asked}", service.name);
                    return Ended::Octets(Failure::new(Reason::NoRoute, text));
                };
                match rule.backends.pick(self.worker.engine.random()).map(|picked| &picked.destination) {
                    None => {
                        self.nowhere(format!("{} {}: no backend of weight above 0", rule.route, rule.name))
                    }
                    Some(Destination::Invalid(why)) => {
                        self.nowhere(format!("{} {}: {why}", rule.route, rule.name))
                    }
                    Some(picked) => self.unread(socket, first, picked, v4, connection).await,
                }
            }
            Some(Routed::Connections(_)) | None => {
                self.unread(socket, Bytes::new(), &service.destination, v4, connection).await
            }
        }
    }

    /// To a port that speaks HTTP: each request by the routes that are there when it comes.
    async fn by_routes(
        &self,
        socket: Io,
        service: &Arc<Dialled>,
        dialled: SocketAddr,
        connection: &mut Connection,
    ) -> Ended {
        let known = Known {
            routing: Arc::clone(&self.worker.routing),
            dialled: Arc::clone(service),
            namespace: self.resident.namespace.as_str().into(),
            v4: dialled.is_ipv4(),
        };
        let routes = Routes::new(known, service.destination.clone(), service.host.clone(), service.port);
        self.requests(socket, routes, Speaks::Http, Some(service), dialled, connection).await
    }

    /// To an endpoint that the application dialled itself, or that the kernel has picked: the egress
    /// policy of the pod asks about its requests.
    async fn dialled(
        &self,
        socket: Io,
        service: Option<&Dialled>,
        endpoint: SocketAddr,
        dialled: SocketAddr,
        connection: &mut Connection,
    ) -> Ended {
        let spoken = service.map(|service| &service.destination);
        let spoken = match spoken {
            Some(Destination::Service { protocol, .. }) => *protocol,
            _ => AppProtocol::Unknown,
        };
        let picked = endpoint != dialled;
        let enrolled =
            service.is_some_and(|service| self.worker.routing.is_enrolled(&service.destination, endpoint));
        let to = Endpoint { at: endpoint, picked, enrolled };
        let backend = Arc::new(Backend {
            name: service.map_or_else(|| endpoint.to_string(), |service| service.name.to_string()),
            endpoints: vec![endpoint],
            weights: Weighted::new([1]),
            enrolled: Some(endpoint).into_iter().filter(|_| enrolled).collect(),
            picked,
            protocol: engine::routes::protocol(spoken),
            ..Backend::default()
        });
        let destination = Destination::Invalid("".into());
        let host = Host::parse(&dialled.to_string());
        let Ok(host) = host.or_else(|_| Host::parse("endpoint")) else {
            return self.nowhere("the endpoint has no name".to_owned());
        };
        let speaks = match spoken {
            AppProtocol::Http1 | AppProtocol::Http2 | AppProtocol::Grpc | AppProtocol::WebSocket => {
                Speaks::Http
            }
            // A server that speaks first is let, where policy lets what is no request.
            _ if may_leave_unread(&self.worker.world, self.resident, to) => Speaks::Unknown,
            _ => Speaks::HttpOrNothing,
        };
        let routes = Routes::new(Fixed(backend), destination, host, dialled.port());
        self.requests(socket, routes, speaks, service, dialled, connection).await
    }

    async fn requests(
        &self,
        socket: Io,
        decide: impl Decide + 'static,
        speaks: Speaks,
        service: Option<&Dialled>,
        dialled: SocketAddr,
        connection: &mut Connection,
    ) -> Ended {
        let Self { worker, pod, resident, .. } = self;
        let about = About {
            side: Side::Source,
            pod: Arc::clone(&pod.uid),
            own: Some(Arc::clone(&resident.id)),
            source: connection.report.source,
            peer: PeerIdentity::Unknown,
            dialled: Some(dialled),
            service: service.map(|service| Arc::clone(&service.name)),
            destination_port: Some(dialled.port()),
        };
        let served = worker.engine.serve(
            Box::new(Metered::new(socket, worker.reporter.counts())),
            engine::Connection {
                decide: Rc::new(Leaving::new(decide, Arc::clone(&worker.world), Arc::clone(&pod.uid))),
                dial: Rc::new(self.reach.clone()),
                tell: worker.reporter.requests(about),
                speaks,
                pod: Arc::clone(&pod.uid),
                sharing: Sharing::Among(Arc::clone(&pod.uid)),
            },
        );
        match served.await {
            Served::Http => Ended::Requests,
            Served::Opaque { stream, first, what } => self.opaque(stream, first, what, connection).await,
        }
    }

    /// What turned out to be no HTTP, on its way to the endpoint that was dialled or picked.
    async fn opaque(&self, socket: Io, first: Bytes, what: Opaque, connection: &mut Connection) -> Ended {
        let Some(at) = connection.report.destination else {
            return self.nowhere("nothing was picked".to_owned());
        };
        let dialled = connection.report.dialled;
        let service = dialled.and_then(|dialled| self.worker.routing.dialled(dialled));
        let enrolled =
            service.is_some_and(|service| self.worker.routing.is_enrolled(&service.destination, at));
        let to = Endpoint { at, picked: dialled != Some(at), enrolled };
        if !may_leave_unread(&self.worker.world, self.resident, to) {
            let text = format!(
                "{}/{} to {at}: only rules about requests could allow it, and {}",
                self.resident.namespace,
                self.resident.name,
                spoken(what)
            );
            return Ended::Octets(Failure::new(Reason::L7RequiredNotHttp, text));
        }
        self.carried(socket, first, to, connection).await
    }

    /// Octets to one of a backend's endpoints.
    async fn unread(
        &self,
        socket: Io,
        first: Bytes,
        to: &Destination,
        v4: bool,
        connection: &mut Connection,
    ) -> Ended {
        let Some(backend) = self.worker.routing.backend(to, v4) else {
            return self.nowhere(format!("{to:?} is not known on this node"));
        };
        let Some(at) = backend
            .weights
            .pick(self.worker.engine.random(), &[])
            .and_then(|index| backend.endpoints.get(index))
            .copied()
        else {
            return self.nowhere(format!("{} has no endpoint that is ready", backend.name));
        };
        let to = Endpoint { at, picked: true, enrolled: backend.enrolled.contains(&at) };
        if !may_leave_unread(&self.worker.world, self.resident, to) {
            let Err(denied) = way(&self.worker.world, self.resident, to) else {
                let text =
                    format!("{at}: only rules about requests could allow it, and what came is not read");
                return Ended::Octets(Failure::new(Reason::L7RequiredNotHttp, text));
            };
            return Ended::Octets(denied);
        }
        connection.report.destination = Some(at);
        self.carried(socket, first, to, connection).await
    }

    async fn carried(&self, socket: Io, first: Bytes, to: Endpoint, connection: &mut Connection) -> Ended {
        // From here on a change of policy finds it, also while it connects.
        self.place.leave(to);
        match self.reach.reach(to).await {
            Err(failure) => Ended::Octets(failure),
            Ok((endpoint, way)) => {
                connection.report.rule = way.rule;
                connection.report.set = self.resident.egress.id();
                connection.report.audit_rule = way.audit_rule;
                connection.opened();
                self.worker.reporter.counts().engine_unread.fetch_add(1, Ordering::Relaxed);
                Ended::Octets(splice(socket, first, endpoint, connection).await)
            }
        }
    }

    fn nowhere(&self, text: String) -> Ended {
        Ended::Octets(Failure::new(Reason::NoEndpoint, text))
    }
}

/// What a client speaks that is not HTTP, in words.
pub(super) fn spoken(what: Opaque) -> &'static str {
    match what {
        Opaque::Tls => "the client speaks TLS, which is not looked into",
        Opaque::Other => "the client does not speak HTTP",
        Opaque::Silent => "the client has not said that it speaks HTTP",
    }
}

/// The Services of one connection to a Service.
struct Known {
    routing: Arc<Routing>,
    dialled: Arc<Dialled>,
    namespace: Arc<str>,
    v4: bool,
}

impl Services for Known {
    fn routes(&self) -> Option<Arc<RouteTable>> {
        match self.routing.routed(&self.dialled, &self.namespace) {
            Some(Routed::Requests(table)) => Some(table),
            _ => None,
        }
    }

    fn backend(&self, destination: &Destination) -> Option<Arc<Backend>> {
        self.routing.backend(destination, self.v4)
    }
}

/// One endpoint and no routes.
struct Fixed(Arc<Backend>);

impl Services for Fixed {
    fn routes(&self) -> Option<Arc<RouteTable>> {
        None
    }

    fn backend(&self, _: &Destination) -> Option<Arc<Backend>> {
        Some(Arc::clone(&self.0))
    }
}
