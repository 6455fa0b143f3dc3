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
//! | [`request`] | a stream to a destination |
//! | [`copy`], [`backlog`], [`read_ahead`] | bytes both ways |
//! | [`requests`], [`octets`] | where the engine meets the mesh |
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
pub(crate) mod octets;
pub(crate) mod open;
pub(crate) mod outbound;
pub(crate) mod pool;
pub(crate) mod read_ahead;
pub(crate) mod report;
pub(crate) mod request;
pub(crate) mod requests;
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

use super::access::PodRules;
use super::engine::Engine;
use super::identity::{Certificate, Identities, NoCertificate};
use super::routing::Routing;
use super::tls::{Bundle, Trust};
use super::world::{Resident, World};
use closer::Closer;
use failure::Failure;
use limits::{Files, Handshakes, Held, Tunnels};
use open::{Admitted, Carried, Open, Standing, What};
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
    /// Serves requests.
    pub engine: Rc<Engine>,
    /// Services and their routes.
    pub routing: Arc<Routing>,
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

    /// What the policy of a local pod is asked about somebody who came.
    fn question(&self, admitted: &Admitted) -> Question {
        let peer = match &admitted.standing {
            Standing::Named(id) => Peer::Proven(self.world.group(admitted.address, id)),
            Standing::Seen(group) if self.world.has_local_proof() => Peer::Proven(*group),
            Standing::Seen(_) | Standing::Unproven => self.world.claimed(admitted.address),
        };
        Question { peer, address: Address::from(admitted.address), protocol: TCP, port: admitted.port }
    }

    /// What the policy of a local pod says of somebody who came.
    fn judge(&self, pod: &Resident, admitted: &Admitted) -> Verdict {
        pod.ingress.decide(&self.question(admitted))
    }

    /// Asks of every connection that a policy let be again whether it may (SEMANTICS 5.5). Of requests the
    /// engine asks itself; octets that nobody reads may not stay where requests are to be judged.
    pub(crate) fn judge_again(&self) {
        self.open.close_where(|entry| {
            // No policy of ours holds for an unknown pod any more; that it has ended is told otherwise.
            let pod = self.world.resident(&entry.pod)?;
            let may_stay = match &entry.what {
                What::Admitted(admitted) if admitted.carried == Carried::Octets => {
                    let verdict = self.judge(&pod, admitted);
                    let unread =
                        |rules: &PodRules| rules.ingress.connection(&self.question(admitted)).not_http();
                    verdict.allowed
                        || (verdict.deferred && pod.rules.as_ref().is_some_and(|rules| unread(rules).allowed))
                }
                What::Leaving(to) => requests::source::may_leave_unread(&self.world, &pod, *to),
                What::Admitted(_) | What::Stream | What::Session(_) => true,
            };
            (!may_stay).then_some(Reason::PolicyChanged)
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
            What::Stream | What::Admitted(_) | What::Leaving(_) => None,
        });
    }

    /// Ends everything of a pod.
    pub(crate) fn forget(&self, pod: &Arc<str>) {
        self.open.close_where(|entry| (entry.pod == *pod).then_some(Reason::EndpointGone));
        self.sockets.forget(pod);
    }
}

/// Waits until a pod is known and has a certificate, and wire has told of proof within the node, for a while: a relay that has just started
/// lets what waits for it wait a little longer, rather than refuse it. False when it has none yet.
pub(crate) async fn ready(world: &World, identities: &Identities, uid: &str) -> bool {
    let (mut told, mut issued) = (world.changed(), identities.changed());
    let wait = async {
        loop {
            let resident = world.resident(uid);
            let certified = resident.is_some_and(|pod| identities.certificate(&pod.id).is_ok());
            if certified && world.knows_local_proof() {
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
