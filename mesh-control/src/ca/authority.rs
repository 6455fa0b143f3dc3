//! The authority as a whole: what it knows, and each step it takes.
//!
//! A step is decided on a copy of the state, written down, and only then in force. So a crash, or
//! a disk that is full, leaves what was before.

mod joining;
mod progress;
mod select;
mod server;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mesh_api::resources::TrustBundle;
use tokio::sync::watch;

use super::{
    files::{self, FileError},
    generate::{self, GenerateError},
    join::JoinFiles,
    lease::Lease,
    ledger::Ledger,
    material::Signer,
    origin::GivenError,
    peer::Peer,
    placement::Placements,
    random::NoRandom,
    rate::Rates,
    review::Agents,
    rotation::{Due, Phase, Progress, Rotation, due},
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
        "the controller has not read its source yet, or has no certificate authority; see its log and GET /ca"
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
    inner: Mutex<Inner>,
    trust: watch::Sender<Option<Arc<Trust>>>,
}

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
    pub(super) progress: Progress,
    pub(super) problem: Option<String>,
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
        let joins = JoinFiles::new(directories.join.clone(), directories.agent_uid)?;
        let state = State::load(&directories.authority)?;
        let ledger = Ledger::open(directories.authority.join("issued"), now)?;
        let inner = Inner {
            state,
            ledger,
            rates: Rates::default(),
            signer: None,
            demand: None,
            server: None,
            presence: Presence::default(),
            progress: Progress::default(),
            problem: None,
        };
        let authority = Self {
            directories,
            joins,
            placements,
            agents: None,
            inner: Mutex::new(inner),
            trust: watch::Sender::new(None),
        };
        Ok(authority)
    }

    /// The same, where nodes join by their agents' ServiceAccount and not by join files.
    #[must_use]
    pub fn with_agents(mut self, agents: Agents) -> Self {
        self.agents = Some(agents);
        self
    }

    /// What everybody is to believe; nothing before the first step.
    pub fn trust(&self) -> watch::Receiver<Option<Arc<Trust>>> {
        self.trust.subscribe()
    }

    /// Serves a node for as long as it counts.
    pub(crate) fn lease(&self, peer: Arc<Peer>) -> Result<Lease, Refusal> {
        Lease::new(peer, self.trust.subscribe())
    }

    /// Takes one step: what the model asks for, what the time brings, what nodes have come to.
    /// What goes wrong is kept as the problem, and stops nothing that worked.
    pub(super) fn step(&self, demand: &Demand, streams: &Streams, now: Timestamp) {
        let mut inner = self.lock();
        let result = self.try_step(&mut inner, demand, streams, now);
        let problem = result.err().map(|error| error.to_string());
        if let Some(problem) = problem.as_ref().filter(|problem| inner.problem.as_ref() != Some(*problem)) {
            tracing::error!(%problem, "certificate authority");
        }
        inner.problem = problem;
    }

    fn try_step(
        &self,
        inner: &mut Inner,
        demand: &Demand,
        streams: &Streams,
        now: Timestamp,
    ) -> Result<(), CaError> {
        inner.ledger.forget_expired(now);
        let mut state = inner.state.clone();
        if state.trust_domain != demand.trust_domain {
            let previous = std::mem::replace(&mut state.trust_domain, demand.trust_domain.clone());
            state.previous_trust_domain = Some(previous).filter(|domain| !domain.is_empty());
        }
        inner.presence.look(&streams.connected, now);
        inner.progress = self.progress(inner, streams, now);
        // An authority that cannot be taken leaves the one that signs, and everything else goes on.
        let selected = select::select(&mut state, &self.directories.authority, demand, now);
        let maintained = maintain(&mut state, inner, demand, now);
        // What nodes acknowledged counts only for the roots that a phase is about.
        let told = self.trust.borrow().as_ref().map(|trust| trust.bundle.roots.clone());
        let is_told = told == Some(server::roots(&inner.state)?.iter().map(|root| root.to_vec()).collect());
        if is_told
            && state.rotation == inner.state.rotation
            && let Some(phase) = state.rotation.advance(inner.progress, now)
        {
            enter(&mut state, phase, now);
        }
        let settings = &demand.settings;
        let moved = state.nodes.look(&demand.nodes, now, |node| {
            inner.ledger.last_expiry(node).max(now.after(settings.workload_ttl))
        });
        moved.went.iter().for_each(|node| state.tokens.remove(node));
        self.commit(inner, state)?;
        for node in &moved.went {
            tracing::warn!(node, "node removed: its certificates are refused from now on");
            inner.rates.remove(node);
        }
        inner.demand = Some(demand.clone());
        if inner.signer.is_some() {
            self.publish(inner, now)?;
            self.invite(inner, &moved.came, now)?;
        }
        selected.and(maintained)
    }

    /// Writes a state down, and puts it in force.
    pub(super) fn commit(&self, inner: &mut Inner, mut state: State) -> Result<(), CaError> {
        let directory = &self.directories.authority;
        let exported = state.current.as_ref().filter(|current| current.root_key.is_some()).cloned();
        if let Some(current) = &exported {
            // Those of before stay known: a crash may leave the files half written.
            let digests = wanted::digests(current);
            if !digests.iter().all(|digest| state.exported.contains(digest)) {
                state.exported.extend(digests);
                let surplus = state.exported.len().saturating_sub(EXPORTS * 3);
                state.exported.drain(..surplus);
            }
        }
        if state == inner.state && (inner.signer.is_some() || state.current.is_none()) {
            return Ok(());
        }
        let signer = state.current.as_ref().map(Signer::new).transpose()?;
        if state != inner.state {
            state.save(directory)?;
        }
        if state.rotation.phase != inner.state.rotation.phase {
            tracing::info!(from = ?inner.state.rotation.phase, to = ?state.rotation.phase, "replacement of the root");
        }
        inner.state = state;
        inner.signer = signer;
        if let Some(current) = &exported {
            wanted::export(directory, current, &inner.state.exported)?;
        }
        Ok(())
    }

    /// Tells everybody, if anything changed.
    fn publish(&self, inner: &mut Inner, now: Timestamp) -> Result<(), CaError> {
        let Inner { state, signer, server, demand, .. } = inner;
        let (Some(signer), Some(demand)) = (signer.as_ref(), demand.as_ref()) else { return Ok(()) };
        let roots = server::roots(state)?;
        let bundle = TrustBundle {
            trust_domain: state.trust_domain.clone(),
            roots: roots.iter().map(|root| root.to_vec()).collect(),
            issuer_key_id: signer.key_id.clone(),
            revoked: state.nodes.revoked().iter().map(|tag| tag.bytes().to_vec()).collect(),
        };
        let is_fresh = |server: &Server| server.is_good(&bundle, now);
        if !server.as_ref().is_some_and(is_fresh) {
            *server = Some(Server::new(signer, &bundle, &roots, demand.settings.workload_ttl, now)?);
        }
        let Some(server) = server.as_ref() else { return Ok(()) };
        let domains = [Some(state.trust_domain.clone()), state.previous_trust_domain.clone()];
        let trust = Trust {
            domains: domains.into_iter().flatten().collect(),
            tags: state.nodes.tags(),
            revoked: state.nodes.revoked(),
            bundle,
            server: server.config.clone(),
        };
        let is_stale = |last: &Arc<Trust>| {
            (&last.bundle.roots, &last.bundle.trust_domain)
                != (&trust.bundle.roots, &trust.bundle.trust_domain)
        };
        let stale = self.trust.borrow().as_ref().is_none_or(is_stale);
        self.trust.send_if_modified(|last| {
            let same = last.as_ref().is_some_and(|last| last.is_same(&trust));
            if !same {
                *last = Some(Arc::new(trust));
            }
            !same
        });
        inner.presence.published(now);
        if stale {
            self.refresh_joins(inner)?;
        }
        Ok(())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // State is replaced whole, so what a panic left behind is still true.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files of this many authorities are known for the controller's own.
const EXPORTS: usize = 4;

/// What a generated authority needs in time.
fn maintain(state: &mut State, inner: &Inner, demand: &Demand, now: Timestamp) -> Result<(), CaError> {
    let Some(signer) = &inner.signer else { return Ok(()) };
    let current = state.current.as_ref().filter(|current| current.root_key.is_some());
    // One that is about to be replaced, or was just now, is looked at in the next step.
    let Some(current) = current.filter(|_| state.current == inner.state.current) else { return Ok(()) };
    let settings = &demand.settings;
    let lives = (signer.not_before, signer.not_after);
    match due(state.rotation.phase, lives, signer.root_not_after, settings.issuer_ttl, now) {
        Due::Nothing => {}
        Due::Issuer => {
            tracing::info!(expires = %signer.not_after, "the issuer is renewed");
            let renewed = generate::issuer(current, settings.issuer_ttl, signer.root_not_after, now)?;
            state.current = Some(renewed);
        }
        Due::Root => {
            tracing::info!(expires = %signer.root_not_after, "the root is replaced before it expires");
            begin(state, generate::root(settings.root_ttl, settings.issuer_ttl, now)?, now);
        }
    }
    Ok(())
}

/// Begins the replacement of the root.
pub(super) fn begin(state: &mut State, next: super::material::Material, now: Timestamp) {
    state.next = Some(next);
    state.rotation = Rotation::at(Phase::Distributing, now);
}

/// Enters the phase that follows.
fn enter(state: &mut State, phase: Phase, now: Timestamp) {
    match phase {
        Phase::Reissuing => {
            if let Some(next) = state.next.take() {
                state.retired = state.current.replace(next).map(|retired| retired.roots);
                state.generation += 1;
            }
        }
        Phase::Stable => state.retired = None,
        Phase::Distributing => {}
    }
    state.rotation = Rotation::at(phase, now);
}
