//! The authority as a whole: what it knows, and each step it takes.
//!
//! A step is decided on a copy of the state, written down, and only then in force. So a crash, or
//! a disk that is full, leaves what was before. Steps take turns; while one waits for where it is
//! written down, certificates are signed as before.

mod joining;
mod progress;
mod select;
mod server;
mod step;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::{
    files::{self, FileError},
    generate::GenerateError,
    join::JoinFiles,
    keep::{File, Keep},
    lease::Lease,
    ledger::Ledger,
    material::Signer,
    origin::GivenError,
    peer::Peer,
    placement::Placements,
    random::NoRandom,
    rate::Rates,
    review::Agents,
    rotation::{Phase, Progress},
    state::{State, StateError},
    time::Timestamp,
    trust::{Refusal, Trust},
    wanted::{self, DirectoryError},
};
use crate::{build::CaSettings, objects::CaSecret};
use progress::Presence;
pub(super) use progress::Streams;
use server::Server;

/// What the model asks of the authority.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demand {
    /// The mesh's trust domain.
    pub trust_domain: String,
    /// What `MeshConfig` says.
    pub settings: CaSettings,
    /// Every node.
    pub nodes: BTreeSet<String>,
    /// The Secret that the settings name, if the source has it.
    pub secret: Option<Arc<CaSecret>>,
}

/// Where the authority keeps its files, and for whom.
#[derive(Debug, Clone)]
pub struct Directories {
    /// Its own, and that of an authority that is given as files.
    pub authority: PathBuf,
    /// That of the join files.
    pub join: PathBuf,
    /// The user that agents run as.
    pub agent_uid: Option<u32>,
    /// How long a join token is good.
    pub join_ttl: Duration,
}

/// Why the authority cannot do what it should.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its state.
    #[error(transparent)]
    State(#[from] StateError),
    /// What it is given.
    #[error(transparent)]
    Given(#[from] GivenError),
    /// What it makes.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// Nothing random.
    #[error(transparent)]
    Random(#[from] NoRandom),
    /// TLS.
    #[error("cannot set up TLS with the certificate authority's roots: {0}")]
    Tls(String),
    /// Nothing has been built yet.
    #[error(
        "the controller has not read its source yet, stands by, or has no certificate authority; see its log and GET /ca"
    )]
    NotReady,
    /// A replacement is under way.
    #[error("the root is being replaced already ({0:?}); wait until that is done, see GET /ca")]
    UnderWay(Phase),
    /// It is not the controller's to replace.
    #[error("the certificate authority comes from {0}: put the new one there, it is taken over step by step")]
    NotOurs(String),
    /// Join files are not how nodes join.
    #[error(
        "nodes join by the token of their agents' ServiceAccount, not by join files; delete the agent's pod on node `{0}` to have it join anew"
    )]
    NoJoinFiles(String),
    /// There is no such node.
    #[error("there is no node `{0}` in the source; add it, or a pod with that spec.nodeName, first")]
    NoSuchNode(String),
}

impl From<DirectoryError> for CaError {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::File(error) => error.into(),
            DirectoryError::Given(error) => error.into(),
        }
    }
}

/// The certificate authority.
#[derive(Debug)]
pub struct Authority {
    pub(super) directories: Directories,
    pub(super) joins: JoinFiles,
    pub(super) placements: Arc<Placements>,
    pub(super) agents: Option<Agents>,
    keep: Arc<dyn Keep>,
    /// Other processes may sign when this one does not.
    is_shared: bool,
    /// Held by who changes the state, from before it is read until what became of it is in force.
    turns: Mutex<()>,
    /// Held for a moment at a time.
    inner: Mutex<Inner>,
    trust: watch::Sender<Option<Arc<Trust>>>,
}

/// The right to change the state.
#[derive(Debug)]
pub(super) struct Turn<'a>(#[expect(dead_code, reason = "held, not looked at")] MutexGuard<'a, ()>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) state: State,
    pub(super) ledger: Ledger,
    pub(super) rates: Rates,
    /// What signs: `state.current`, parsed.
    pub(super) signer: Option<Signer>,
    pub(super) demand: Option<Demand>,
    server: Option<Server>,
    presence: Presence,
    /// When the state was known to be kept, where somebody may take it away.
    kept: Timestamp,
    /// What another process signed may be in use until then, and is not in the ledger.
    unlisted_until: Option<Timestamp>,
    pub(super) progress: Progress,
    pub(super) problem: Option<String>,
}

impl Inner {
    fn new(state: State, ledger: Ledger) -> Self {
        Self {
            state,
            ledger,
            rates: Rates::default(),
            signer: None,
            demand: None,
            server: None,
            presence: Presence::default(),
            kept: Timestamp::default(),
            unlisted_until: None,
            progress: Progress::default(),
            problem: None,
        }
    }
}

impl Authority {
    /// Opens an authority: what its directory holds, or nothing yet.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub fn open(
        directories: Directories,
        placements: Arc<Placements>,
        now: Timestamp,
    ) -> Result<Self, CaError> {
        files::make_directory(&directories.authority, 0o700)?;
        let keep = Arc::new(File::of(&directories.authority));
        let state = State::load(&*keep)?;
        let ledger = Ledger::open(directories.authority.join("issued"), now)?;
        Self::new(directories, placements, keep, false, Inner::new(state, ledger))
    }

    /// An authority of several processes, of which one at a time signs: its state is kept where all of
    /// them find it. This one stands by until it is told to [`take_over`](Self::take_over). Of the
    /// directories only that of the join files is made.
    ///
    /// # Errors
    /// When that cannot be made.
    pub fn stand_by(
        directories: Directories,
        placements: Arc<Placements>,
        keep: Arc<dyn Keep>,
    ) -> Result<Self, CaError> {
        let mut inner = Inner::new(State::default(), Ledger::in_memory());
        inner.problem = Some(STANDS_BY.to_owned());
        Self::new(directories, placements, keep, true, inner)
    }

    fn new(
        directories: Directories,
        placements: Arc<Placements>,
        keep: Arc<dyn Keep>,
        is_shared: bool,
        inner: Inner,
    ) -> Result<Self, CaError> {
        Ok(Self {
            joins: JoinFiles::new(directories.join.clone(), directories.agent_uid)?,
            directories,
            placements,
            agents: None,
            keep,
            is_shared,
            turns: Mutex::default(),
            inner: Mutex::new(inner),
            trust: watch::Sender::new(None),
        })
    }

    /// The same, where nodes join by their agents' ServiceAccount and not by join files.
    #[must_use]
    pub fn with_agents(mut self, agents: Agents) -> Self {
        self.agents = Some(agents);
        self
    }

    /// Reads what the last one left, to sign in its place from the next step on.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn take_over(&self, now: Timestamp) -> Result<(), CaError> {
        let _turn = self.turn();
        let state =
            State::load(&*self.keep).inspect_err(|error| self.lock().problem = Some(error.to_string()))?;
        let mut inner = Inner::new(state, Ledger::in_memory());
        inner.kept = now;
        inner.unlisted_until = inner.state.current.as_ref().map(|_| inner.state.lives.end(now));
        *self.lock() = inner;
        Ok(())
    }

    /// What everybody is to believe; nothing before the first step.
    pub fn trust(&self) -> watch::Receiver<Option<Arc<Trust>>> {
        self.trust.subscribe()
    }

    /// Serves a node for as long as it counts.
    pub(crate) fn lease(&self, peer: Arc<Peer>) -> Result<Lease, Refusal> {
        Lease::new(peer, self.trust.subscribe())
    }

    /// The directory where an authority may be given as files, and where others may read one that is
    /// not.
    fn files(&self) -> Option<&Path> {
        // Where several processes have one, no directory is all of theirs.
        (!self.is_shared).then_some(self.directories.authority.as_path())
    }

    /// Waits for the right to change the state.
    pub(super) fn turn(&self) -> Turn<'_> {
        Turn(self.turns.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes a state down, and puts it in force. Meanwhile the one of before is in force, and only
    /// whose turn it is may change it.
    pub(super) fn commit(&self, _turn: &Turn<'_>, mut state: State) -> Result<(), CaError> {
        let files = self.files();
        let exported = state.current.as_ref().filter(|current| current.root_key.is_some());
        let exported = exported.filter(|_| files.is_some()).cloned();
        if let Some(current) = &exported {
            // Those of before stay known: a crash may leave the files half written.
            let digests = wanted::digests(current);
            if !digests.iter().all(|digest| state.exported.contains(digest)) {
                state.exported.extend(digests);
                let surplus = state.exported.len().saturating_sub(EXPORTS * 3);
                state.exported.drain(..surplus);
            }
        }
        let last = {
            let inner = self.lock();
            if state == inner.state && (inner.signer.is_some() || state.current.is_none()) {
                return Ok(());
            }
            inner.state.clone()
        };
        let signer = state.current.as_ref().map(Signer::new).transpose()?;
        state.save(&last, &*self.keep)?;
        let mut inner = self.lock();
        if state.rotation.phase != inner.state.rotation.phase {
            tracing::info!(from = ?inner.state.rotation.phase, to = ?state.rotation.phase, "replacement of the root");
        }
        inner.state = state;
        inner.signer = signer;
        if let (Some(current), Some(directory)) = (&exported, files) {
            wanted::export(directory, current, &inner.state.exported)?;
        }
        Ok(())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // State is replaced whole, so what a panic left behind is still true.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is wrong with an authority that has not been taken over.
const STANDS_BY: &str =
    "this controller stands by: another one, the holder of Lease mesh-control, signs; ask that one";

/// The files of this many authorities are known for the controller's own.
const EXPORTS: usize = 4;
