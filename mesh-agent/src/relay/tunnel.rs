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
//! | [`copy`], [`read_ahead`] | bytes both ways |
//! | [`open`] | finds what may not stay open |
//! | [`sockets`], [`stock`], [`channel`] | sockets in pods' namespaces, from wire |
//! | [`limits`] | what is refused before relay is out of it |
//! | [`failure`], [`report`] | what went wrong, and telling |

pub(crate) mod channel;
pub(crate) mod copy;
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
use std::time::{Duration, SystemTime};

use mesh_api::SpiffeId;
use mesh_ebpf::abi::{Reason, TCP};
use mesh_ebpf::address::Address;
use mesh_ebpf::policy::{Peer, Question, Verdict};
use tokio::time::timeout;

use super::identity::{Certificate, Identities, NoCertificate};
use super::tls::{Bundle, Trust};
use super::world::{Resident, World};
use failure::Failure;
use limits::{Files, Handshakes};
use open::{Admitted, Closer, Open, What};
use report::Reporter;
use session::Doubt;

/// How long a pod's connections wait in the backlog until it can be served.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection waits for its pod's first certificate.
const CERTIFICATE_WITHIN: Duration = Duration::from_secs(3);

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

    /// Whether a pod may have one more connection, whose socket has the newest descriptor.
    fn spare(&self, pod: &Arc<str>, newest: &impl AsFd) -> Result<(), Failure> {
        if !self.files.have_room(newest) {
            let detail = "relay has no open files to spare; raise LimitNOFILE of mesh-agent relay";
            return Err(Failure::new(Reason::RelayExhausted, detail));
        }
        if self.files.are_scarce(newest) && self.open.is_over_its_share(pod) {
            let detail = "relay's open files are scarce and this pod has more than its share of connections; raise LimitNOFILE of mesh-agent relay, or look at what the pod does";
            return Err(Failure::new(Reason::RelayExhausted, detail));
        }
        Ok(())
    }

    /// Waits until a pod is known and has a certificate, for a while: a relay that has just started
    /// lets what waits for it wait a little longer, rather than refuse it.
    async fn ready(&self, uid: &str) {
        let (mut world, mut identities) = (self.world.changed(), self.identities.changed());
        let wait = async {
            loop {
                let resident = self.world.resident(uid);
                if resident.is_some_and(|pod| self.identities.certificate(&pod.id).is_ok()) {
                    return;
                }
                tokio::select! {
                    _ = world.changed() => {}
                    _ = identities.changed() => {}
                }
            }
        };
        if timeout(READY_WITHIN, wait).await.is_err() {
            tracing::warn!(pod = uid, "the pod has no certificate yet; its tunnels are refused until it has");
        }
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
