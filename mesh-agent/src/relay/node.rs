//! What the tasks of relay's control thread share.
//!
//! [`Node`] is handed to every task by reference count. Nothing in it is borrowed across an await:
//! tasks take what they need, let go, and then do their I/O.

mod resources;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::desired::Desired;
use super::identity::Identities;
use super::names::Names;
use super::routing::Routing;
use super::telemetry::{Context, Telemetry};
use super::tls::Trust;
use super::tunnel::counts::Counts;
use super::world::World;
use crate::handover::{Answer, PodReport, PodState, Question};

/// Questions of the CLI that may wait for wire at once.
const QUESTIONS: usize = 16;
/// How long wire may take for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a pod of which an earlier relay takes the connections keeps this one from being ready while the
/// controller is there: a certificate that is refused must not hold up an upgrade for ever.
const SERVED_WITHIN: Duration = Duration::from_secs(60);

/// What relay's tasks share.
#[derive(Debug)]
pub(crate) struct Node {
    /// The node's name.
    pub name: String,
    /// What is to be enforced.
    pub desired: RefCell<Desired>,
    /// What numbers stand for.
    pub names: RefCell<Names>,
    /// Metrics and access log.
    pub telemetry: RefCell<Telemetry>,
    /// State of the node's pods as wire reports it, by UID.
    pub pods: RefCell<BTreeMap<String, PodReport>>,
    /// What certificates to believe.
    pub trust: Arc<Trust>,
    /// The certificates of this node's pods.
    pub identities: Arc<Identities>,
    /// What the tunnel's workers know of the mesh.
    pub world: Arc<World>,
    /// What they know of Services and routes.
    pub routing: Arc<Routing>,
    /// What the tunnel's workers count.
    pub tunnel: Arc<Counts>,
    /// relay is shutting down: open connections finish, new ones are refused.
    pub draining: Cell<bool>,
    /// The stream from the controller.
    pub discovery: DiscoveryState,
    /// The connection to wire.
    pub link: LinkState,
    questions: mpsc::Sender<Asked>,
}

/// A question on its way to wire, and where the answer goes.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The question.
    pub question: Question,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Answer>,
}

/// How the stream from the controller is.
#[derive(Debug, Default)]
pub(crate) struct DiscoveryState {
    /// A stream is up.
    pub connected: Cell<bool>,
    /// What this node proves itself to the controller with.
    pub certificate: RefCell<Option<NodeCertificate>>,
    /// When the controller was last heard.
    pub heard: Cell<Option<Instant>>,
    /// As of when the state held is known to have been the controller's, while no stream is up.
    pub as_of: Cell<Option<SystemTime>>,
    /// The state held came from the snapshot, and no controller has confirmed it yet.
    pub restored: Cell<bool>,
    /// How old the state may become before that is a problem; it is enforced all the same.
    pub max_age: Cell<Option<Duration>>,
    /// Why the state is not kept on disk; empty while it is.
    pub snapshot_trouble: RefCell<String>,
    /// The controller has told its whole state at least once.
    pub complete: watch::Sender<bool>,
    /// Why the last stream ended; empty while none has.
    pub trouble: RefCell<String>,
    /// Responses refused, in whole or in part.
    pub nacks: Cell<u64>,
    /// The last reason for refusing one.
    pub last_nack: RefCell<String>,
}

/// The node's own certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeCertificate {
    /// The identity in it.
    pub id: String,
    /// Its serial number.
    pub serial: Vec<u8>,
    /// When it begins.
    pub not_before: SystemTime,
    /// When it ends.
    pub not_after: SystemTime,
    /// Subject key identifier of its issuer.
    pub issuer_key_id: Vec<u8>,
    /// When it is to be renewed.
    pub due: SystemTime,
}

/// How the connection to wire is.
#[derive(Debug, Default)]
pub(crate) struct LinkState {
    /// Connected, versions agreed.
    pub connected: Cell<bool>,
    /// Something changed among the pods that wire reports.
    pub pods_changed: Notify,
    /// Counts what changed among them, for whoever tells of them.
    pub reported: watch::Sender<u64>,
    /// Pods that wire reported gone, until the workers were told.
    pub pods_gone: RefCell<BTreeSet<String>>,
    /// wire has the whole state of this relay.
    pub synced: Cell<bool>,
    /// wire has given way to another one. What it reported last is old: discovery says which pods there are.
    pub leaving: Cell<bool>,
    /// wire has taken another one's place, whose relay serves the pods that are not in `serving`.
    pub succeeds: Cell<bool>,
    /// Since when wire is connected.
    pub since: Cell<Option<Instant>>,
    /// Pods whose connections this relay takes and can carry, and at which listeners
    /// ([`PodReport::listeners`]).
    pub serving: RefCell<BTreeMap<String, u64>>,
    /// Something changed that wire is to be told.
    pub changed: Notify,
    /// Revision of [`Desired`] that is in the kernel.
    pub applied: watch::Sender<u64>,
    /// Why the last connection ended; empty while none has.
    pub trouble: RefCell<String>,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// Nobody is there to answer.
    #[error("relay is not connected to wire; look at the log of `mesh-agent wire` on this node")]
    NotConnected,
    /// Too many ask at once.
    #[error("{QUESTIONS} questions wait for wire already; try again")]
    Busy,
    /// It took too long.
    #[error("wire did not answer within {} seconds", ANSWER_WITHIN.as_secs())]
    TimedOut,
    /// wire could not answer.
    #[error("{0}")]
    Failed(String),
}

impl DiscoveryState {
    /// How old the state held is; `None` while none is.
    pub(crate) fn age(&self, now: SystemTime) -> Option<Duration> {
        if self.connected.get() {
            return Some(Duration::ZERO);
        }
        self.as_of.get().map(|at| now.duration_since(at).unwrap_or_default())
    }

    /// What is wrong when the state is older than it may be. It is enforced all the same: nothing
    /// opens because the controller is away (SEMANTICS 9.6).
    pub(crate) fn stale(&self, now: SystemTime) -> Option<String> {
        let (age, most) = (self.age(now)?, self.max_age.get()?);
        (age > most).then(|| {
            format!(
                "the discovery state is {} s old and may be {} s (--max-snapshot-age): it goes on being enforced, and changes since then are not; check why relay does not reach the controller",
                age.as_secs(),
                most.as_secs()
            )
        })
    }
}

impl Node {
    /// A node that knows nothing, and the questions that will be put to wire.
    pub(crate) fn new(name: &str) -> (Self, mpsc::Receiver<Asked>) {
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let node = Self {
            name: name.to_owned(),
            desired: RefCell::new(Desired::new()),
            names: RefCell::default(),
            telemetry: RefCell::new(Telemetry::new(Instant::now(), unix)),
            pods: RefCell::default(),
            trust: Arc::default(),
            identities: Arc::default(),
            world: World::new(),
            routing: Routing::new(),
            tunnel: Arc::default(),
            draining: Cell::default(),
            discovery: DiscoveryState::default(),
            link: LinkState::default(),
            questions,
        };
        (node, asked)
    }

    /// Whether what a node cannot do without is held: its settings, and whom to believe.
    pub(crate) fn holds_whole(&self) -> bool {
        self.desired.borrow().node().is_some() && !self.trust.current().is_none()
    }

    /// The controller has told its whole state.
    pub(crate) fn told(&self) {
        self.discovery.restored.set(false);
        self.discovery.complete.send_replace(true);
        self.world.set_whole();
    }

    /// Does `work` with the telemetry and what resolves numbers to names.
    pub(crate) fn report(&self, work: impl FnOnce(&mut Telemetry, Context<'_>)) {
        let (names, desired) = (self.names.borrow(), self.desired.borrow());
        let discovered = *self.discovery.complete.borrow();
        let context = Context { names: &names, desired: &desired, discovered };
        work(&mut self.telemetry.borrow_mut(), context);
    }

    /// Puts a question to wire.
    ///
    /// # Errors
    /// When wire is not there, is busy, takes too long or cannot answer.
    pub(crate) async fn ask(&self, question: Question) -> Result<Answer, AskError> {
        if !self.link.connected.get() {
            return Err(AskError::NotConnected);
        }
        let (answer, answered) = oneshot::channel();
        self.questions.try_send(Asked { question, answer }).map_err(|_| AskError::Busy)?;
        match tokio::time::timeout(ANSWER_WITHIN, answered).await {
            Ok(Ok(Answer::Failed(why))) => Err(AskError::Failed(why)),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(AskError::NotConnected),
            Err(_) => Err(AskError::TimedOut),
        }
    }

    /// Why this node is not ready to be relied on; empty when it is.
    pub(crate) fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.draining.get() {
            reasons.push("relay is shutting down".to_owned());
        }
        let trouble = |reason: &str, trouble: &RefCell<String>| match trouble.borrow().as_str() {
            "" => reason.to_owned(),
            why => format!("{reason}: {why}"),
        };
        if !*self.discovery.complete.borrow() {
            reasons.push(trouble("the controller has not told its state yet", &self.discovery.trouble));
        }
        if !self.link.connected.get() {
            reasons.push(trouble("no connection to wire", &self.link.trouble));
        } else if !self.link.synced.get() {
            reasons.push("wire does not hold the whole state yet".to_owned());
        } else if !self.telemetry.borrow().is_fresh(Instant::now()) {
            reasons.push("the data path has sent no counts lately".to_owned());
        }
        reasons.extend(self.awaited());
        reasons
    }

    /// Which pods an earlier relay still serves, because this one cannot.
    fn awaited(&self) -> Option<String> {
        let settled = self.link.since.get().is_some_and(|since| since.elapsed() > SERVED_WITHIN);
        if !self.link.succeeds.get() || (settled && self.discovery.connected.get()) {
            return None;
        }
        let serving = self.link.serving.borrow();
        let is_awaited = |report: &&PodReport| {
            let wired = report.state == PodState::Wired && report.listeners != 0;
            wired && serving.get(&report.uid) != Some(&report.listeners)
        };
        let pods = self.pods.borrow();
        let mut awaited = pods.values().filter(is_awaited);
        let first = awaited.next()?;
        let (uid, more) = (&first.uid, awaited.count());
        Some(format!(
            "the earlier relay still serves pod {uid} and {more} more: this one has no certificate for them yet"
        ))
    }
}
