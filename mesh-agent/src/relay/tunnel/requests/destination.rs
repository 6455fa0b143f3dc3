//! The destination's side: a connection into a pod whose policy asks about requests, whoever the client
//! is and however it came.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use mesh_ebpf::abi::{Origin, Reason};
use mesh_l7::access::{Connection as Rules, Decider};
use mesh_l7::pick::Weighted;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::held::Held;
use super::reach::dial_failure;
use super::source::{Ended, spoken};
use super::splice::splice;
use crate::relay::engine::decide::{Backend, Dial, DialFailure};
use crate::relay::engine::detect::Speaks;
use crate::relay::engine::guard::{Access, Guard};
use crate::relay::engine::socket::Socket;
use crate::relay::engine::{self, Io, Served, Sharing};
use crate::relay::tunnel::copy::abort_on_close;
use crate::relay::tunnel::failure::Failure;
use crate::relay::tunnel::open::{Admitted, Carried, Place, Standing, What};
use crate::relay::tunnel::report::requests::{About, Metered};
use crate::relay::tunnel::report::{Connection, Side};
use crate::relay::tunnel::sockets::{Purpose, Sockets};
use crate::relay::tunnel::{Pod, Worker};
use crate::relay::world::Resident;

/// A client that the pod's policy knows by its connection.
#[derive(Debug, Clone)]
pub(in crate::relay::tunnel) struct Arrived {
    /// Who it is, and at which port.
    pub admitted: Admitted,
    /// Its true address, as the application is shown it.
    pub client: SocketAddr,
    /// The pod's address and port that it asked for.
    pub to: SocketAddr,
}

/// Takes a connection that the gate handed over because requests are to be judged, to its end.
pub(in crate::relay::tunnel) async fn accept<S: Sockets>(
    worker: Rc<Worker<S>>,
    pod: Pod,
    socket: TcpStream,
    mut connection: Connection,
) {
    let place = worker.open.enter(&pod.uid, What::Stream);
    let ended = tokio::select! {
        biased;
        reason = place.closer().closed() => Ended::Octets(Failure::new(reason, "closed by this node")),
        ended = admit(&worker, &pod, socket, &place, &mut connection) => ended,
    };
    match ended {
        Ended::Requests => connection.forget(),
        Ended::Octets(failure) => connection.end(failure.reason, &*failure.detail),
    }
}

async fn admit<S: Sockets>(
    worker: &Rc<Worker<S>>,
    pod: &Pod,
    socket: TcpStream,
    place: &Place,
    connection: &mut Connection,
) -> Ended {
    let refused = |reason, text: String| Ended::Octets(Failure::new(reason, text));
    let named = abort_on_close(&socket)
        .and_then(|()| socket.set_nodelay(true))
        .and_then(|()| Ok((worker.sockets.peer(&socket)?, worker.sockets.local(&socket)?)));
    let (client, to) = match named {
        Ok(named) => named,
        Err(error) => return refused(Reason::Cancelled, format!("the client's socket: {error}")),
    };
    connection.report.source = Some(client);
    connection.report.destination = Some(to);
    if let Err(failure) = worker.spare(&socket, worker.open.held(&pod.uid)) {
        return Ended::Octets(failure);
    }
    let Some(resident) = worker.world.resident(&pod.uid) else {
        return refused(Reason::EndpointGone, "discovery does not know the pod as enrolled".to_owned());
    };
    connection.report.own = Some(Arc::clone(&resident.id));
    // What the gate saw at the first packet may have changed since; it is asked again here.
    let standing = match worker.sockets.record(&socket) {
        Ok(Some(record)) if record.origin == Origin::Pod as u8 && worker.world.has_local_proof() => {
            Standing::Seen(record.group)
        }
        Ok(_) => Standing::Unproven,
        Err(error) => {
            let detail = format!(
                "reading the flow's record: {error}; the mesh's getsockopt program is not attached to this agent's cgroup (`meshctl check`)"
            );
            return refused(Reason::FlowUnknown, detail);
        }
    };
    let admitted = Admitted { address: client.ip(), standing, port: to.port(), carried: Carried::Requests };
    let verdict = worker.judge(&resident, &admitted);
    connection.report.set = resident.ingress.id();
    connection.report.rule = verdict.rule;
    if !verdict.allowed && !verdict.deferred {
        let text = format!("the policy of {}/{} has changed meanwhile", resident.namespace, resident.name);
        return refused(Reason::of_rule(verdict.rule), text);
    }
    let socket = match Socket::new(socket) {
        Ok(socket) => Box::new(socket),
        Err(error) => return refused(Reason::Cancelled, format!("the client's socket: {error}")),
    };
    serve((worker, pod, &resident), socket, Arrived { admitted, client, to }, place, connection).await
}

/// Serves what came, by request, to its end.
pub(in crate::relay::tunnel) async fn serve<S: Sockets>(
    (worker, pod, resident): (&Rc<Worker<S>>, &Pod, &Resident),
    stream: Io,
    arrived: Arrived,
    place: &Place,
    connection: &mut Connection,
) -> Ended {
    let Arrived { admitted, client, to } = arrived;
    let proven = !matches!(admitted.standing, Standing::Unproven);
    let policy = Policy { worker: Rc::clone(worker), pod: Arc::clone(&pod.uid), admitted: admitted.clone() };
    let unread = |policy: &Policy<S>| policy.now().map(|rules| rules.not_http());
    // Silence is no answer where only requests could be allowed.
    let speaks = match unread(&policy) {
        Some(verdict) if verdict.allowed => Speaks::Unknown,
        _ => Speaks::HttpOrNothing,
    };
    place.admit(admitted.clone());
    let backend = Arc::new(Backend {
        name: format!("{}/{}", resident.namespace, resident.name),
        endpoints: vec![to],
        weights: Weighted::new([1]),
        ..Backend::default()
    });
    let delivery = Delivery { worker: Rc::clone(worker), pod: Arc::clone(&pod.uid), client };
    let about = About {
        side: Side::Destination,
        pod: Arc::clone(&pod.uid),
        own: Some(Arc::clone(&resident.id)),
        source: Some(client),
        peer: connection.report.peer.clone(),
        dialled: Some(to),
        service: None,
        destination_port: Some(to.port()),
    };
    let delivery = Rc::new(delivery);
    let served = worker.engine.serve(
        Box::new(Metered::new(stream, worker.reporter.counts())),
        engine::Connection {
            decide: Rc::new(Guard::new(policy.clone(), proven, backend)),
            dial: Rc::clone(&delivery) as Rc<dyn Dial>,
            tell: worker.reporter.requests(about),
            speaks,
            pod: Arc::clone(&pod.uid),
            // The application is shown each client by its own connection.
            sharing: Sharing::Nobody,
        },
    );
    let (stream, first, what) = match served.await {
        Served::Http => return Ended::Requests,
        Served::Opaque { stream, first, what } => (stream, first, what),
    };
    let by = match unread(&policy) {
        Some(verdict) if verdict.allowed => {
            connection.report.audit_rule = None;
            None
        }
        Some(verdict) => Some(verdict.by),
        None => Some(Decider::Default),
    };
    if let Some(by) = by {
        let reason = if by == Decider::NotHttp { Reason::L7RequiredNotHttp } else { Reason::PolicyDenied };
        let text = format!(
            "{client} to {}/{} port {}: only rules about requests could allow it, and {}",
            resident.namespace,
            resident.name,
            to.port(),
            spoken(what)
        );
        return Ended::Octets(Failure::new(reason, text));
    }
    place.admit(Admitted { carried: Carried::Octets, ..admitted });
    match delivery.deliver(to).await {
        Err(failure) => Ended::Octets(failure),
        Ok(application) => {
            connection.opened();
            worker.reporter.counts().engine_unread.fetch_add(1, Ordering::Relaxed);
            Ended::Octets(splice(stream, first, application, connection).await)
        }
    }
}

/// The pod's policy, as it is for one client.
struct Policy<S> {
    worker: Rc<Worker<S>>,
    pod: Arc<str>,
    admitted: Admitted,
}

impl<S> Clone for Policy<S> {
    fn clone(&self) -> Self {
        Self { worker: Rc::clone(&self.worker), pod: Arc::clone(&self.pod), admitted: self.admitted.clone() }
    }
}

impl<S: Sockets> Access for Policy<S> {
    fn now(&self) -> Option<Rules> {
        let resident = self.worker.world.resident(&self.pod)?;
        let question = self.worker.question(&self.admitted);
        resident.rules.as_ref().map(|rules| rules.ingress.connection(&question))
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.worker.world.changed()
    }
}

/// Connects to the application as the true client.
struct Delivery<S> {
    worker: Rc<Worker<S>>,
    pod: Arc<str>,
    client: SocketAddr,
}

impl<S: Sockets> Delivery<S> {
    async fn deliver(&self, to: SocketAddr) -> Result<Io, Failure> {
        deliver(&self.worker, &self.pod, self.client, to).await
    }
}

/// A connection to the application.
async fn deliver<S: Sockets>(
    worker: &Rc<Worker<S>>,
    pod: &Arc<str>,
    client: SocketAddr,
    to: SocketAddr,
) -> Result<Io, Failure> {
    let held = worker.open.held(pod);
    let place = worker.open.enter(pod, What::Stream);
    let socket = worker.sockets.connect(pod, to, Purpose::Delivery(client)).await;
    let socket = socket.map_err(|error| Failure::of_delivery(&error, to))?;
    worker.spare(&socket, held)?;
    let socket = Socket::new(socket)
        .map_err(|error| Failure::new(Reason::SocketUnavailable, format!("preparing a socket: {error}")))?;
    Ok(Box::new(Held::new(socket, place)))
}

impl<S: Sockets> Dial for Delivery<S> {
    fn dial(&self, _: &Backend, to: SocketAddr) -> LocalBoxFuture<'static, Result<Io, DialFailure>> {
        let (worker, pod, client) = (Rc::clone(&self.worker), Arc::clone(&self.pod), self.client);
        async move { deliver(&worker, &pod, client, to).await.map_err(|failure| dial_failure(&failure)) }
            .boxed_local()
    }
}
