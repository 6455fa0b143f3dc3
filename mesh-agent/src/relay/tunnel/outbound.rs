//! The source's side: connections that the kernel redirected to a pod's outbound listener.
//!
//! Who connects and where to comes from the kernel's record of the flow, never from bytes; whom the
//! other end must prove to be comes from discovery. The application's bytes flow only after the
//! other end has answered 200. Whatever fails is a RST to the application and never plaintext
//! (SEMANTICS 4.3, 7.5, 7.6).

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::{HeaderValue, Request};
use mesh_ebpf::abi::{Flow, FlowRecord, Origin, Reason};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::copy::{abort_on_close, carry};
use super::failure::Failure;
use super::hbone::{self, baggage, status};
use super::open::What;
use super::pool::{self, Key, Lease};
use super::report::{Connection, PeerIdentity, Side};
use super::sockets::Sockets;
use super::{Pod, Worker, accept as next, ready};
use crate::handover::uid_hash;
use crate::relay::world::{Absent, Resident};

/// How long the other end may take to answer a request: its own connect takes up to 5 seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How often a request that the other end has not processed is made again.
const ATTEMPTS: usize = 3;

/// Takes the connections of a pod, for as long as it is not dropped.
pub(crate) async fn accept<S: Sockets>(worker: Rc<Worker<S>>, pod: Pod, listener: TcpListener) {
    ready(&worker.world, &worker.identities, &pod.uid).await;
    loop {
        let mut socket = next(&listener, &pod).await;
        let mut connection = worker.reporter.begin(Side::Source, &pod.uid, None);
        connection.report.source = worker.sockets.peer(&socket).ok();
        // What is not carried to its end is a RST.
        if let Err(error) = abort_on_close(&socket).and_then(|()| socket.set_nodelay(true)) {
            connection.end(Reason::Cancelled, format!("the application's socket: {error}"));
            continue;
        }
        if let Err(failure) = worker.spare(&socket, worker.open.held(&pod.uid)) {
            connection.end(failure.reason, &*failure.detail);
            continue;
        }
        let (worker, pod) = (Rc::clone(&worker), pod.clone());
        tokio::task::spawn_local(async move {
            let place = worker.open.enter(&pod.uid, What::Stream);
            let ended = tokio::select! {
                biased;
                reason = place.closer().closed() => Failure::new(reason, "closed by this node"),
                ended = serve(&worker, &pod, &mut socket, &mut connection) => ended.err().unwrap_or_else(finished),
            };
            drop(socket);
            connection.end(ended.reason, &*ended.detail);
        });
    }
}

fn finished() -> Failure {
    Failure::new(Reason::Finished, "")
}

async fn serve<S: Sockets>(
    worker: &Rc<Worker<S>>,
    pod: &Pod,
    socket: &mut TcpStream,
    connection: &mut Connection,
) -> Result<(), Failure> {
    let record = worker
        .sockets
        .record(socket)
        .map_err(|error| {
            let detail = format!("reading the flow's record: {error}; the mesh's getsockopt program is not attached to this agent's cgroup (`meshctl check`)");
            Failure::new(Reason::FlowUnknown, detail)
        })?
        .filter(|record| is_of(record, pod))
        .ok_or_else(|| Failure::new(Reason::FlowUnknown, "no socket of the pod published this connection"))?;
    let resident = worker.world.resident(&pod.uid).ok_or_else(|| {
        Failure::new(Reason::EndpointGone, "discovery does not know the source pod as enrolled")
    })?;
    let client = client(worker, socket, &resident);
    let destination = note(connection, &record, &resident, client);
    let expected = worker.world.expected(destination.ip(), record.peer_group).map_err(|absent| {
        let detail = match absent {
            Absent::Nobody => format!("discovery knows no enrolled pod at {} any more", destination.ip()),
            Absent::Another => format!("{} is another pod's by now", destination.ip()),
        };
        Failure::new(Reason::EndpointGone, detail)
    })?;
    let hoped =
        expected.first().map_or(PeerIdentity::Unknown, |id| PeerIdentity::Expected(Arc::new(id.clone())));
    connection.report.peer = hoped.clone();
    let certificate = worker.certificate(&resident.id).await?;
    let key = Key { pod: Arc::clone(&pod.uid), destination: destination.ip(), expected };
    let baggage = baggage(&resident);
    for attempt in 1.. {
        // What an earlier attempt's tunnel proved says nothing of this one's.
        connection.report.peer = hoped.clone();
        // The application may give up while it waits.
        let opening = async {
            let lease = pool::acquire(worker, &key, &certificate).await?;
            let request = hbone::request(destination, client.unwrap_or(destination), &baggage);
            let stream = ask(&lease, request, destination).await;
            Ok((lease, stream))
        };
        let (lease, asked) = tokio::select! {
            biased;
            opened = opening => opened?,
            _ = socket.ready(Interest::ERROR) => {
                return Err(Failure::new(Reason::Cancelled, "the application gave up before the tunnel was open"));
            }
        };
        connection.report.peer = PeerIdentity::Proven(Arc::clone(lease.peer()));
        match asked {
            Ok((mut send, mut receive)) => {
                connection.opened();
                let end = carry(socket, &mut send, &mut receive, &worker.scratch, connection).await;
                return Err(Failure::of_end(&end, lease.closer()));
            }
            // Not one byte of the application has gone out, so nothing is done twice.
            Err(Refused::Unprocessed(_)) if attempt < ATTEMPTS => lease.retire(),
            Err(Refused::Unprocessed(failure) | Refused::Answered(failure)) => return Err(failure),
        }
    }
    unreachable!("the last attempt returns")
}

/// Whether the kernel's record is of a socket of the pod that was redirected here.
fn is_of(record: &FlowRecord, pod: &Pod) -> bool {
    record.netns == pod.netns
        && record.uid == uid_hash(&pod.uid)
        && record.origin == Origin::Pod as u8
        && record.flags & Flow::TUNNELLED != 0
}

/// The application's own socket, as the other end is told: from another address than the pod's only
/// its port means something.
fn client<S: Sockets>(worker: &Worker<S>, socket: &TcpStream, resident: &Resident) -> Option<SocketAddr> {
    let peer = worker.sockets.peer(socket).ok()?;
    if resident.addresses.contains(&peer.ip()) {
        return Some(peer);
    }
    let own = resident.addresses.iter().find(|address| address.is_ipv4() == peer.is_ipv4())?;
    Some(SocketAddr::new(*own, peer.port()))
}

fn note(
    connection: &mut Connection,
    record: &FlowRecord,
    resident: &Resident,
    client: Option<SocketAddr>,
) -> SocketAddr {
    let destination = SocketAddr::new(IpAddr::from(record.endpoint), record.endpoint_port);
    let report = &mut connection.report;
    report.own = Some(Arc::clone(&resident.id));
    report.source = client.or(report.source);
    report.destination = Some(destination);
    report.dialled = Some(SocketAddr::new(IpAddr::from(record.dialled), record.dialled_port));
    report.set = record.set;
    report.rule = record.rule;
    destination
}

fn baggage(resident: &Resident) -> HeaderValue {
    baggage::format(baggage::Source {
        namespace: &resident.namespace,
        pod: &resident.name,
        service: &resident.workload,
    })
}

/// Why a request got no stream.
enum Refused {
    /// The other end has not looked at it: it may be made again.
    Unprocessed(Failure),
    /// It has.
    Answered(Failure),
}

type Stream = (SendStream<Bytes>, RecvStream);

/// Makes the request; gives the stream once it is answered 200.
async fn ask(lease: &Lease, request: Request<()>, destination: SocketAddr) -> Result<Stream, Refused> {
    let failed = |error: h2::Error| refused(lease, &error, destination);
    let retired =
        || Refused::Unprocessed(Failure::new(Reason::PeerFailed, "the tunnel closed before the request"));
    let asked = async {
        let requests = lease.requests().ok_or_else(retired)?;
        let mut requests = requests.ready().await.map_err(failed)?;
        let (answer, send): (ResponseFuture, _) = requests.send_request(request, false).map_err(failed)?;
        Ok((answer.await.map_err(failed)?, send))
    };
    let Ok(asked) = timeout(ANSWER_WITHIN, asked).await else {
        let within = ANSWER_WITHIN.as_secs();
        let detail =
            format!("the tunnel's other end did not answer for {destination} within {within} seconds");
        return Err(Refused::Answered(Failure::new(Reason::PeerFailed, detail)));
    };
    let (answer, send) = asked?;
    let said = hbone::proxy_status(answer.headers());
    let Some(reason) = status::reason(answer.status(), said.as_ref()) else {
        return Ok((send, answer.into_body()));
    };
    let mut detail = format!("{destination}: the destination's node answered {}", answer.status().as_u16());
    if let Some(said) = said {
        for part in [said.error, said.details] {
            if !part.is_empty() {
                detail.push_str(": ");
                detail.push_str(&part);
            }
        }
    }
    Err(Refused::Answered(Failure::new(reason, detail)))
}

/// What an error before the answer means.
fn refused(lease: &Lease, error: &h2::Error, destination: SocketAddr) -> Refused {
    if let Some(reason) = lease.closer().reason() {
        return Refused::Unprocessed(Failure::new(reason, "the tunnel was closed by this node"));
    }
    if let Some(fault) = lease.broken().get().filter(|_| !lease.reused) {
        let failure = Failure::new(fault.reason(), format!("tunnel to {destination}: {fault}"));
        return Refused::Answered(failure);
    }
    if let Some(failure) = lease.turned_away() {
        return Refused::Answered(failure);
    }
    let failure = Failure::of_http(error, destination);
    // REFUSED_STREAM and GOAWAY say that nothing was done (RFC 9113, 8.7); a tunnel that was idle
    // may have been closed before the request came.
    let unprocessed = error.reason() == Some(h2::Reason::REFUSED_STREAM)
        || (error.is_go_away() && error.is_remote())
        || (lease.reused && error.is_io());
    if unprocessed { Refused::Unprocessed(failure) } else { Refused::Answered(failure) }
}
