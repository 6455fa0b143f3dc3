//! What relay's tasks share, on its one thread.
//!
//! [`Node`] is handed to every task by reference count. Nothing in it is borrowed across an await:
//! tasks take what they need, let go, and then do their I/O.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::desired::Desired;
use super::names::Names;
use super::resource::{Kind, Resource};
use super::telemetry::{Context, Telemetry};
use crate::handover::{Answer, PodReport, Question};

/// Questions of the CLI that may wait for wire at once.
const QUESTIONS: usize = 16;
/// How long wire may take for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

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
    /// When the controller was last heard.
    pub heard: Cell<Option<Instant>>,
    /// The controller has told its whole state at least once.
    pub complete: watch::Sender<bool>,
    /// Why the last stream ended; empty while none has.
    pub trouble: RefCell<String>,
    /// Responses refused, in whole or in part.
    pub nacks: Cell<u64>,
    /// The last reason for refusing one.
    pub last_nack: RefCell<String>,
}

/// How the connection to wire is.
#[derive(Debug, Default)]
pub(crate) struct LinkState {
    /// Connected, versions agreed.
    pub connected: Cell<bool>,
    /// wire has the whole state of this relay.
    pub synced: Cell<bool>,
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
            discovery: DiscoveryState::default(),
            link: LinkState::default(),
            questions,
        };
        (node, asked)
    }

    /// Takes a resource, new or changed.
    pub(crate) fn set(&self, name: &str, resource: Resource) {
        let mut desired = self.desired.borrow_mut();
        match &resource {
            Resource::NodeConfig(config) => {
                self.names.borrow_mut().set_trust_domain(&config.trust_domain);
                self.telemetry.borrow_mut().configure(config.access_log);
            }
            Resource::Workload(workload) => {
                let mut names = self.names.borrow_mut();
                if let Some(before) = desired.workload(name) {
                    names.forget(before);
                }
                names.learn(workload);
            }
            Resource::PodPolicy(_) | Resource::Service(_) => {}
        }
        desired.set(name, resource);
    }

    /// Forgets a resource.
    pub(crate) fn remove(&self, kind: Kind, name: &str) {
        let mut desired = self.desired.borrow_mut();
        if kind == Kind::Workload
            && let Some(before) = desired.workload(name)
        {
            self.names.borrow_mut().forget(before);
        }
        desired.remove(kind, name);
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
        reasons
    }
}
