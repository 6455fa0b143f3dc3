//! The tunnel's data path: applications' connections through HBONE, in both directions.
//!
//! A connection's life, at its source: [`outbound`] accepts it from the application and learns from
//! the kernel where it goes; [`pool`] finds or opens a tunnel to that pod; [`copy`] carries its
//! bytes on a stream. At its destination: [`inbound`] accepts the tunnel, judges the request
//! (`relay::access`), connects to the application as the true client, and [`copy`] carries.
//!
//! A [`Worker`] is one thread: nothing in it is shared but what the control thread writes
//! ([`World`], [`Trust`], [`Identities`]), read once per connection.
//!
//! | module | what it does |
//! |---|---|
//! | [`hbone`] | the wire format, purely |
//! | [`outbound`], [`inbound`] | the two sides |
//! | [`pool`], [`session`], [`watched`] | tunnels: shared, believed, broken |
//! | [`copy`], [`backlog`], [`read_ahead`] | bytes both ways |
//! | [`open`], [`closer`] | finds what may not stay open, and ends it |
//! | [`sockets`], [`stock`], [`channel`] | sockets in pods' namespaces, from wire |
//! | [`limits`] | what is refused before relay is out of it |
//! | [`failure`], [`report`], [`counts`] | what went wrong, and telling |

mod backlog;
pub(crate) mod channel;
pub(crate) mod closer;
pub(crate) mod copy;
pub(crate) mod counts;
pub(crate) mod failure;
pub(crate) mod hbone;
pub(crate) mod inbound;
pub(crate) mod limits;
pub(crate) mod open;
pub(crate) mod outbound;
pub(crate) mod pool;
pub(crate) mod read_ahead;
pub(crate) mod report;
pub(crate) mod session;
pub(crate) mod sockets;
pub(crate) mod stock;
#[cfg(test)]
mod tests;
pub(crate) mod watched;

use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use mesh_api::SpiffeId;
use mesh_ebpf::abi::{Reason, TCP};
use mesh_ebpf::address::Address;
use mesh_ebpf::policy::{Peer, Question, Verdict};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::identity::{Certificate, Identities, NoCertificate};
use super::tls::{Bundle, Trust};
use super::world::{Resident, World};
use closer::Closer;
use failure::Failure;
use limits::{Files, Handshakes, Held, Tunnels};
use open::{Admitted, Open, What};
use report::Reporter;
use session::Doubt;

/// How long a pod's connections wait in the backlog until it can be served.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection waits for its pod's first certificate.
const CERTIFICATE_WITHIN: Duration = Duration::from_secs(3);
/// How long to wait when no connection can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A pod whose connections are taken.
#[derive(Debug, Clone)]
pub(crate) struct Pod {
    /// Its UID.
    pub uid: Arc<str>,
    /// Cookie of its network namespace.
    pub netns: u64,
}

/// What the tasks of one worker share.
#[derive(Debug)]
pub(crate) struct Worker<S> {
    /// Sockets in the pods' namespaces.
    pub sockets: S,
    /// Who is where.
    pub world: Arc<World>,
    /// What to show.
    pub identities: Arc<Identities>,
    /// Whom to believe.
    pub trust: Arc<Trust>,
    /// Where connections are told of.
    pub reporter: Reporter,
    /// Open files left.
    pub files: Files,
    /// Handshakes under way.
    pub handshakes: Handshakes,
    /// Tunnels of others to this node's pods.
    pub tunnels: Tunnels,
    /// What reads go into.
    pub scratch: copy::Scratch,
    /// Everything open.
    pub open: Rc<Open>,
    /// Tunnels to other pods.
    pub pool: pool::Pool,
    /// Relay is ending: nothing new.
    pub draining: Closer,
}

impl<S: sockets::Sockets> Worker<S> {
    /// The certificate of a local identity. One that has not come yet is waited for a moment, so
    /// that neither a pod's first connection nor relay's first moments fail.
    async fn certificate(&self, id: &SpiffeId) -> Result<Arc<Certificate>, Failure> {
        let mut changes = self.identities.changed();
        let wait = async {
            loop {
                let known = self.identities.certificate(id);
                if matches!(known, Ok(_) | Err(NoCertificate::Expired { .. })) {
                    return known;
                }
                if changes.changed().await.is_err() {
                    return self.identities.certificate(id);
                }
            }
        };
        let found = match timeout(CERTIFICATE_WITHIN, wait).await {
            Ok(found) => found,
            Err(_) => self.identities.certificate(id),
        };
        found.map_err(|error| Failure::new(error.reason(), error.to_string()))
    }

    /// Whether a pod may have a connection with this newest descriptor, besides what it holds.
    fn spare(&self, newest: &impl AsFd, held: Held) -> Result<(), Failure> {
        self.files
            .spare(newest, held)
            .map_err(|none| self.shed(Failure::new(Reason::RelayExhausted, none.to_string())))
    }

    /// Counts what is refused because relay is at a bound of its own.
    fn shed(&self, failure: Failure) -> Failure {
        self.reporter.counts().shed.fetch_add(1, Ordering::Relaxed);
        failure
    }

    /// What the policy of a local pod says of somebody who was proven.
    fn judge(&self, pod: &Resident, admitted: &Admitted) -> Verdict {
        pod.ingress.decide(&Question {
            peer: Peer::Proven(self.world.group(admitted.address, &admitted.id)),
            address: Address::from(admitted.address),
            protocol: TCP,
            port: admitted.port,
        })
    }

    /// Asks of every connection into a pod again whether it may be (SEMANTICS 5.5).
    pub(crate) fn judge_again(&self) {
        self.open.close_where(|entry| match &entry.what {
            What::Admitted(admitted) => match self.world.resident(&entry.pod) {
                // No policy of ours holds for it any more; that it has ended is told otherwise.
                None => None,
                Some(pod) => (!self.judge(&pod, admitted).allowed).then_some(Reason::PolicyChanged),
            },
            What::Stream | What::Session(_) => None,
        });
    }

    /// Asks of every tunnel again whether its other end is believed.
    pub(crate) fn doubt(&self, bundle: &Bundle) {
        let now = SystemTime::now();
        self.open.close_where(|entry| match &entry.what {
            What::Session(session) => match session.doubted(bundle, now)? {
                Doubt::Close(reason) => Some(reason),
                Doubt::Retire(reason) => {
                    session.retired.close(reason);
                    None
                }
            },
            What::Stream | What::Admitted(_) => None,
        });
    }

    /// Ends everything of a pod.
    pub(crate) fn forget(&self, pod: &Arc<str>) {
        self.open.close_where(|entry| (entry.pod == *pod).then_some(Reason::EndpointGone));
        self.sockets.forget(pod);
    }
}

/// Waits until a pod is known and has a certificate, for a while: a relay that has just started
/// lets what waits for it wait a little longer, rather than refuse it. False when it has none yet.
pub(crate) async fn ready(world: &World, identities: &Identities, uid: &str) -> bool {
    let (mut told, mut issued) = (world.changed(), identities.changed());
    let wait = async {
        loop {
            let resident = world.resident(uid);
            if resident.is_some_and(|pod| identities.certificate(&pod.id).is_ok()) {
                return;
            }
            tokio::select! {
                _ = told.changed() => {}
                _ = issued.changed() => {}
            }
        }
    };
    timeout(READY_WITHIN, wait).await.is_ok()
}

/// The next connection at one of a pod's listeners.
async fn accept(listener: &TcpListener, pod: &Pod) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => return socket,
            Err(error) => {
                tracing::warn!(pod = %pod.uid, %error, "accepting a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
