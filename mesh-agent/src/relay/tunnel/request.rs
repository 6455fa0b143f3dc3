//! A stream through the tunnel to one destination, for a local pod.
//!
//! A request that the other end has not processed is made again in another tunnel: nothing of the
//! application's has gone out by then, so nothing is done twice.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::{HeaderValue, Request};
use mesh_api::SpiffeId;
use mesh_ebpf::abi::Reason;
use tokio::time::timeout;

use super::Worker;
use super::failure::Failure;
use super::hbone::{self, baggage, status};
use super::pool::{self, Key, Lease};
use super::sockets::Sockets;
use crate::relay::identity::Certificate;
use crate::relay::world::{Absent, Resident};

/// How long the other end may take to answer a request: its own connect takes up to 5 seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How often a request that the other end has not processed is made again.
const ATTEMPTS: usize = 3;

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The source.
    pub resident: Arc<Resident>,
    /// Where to.
    pub destination: SocketAddr,
    /// The names that the other end may prove.
    pub expected: Arc<BTreeSet<SpiffeId>>,
    /// The application's own socket, as the other end is told.
    pub client: Option<SocketAddr>,
}

impl Wanted {
    /// Of a pod, to an address where a pod of `group` was picked (0: whichever is there).
    ///
    /// # Errors
    /// When discovery knows no such pod there.
    pub(crate) fn new<S: Sockets>(
        worker: &Worker<S>,
        resident: Arc<Resident>,
        destination: SocketAddr,
        group: u64,
        client: Option<SocketAddr>,
    ) -> Result<Self, Failure> {
        let expected = worker.world.expected(destination.ip(), group).map_err(|absent| {
            let detail = match absent {
                Absent::Nobody => format!("discovery knows no enrolled pod at {} any more", destination.ip()),
                Absent::Another => format!("{} is another pod's by now", destination.ip()),
            };
            Failure::new(Reason::EndpointGone, detail)
        })?;
        Ok(Self { resident, destination, expected, client })
    }
}

/// A stream that the other end has answered 200.
pub(crate) struct Opened {
    /// The tunnel it is in.
    pub lease: Lease,
    /// To the other end.
    pub send: SendStream<Bytes>,
    /// From it.
    pub receive: RecvStream,
}

/// Opens a stream; `proven` is told the name that the other end has proven, also when it refuses.
pub(crate) async fn open<S: Sockets>(
    worker: &Rc<Worker<S>>,
    wanted: &Wanted,
    proven: &dyn Fn(Option<&Arc<SpiffeId>>),
) -> Result<Opened, Failure> {
    let Wanted { resident, destination, expected, client } = wanted;
    let certificate: Arc<Certificate> = worker.certificate(&resident.id).await?;
    let key =
        Key { pod: Arc::clone(&resident.uid), destination: destination.ip(), expected: Arc::clone(expected) };
    let baggage = baggage(resident);
    for attempt in 1.. {
        // What an earlier attempt's tunnel proved says nothing of this one's.
        proven(None);
        let lease = pool::acquire(worker, &key, &certificate).await?;
        let request = hbone::request(*destination, client.unwrap_or(*destination), &baggage);
        let asked = ask(&lease, request, *destination).await;
        proven(Some(lease.peer()));
        match asked {
            Ok((send, receive)) => return Ok(Opened { lease, send, receive }),
            Err(Refused::Unprocessed(_)) if attempt < ATTEMPTS => lease.retire(),
            Err(Refused::Unprocessed(failure) | Refused::Answered(failure)) => return Err(failure),
        }
    }
    unreachable!("the last attempt returns")
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
