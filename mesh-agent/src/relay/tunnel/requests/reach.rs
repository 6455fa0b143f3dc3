//! Connects to endpoints in the name of a local pod, as the kernel would have for the pod itself.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use mesh_ebpf::abi::Reason;
use mesh_ebpf::egress::Transport;

use super::held::Held;
use super::way::{Endpoint, Way, way};
use crate::relay::engine::Io;
use crate::relay::engine::decide::{Backend, Dial, DialFailure, Kind};
use crate::relay::engine::socket::Socket;
use crate::relay::tunnel::Worker;
use crate::relay::tunnel::failure::Failure;
use crate::relay::tunnel::octets::Octets;
use crate::relay::tunnel::open::What;
use crate::relay::tunnel::request::{self, Wanted};
use crate::relay::tunnel::sockets::{Purpose, Sockets};

/// The connections of one pod.
pub(crate) struct Reach<S> {
    worker: Rc<Worker<S>>,
    /// UID of the pod.
    pod: Arc<str>,
    /// The application's own socket, as the other end of a tunnel is told.
    client: Option<SocketAddr>,
}

impl<S> Clone for Reach<S> {
    fn clone(&self) -> Self {
        Self { worker: Rc::clone(&self.worker), pod: Arc::clone(&self.pod), client: self.client }
    }
}

impl<S: Sockets> Reach<S> {
    /// Of a pod; `client` is its application's socket.
    pub(crate) fn new(worker: Rc<Worker<S>>, pod: Arc<str>, client: Option<SocketAddr>) -> Self {
        Self { worker, pod, client }
    }

    /// A stream to an endpoint, and the way that it took.
    ///
    /// # Errors
    /// When the pod may not go there, or cannot.
    pub(crate) async fn reach(&self, to: Endpoint) -> Result<(Io, Way), Failure> {
        let Self { worker, pod, client } = self;
        let resident = worker.world.resident(pod).ok_or_else(|| {
            Failure::new(Reason::EndpointGone, "discovery does not know the source pod as enrolled")
        })?;
        let way = way(&worker.world, &resident, to)?;
        let held = worker.open.held(pod);
        // From here on it is found when the pod ends.
        let place = worker.open.enter(pod, What::Stream);
        if way.transport == Transport::Tunnel {
            // The other end of a connection is shown one of its own family.
            let client = client.filter(|client| client.is_ipv4() == to.at.is_ipv4()).or_else(|| {
                let own = resident.addresses.iter().find(|own| own.is_ipv4() == to.at.is_ipv4())?;
                Some(SocketAddr::new(*own, client.map_or(0, |client| client.port())))
            });
            let wanted = Wanted::new(worker, resident, to.at, way.group, client)?;
            let opened = request::open(worker, &wanted, &|_| {}).await?;
            return Ok((Box::new(Held::new(Octets::from(opened), place)), way));
        }
        let own =
            resident.addresses.iter().find(|own| own.is_ipv4() == to.at.is_ipv4()).ok_or_else(|| {
                let text = format!(
                    "{}/{} has no address of the family of {}",
                    resident.namespace, resident.name, to.at
                );
                Failure::new(Reason::UpstreamUnreachable, text)
            })?;
        let purpose = Purpose::Behalf { address: *own, rule: way.rule };
        let socket = worker.sockets.connect(pod, to.at, purpose).await;
        let socket = socket.map_err(|error| Failure::of_delivery(&error, to.at))?;
        worker.spare(&socket, held)?;
        let socket = Socket::new(socket).map_err(|error| {
            Failure::new(Reason::SocketUnavailable, format!("preparing a socket: {error}"))
        })?;
        Ok((Box::new(Held::new(socket, place)), way))
    }
}

impl<S: Sockets> Dial for Reach<S> {
    fn kind(&self, backend: &Backend, endpoint: SocketAddr) -> Kind {
        let Some(resident) = self.worker.world.resident(&self.pod) else { return Kind::default() };
        match way(&self.worker.world, &resident, to(backend, endpoint)).map(|way| way.transport) {
            Ok(Transport::Direct) => Kind(1),
            Ok(Transport::Tunnel) => Kind(2),
            Ok(Transport::Plaintext) => Kind(3),
            // Dialling it says why not.
            Ok(Transport::Refused(_)) | Err(_) => Kind::default(),
        }
    }

    fn dial(
        &self,
        backend: &Backend,
        endpoint: SocketAddr,
    ) -> LocalBoxFuture<'static, Result<Io, DialFailure>> {
        let this = self.clone();
        let to = to(backend, endpoint);
        async move { this.reach(to).await.map(|(io, _)| io).map_err(|failure| dial_failure(&failure)) }
            .boxed_local()
    }
}

fn to(backend: &Backend, at: SocketAddr) -> Endpoint {
    Endpoint { at, picked: backend.picked, enrolled: backend.enrolled.contains(&at) }
}

/// A failure as the engine knows it.
pub(super) fn dial_failure(failure: &Failure) -> DialFailure {
    DialFailure {
        detail: format!("{}: {}", failure.reason.name(), failure.detail),
        exhausted: failure.reason == Reason::RelayExhausted,
    }
}
