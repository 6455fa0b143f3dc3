//! The source's side: connections that the kernel redirected to a pod's outbound listener.
//!
//! Who connects and where to comes from the kernel's record of the flow, never from bytes; whom the
//! other end must prove to be comes from discovery. The application's bytes flow only after the
//! other end has answered 200. Whatever fails is a RST to the application and never plaintext
//! (SEMANTICS 4.3, 7.5, 7.6).

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use mesh_api::SpiffeId;
use mesh_ebpf::abi::{Flow, FlowRecord, Origin, Reason};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};

use super::copy::{abort_on_close, carry};
use super::failure::Failure;
use super::open::{Place, What};
use super::report::{Connection, PeerIdentity, Side};
use super::request::{self, Opened, Wanted};
use super::requests;
use super::requests::source::Ended;
use super::sockets::Sockets;
use super::{Pod, Worker, accept as next, ready};
use crate::handover::uid_hash;
use crate::relay::world::Resident;

/// Takes the connections of a pod, for as long as it is not dropped.
pub(crate) async fn accept<S: Sockets>(worker: Rc<Worker<S>>, pod: Pod, listener: TcpListener) {
    ready(&worker.world, &worker.identities, &pod.uid).await;
    loop {
        let socket = next(&listener, &pod).await;
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
                ended = serve(&worker, &pod, socket, &place, &mut connection) => match ended {
                    Ok(Ended::Requests) => return connection.forget(),
                    Ok(Ended::Octets(ended)) | Err(ended) => ended,
                },
            };
            connection.end(ended.reason, &*ended.detail);
        });
    }
}

async fn serve<S: Sockets>(
    worker: &Rc<Worker<S>>,
    pod: &Pod,
    mut socket: TcpStream,
    place: &Place,
    connection: &mut Connection,
) -> Result<Ended, Failure> {
    let record = worker
        .sockets
        .record(&socket)
        .map_err(|error| {
            let detail = format!("reading the flow's record: {error}; the mesh's getsockopt program is not attached to this agent's cgroup (`meshctl check`)");
            Failure::new(Reason::FlowUnknown, detail)
        })?
        .filter(|record| is_of(record, pod))
        .ok_or_else(|| Failure::new(Reason::FlowUnknown, "no socket of the pod published this connection"))?;
    let resident = worker.world.resident(&pod.uid).ok_or_else(|| {
        Failure::new(Reason::EndpointGone, "discovery does not know the source pod as enrolled")
    })?;
    let client = client(worker, &socket, &resident);
    let destination = note(connection, &record, &resident, client);
    if record.flags & Flow::ENGINE != 0 {
        return Ok(
            requests::source::serve((worker, pod, &resident), socket, &record, place, connection).await
        );
    }
    let wanted = Wanted::new(worker, resident, destination, record.peer_group, client)?;
    let hoped = wanted
        .expected
        .first()
        .map_or(PeerIdentity::Unknown, |id| PeerIdentity::Expected(Arc::new(id.clone())));
    let peer = RefCell::new(hoped.clone());
    let proven = |id: Option<&Arc<SpiffeId>>| {
        peer.replace(id.map_or_else(|| hoped.clone(), |id| PeerIdentity::Proven(Arc::clone(id))));
    };
    // The application may give up while it waits.
    let opened = tokio::select! {
        biased;
        opened = request::open(worker, &wanted, &proven) => opened,
        _ = socket.ready(Interest::ERROR) => {
            Err(Failure::new(Reason::Cancelled, "the application gave up before the tunnel was open"))
        }
    };
    connection.report.peer = peer.into_inner();
    let Opened { lease, mut send, mut receive } = opened?;
    connection.opened();
    let end = carry(&mut socket, &mut send, &mut receive, &worker.scratch, connection).await;
    Ok(Ended::Octets(Failure::of_end(&end, lease.closer())))
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
