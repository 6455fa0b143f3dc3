//! One request in a tunnel: judged, delivered, carried.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use mesh_ebpf::abi::Reason;
use mesh_ebpf::policy::rule;
use tokio::net::TcpStream;

use super::patience::Patience;
use crate::relay::tunnel::closer::Closer;
use crate::relay::tunnel::copy::{End, carry};
use crate::relay::tunnel::failure::Failure;
use crate::relay::tunnel::hbone::{self, Connect, status};
use crate::relay::tunnel::limits::Held;
use crate::relay::tunnel::octets::Octets;
use crate::relay::tunnel::open::{Admitted, Carried, Place, Standing, What};
use crate::relay::tunnel::report::{Connection, PeerIdentity, Side};
use crate::relay::tunnel::requests::destination::{self, Arrived};
use crate::relay::tunnel::requests::source::Ended;
use crate::relay::tunnel::session::Session;
use crate::relay::tunnel::sockets::{Purpose, Sockets};
use crate::relay::tunnel::{Pod, Worker};
use crate::relay::world::Resident;

/// What the streams of one tunnel share.
pub(super) struct Tunnel<S> {
    pub(super) worker: Rc<Worker<S>>,
    /// The pod it leads to.
    pub(super) pod: Pod,
    /// Where it comes from.
    pub(super) peer: SocketAddr,
    /// Who is at the other end.
    pub(super) session: Rc<Session>,
    /// What ends it.
    pub(super) closer: Rc<Closer>,
    /// With streams that are given up.
    pub(super) patience: Rc<Patience>,
}

/// Serves one request to its end, and tells of it.
pub(super) async fn serve<S: Sockets>(
    tunnel: Rc<Tunnel<S>>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let mut connection = tunnel.worker.reporter.begin(Side::Destination, &tunnel.pod.uid, None);
    connection.report.peer = PeerIdentity::Proven(Arc::clone(&tunnel.session.id));
    connection.report.source = Some(tunnel.peer);
    let place = tunnel.worker.open.enter(&tunnel.pod.uid, What::Stream);
    let opened = tokio::select! {
        biased;
        reason = place.closer().closed() => Err(Failure::new(reason, "closed by this node")),
        reason = tunnel.closer.closed() => Err(Failure::new(reason, "the tunnel was closed by this node")),
        _ = poll_fn(|context| respond.poll_reset(context)) => {
            tunnel.patience.spend(Instant::now());
            connection.end(Reason::Cancelled, "the source gave up before it was answered");
            return;
        }
        opened = open(&tunnel, &request, &place, &mut connection) => opened,
    };
    let mut socket = match opened {
        Ok(Opened::Application(socket)) => socket,
        Ok(Opened::Requests(arrived)) => {
            return by_request(&tunnel, arrived, request, respond, &place, connection).await;
        }
        Err(failure) => {
            let answer = hbone::refusal(&status::refusal(failure.reason), &failure.detail);
            // A peer that has gone does not hear it.
            let _ = respond.send_response(answer, true);
            connection.end(failure.reason, &*failure.detail);
            return;
        }
    };
    let mut receive = request.into_body();
    let ended = match respond.send_response(Response::new(()), false) {
        Ok(mut send) => {
            connection.opened();
            let carried = carry(&mut socket, &mut send, &mut receive, &tunnel.worker.scratch, &connection);
            let ended = tokio::select! {
                biased;
                reason = place.closer().closed() => Failure::new(reason, "closed by this node"),
                end = carried => {
                    reset(&mut send, &end);
                    Failure::of_end(&end, &tunnel.closer)
                }
            };
            if ended.reason != Reason::Finished {
                // After END_STREAM both ways there is nothing to reset, and h2 knows.
                send.send_reset(h2::Reason::CONNECT_ERROR);
            }
            ended
        }
        Err(error) => Failure::new(Reason::PeerFailed, format!("the tunnel was lost: {error}")),
    };
    drop(socket);
    connection.end(ended.reason, &*ended.detail);
}

/// An error of the application's connection is CONNECT_ERROR (RFC 9113, 8.5).
fn reset(send: &mut SendStream<Bytes>, end: &End) {
    if matches!(end, End::Local(_)) {
        send.send_reset(h2::Reason::CONNECT_ERROR);
    }
}

/// What a request led to.
enum Opened {
    /// A connection to the application.
    Application(TcpStream),
    /// The policy asks about requests: the application is connected to when one may be.
    Requests(Arrived),
}

/// Serves what is in the stream by request.
async fn by_request<S: Sockets>(
    tunnel: &Tunnel<S>,
    arrived: Arrived,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    place: &Place,
    mut connection: Connection,
) {
    let send = match respond.send_response(Response::new(()), false) {
        Ok(send) => send,
        Err(error) => return connection.end(Reason::PeerFailed, format!("the tunnel was lost: {error}")),
    };
    let stream = Box::new(Octets::accepted(send, request.into_body()));
    let Some(resident) = tunnel.worker.world.resident(&tunnel.pod.uid) else {
        return connection.end(Reason::EndpointGone, "discovery does not know the pod as enrolled");
    };
    let served =
        destination::serve((&tunnel.worker, &tunnel.pod, &resident), stream, arrived, place, &mut connection);
    let ended = tokio::select! {
        biased;
        reason = place.closer().closed() => Ended::Octets(Failure::new(reason, "closed by this node")),
        reason = tunnel.closer.closed() => {
            Ended::Octets(Failure::new(reason, "the tunnel was closed by this node"))
        }
        ended = served => ended,
    };
    match ended {
        Ended::Requests => connection.forget(),
        Ended::Octets(failure) => connection.end(failure.reason, &*failure.detail),
    }
}

/// Judges the request and connects to the application.
async fn open<S: Sockets>(
    tunnel: &Tunnel<S>,
    request: &Request<RecvStream>,
    place: &Place,
    connection: &mut Connection,
) -> Result<Opened, Failure> {
    let bad = |detail: String| Failure::new(Reason::BadRequest, detail);
    let Connect { authority, forwarded } = hbone::parse(request).map_err(|error| bad(error.to_string()))?;
    connection.report.destination = Some(authority);
    let client = client(tunnel.peer, forwarded);
    connection.report.source = Some(client);
    let resident =
        tunnel.worker.world.resident(&tunnel.pod.uid).ok_or_else(|| {
            Failure::new(Reason::EndpointGone, "discovery does not know the pod as enrolled")
        })?;
    connection.report.own = Some(Arc::clone(&resident.id));
    if !is_of(&resident, authority.ip()) {
        return Err(bad(format!(
            "`:authority` {authority} is no address of {}/{}, whose tunnel this is",
            resident.namespace, resident.name
        )));
    }
    if client.is_ipv4() != authority.is_ipv4() {
        // No socket has a local address of one family and a peer of the other: the application
        // would be shown another client.
        return Err(bad(format!(
            "`:authority` {authority} and the client {client} are not of one address family: the client cannot be shown to the application"
        )));
    }
    let mut admitted = Admitted {
        address: tunnel.peer.ip(),
        standing: Standing::Named(Arc::clone(&tunnel.session.id)),
        port: authority.port(),
        carried: Carried::Octets,
    };
    let verdict = tunnel.worker.judge(&resident, &admitted);
    connection.report.set = resident.ingress.id();
    connection.report.rule = verdict.rule;
    if verdict.deferred {
        admitted.carried = Carried::Requests;
        return Ok(Opened::Requests(Arrived { admitted, client, to: authority }));
    }
    if !verdict.allowed {
        return Err(denied(&resident, verdict.rule, &tunnel.session, &admitted));
    }
    connection.report.audit_rule = verdict.audit_denies.then_some(verdict.audit_rule);
    // From here on a change of policy finds it, also while it connects.
    place.admit(admitted);
    let delivery = tunnel.worker.sockets.connect(&tunnel.pod.uid, authority, Purpose::Delivery(client)).await;
    let delivery = delivery.map_err(|error| Failure::of_delivery(&error, authority))?;
    let held = tunnel.worker.open.held(&tunnel.pod.uid);
    // This connection is among what is held already.
    let before = Held { by_pod: held.by_pod.saturating_sub(1), ..held };
    tunnel.worker.spare(&delivery, before)?;
    Ok(Opened::Application(delivery))
}

/// One of the pod's own addresses, and one that leads to nothing else (SEMANTICS 7.8).
fn is_of(resident: &Resident, address: IpAddr) -> bool {
    let elsewhere = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !elsewhere
        && !address.is_loopback()
        && !address.is_unspecified()
        && !address.is_multicast()
        && resident.addresses.contains(&address)
}

/// The true client: its address is the tunnel's, which was proven to be a pod's or is at least
/// where answers went; its port is what the source says, of that very address.
fn client(peer: SocketAddr, forwarded: Option<SocketAddr>) -> SocketAddr {
    forwarded.filter(|said| said.ip() == peer.ip()).unwrap_or(peer)
}

/// The peer is proven, so it may know which rule it was (SEMANTICS 5.8).
fn denied(resident: &Resident, number: u16, session: &Session, admitted: &Admitted) -> Failure {
    let reason = Reason::of_rule(number);
    let by = match (resident.ingress.rule(number), number) {
        (Some((policy, rule)), _) => format!("{policy} {rule}"),
        (None, rule::DEFAULT) => "MeshConfig/default defaults.access".to_owned(),
        (None, rule::MISSING) => "its policy, which is not there yet".to_owned(),
        (None, _) => "policy".to_owned(),
    };
    let (id, Admitted { address, port, .. }) = (&session.id, admitted);
    Failure::new(
        reason,
        format!("{id} at {address} may not reach {}/{} port {port}: {by}", resident.namespace, resident.name),
    )
}

#[cfg(test)]
mod tests {
    use super::client;

    #[test]
    fn only_the_port_of_the_same_address_is_believed() {
        let peer = "10.0.0.1:40000".parse().unwrap();
        let said = |text: &str| Some(text.parse().unwrap());
        assert_eq!(client(peer, said("10.0.0.1:50000")), "10.0.0.1:50000".parse().unwrap());
        assert_eq!(client(peer, said("10.0.0.2:50000")), peer);
        assert_eq!(client(peer, None), peer);
    }
}
