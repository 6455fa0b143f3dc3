//! The loop: takes signs that something changed, looks, and brings the kernel to where it should
//! be. Level-triggered: no event is needed for correctness, events only make it prompt.

mod late;
mod reconcile;
#[cfg(test)]
mod tests;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use mesh_ebpf::abi::{Class, Settings};
use mesh_ebpf::address::Address;

use super::apply::Kernel;
use super::cgroups::watch::Watcher;
use super::cgroups::{Finder, Tree};
use super::content::Content;
use super::enforce::Work;
use super::given::Successor;
use super::hierarchy;
use super::linger::Ending;
use super::observe::{Observation, Observer};
use super::older::Older;
use super::outbox::Outbox;
use super::pins::Pins;
use super::report::Health;
use super::roster::Roster;
use super::signal::{Inbox, Signal};
use super::slots::Slots;
use super::target::{Decision, State};
use crate::handover::{LocalPod, PodReport, PodState};

/// How long the loop waits for a sign before it looks by itself.
const TICK: Duration = Duration::from_secs(1);
/// How soon it looks again while a pod with processes is not wired: they may be on their way into
/// the pod's namespace, or the CNI plugin at work. Doubles up to [`TICK`].
const HURRY: Duration = Duration::from_millis(4);
/// Messages taken before the kernel is brought up to date.
const BATCH: usize = 4096;
/// Cgroups of agents that are known at once.
pub(super) const AGENTS: usize = 8;

/// Why the loop ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// It was told to.
    Told,
    /// For another wire.
    GaveWay(Successor),
}

/// What changed since the last commit, so that open connections are judged anew.
#[derive(Debug, Default)]
struct Changed {
    everything: bool,
    pods: BTreeSet<String>,
}

/// What the loop is made of.
pub(super) struct Parts {
    /// The node's name.
    pub(super) name: String,
    /// The kernel.
    pub(super) kernel: Kernel,
    /// Finds pods' cgroups.
    pub(super) finder: Finder,
    /// Watches for changes in them.
    pub(super) watcher: Watcher,
    /// Looks at pods.
    pub(super) observer: Observer,
    /// Cgroups of this agent.
    pub(super) agents: Vec<PathBuf>,
    /// What relay compiled.
    pub(super) content: Content,
    /// The wired pods, for other threads.
    pub(super) roster: Roster,
    /// Connections older than their pod's wiring.
    pub(super) older: Older,
    /// What other threads report of the loop.
    pub(super) health: Health,
    /// What relay is told.
    pub(super) outbox: Outbox,
    /// Work on open connections.
    pub(super) work: Sender<Work>,
    /// Whether maps were adopted.
    pub(super) adopted: bool,
    /// The pin directory, held for as long as the loop runs.
    pub(super) pins: Pins,
    /// Whether another wire gave way to this one.
    pub(super) succeeds: bool,
    /// How long to go on for relay's sake, once told to end.
    pub(super) linger: Duration,
}

/// The state of the loop.
pub(super) struct Node {
    parts: Parts,
    held: State,
    slots: Slots,
    tree: Tree,
    seen: Observation,
    pods: BTreeMap<String, LocalPod>,
    epochs: BTreeMap<String, u64>,
    synced: bool,
    unknown_closed: bool,
    decisions: BTreeMap<String, Decision>,
    failures: BTreeMap<u64, String>,
    deaf: BTreeMap<u64, String>,
    ran_before: BTreeSet<String>,
    late: BTreeSet<String>,
    looked_once: bool,
    reported: BTreeMap<String, PodReport>,
    commits: Vec<u64>,
    changed: Changed,
    gone: Vec<Address>,
    session: u64,
    trouble: Vec<String>,
    alone: bool,
    ending: Ending,
    successor: Option<Successor>,
}

impl Node {
    /// The loop's state, with what an earlier wire left in the kernel.
    ///
    /// # Errors
    /// When the maps cannot be read.
    pub(super) fn new(parts: Parts) -> Result<Self, super::maps::MapFailure> {
        let held = parts.kernel.held()?;
        let slots = Slots::adopt(
            held.cgroups
                .values()
                .chain(held.local.values())
                .map(|pod| (pod.uid, pod.slot))
                .collect::<BTreeMap<_, _>>(),
        );
        let unknown_closed = held.settings.flags & Settings::UNKNOWN_CLOSED != 0;
        Ok(Self {
            parts,
            held,
            slots,
            tree: Tree::default(),
            seen: Observation::default(),
            pods: BTreeMap::new(),
            epochs: BTreeMap::new(),
            synced: false,
            unknown_closed,
            decisions: BTreeMap::new(),
            failures: BTreeMap::new(),
            deaf: BTreeMap::new(),
            ran_before: BTreeSet::new(),
            late: BTreeSet::new(),
            looked_once: false,
            reported: BTreeMap::new(),
            commits: Vec::new(),
            changed: Changed::default(),
            gone: Vec::new(),
            session: 0,
            trouble: Vec::new(),
            alone: false,
            ending: Ending::default(),
            successor: None,
        })
    }

    /// Attaches what is always attached and looks for the first time, before anything is heard.
    pub(super) fn begin(&mut self) {
        self.verify();
        self.reconcile();
    }

    /// Runs until it is told to end and relay is gone or its time over, or until another wire is to go on.
    pub(super) fn run(&mut self, inbox: &Inbox) -> Ended {
        let mut next_tick = Instant::now() + TICK;
        let mut hurry: Option<Duration> = None;
        loop {
            let patience = next_tick.saturating_duration_since(Instant::now()).min(hurry.unwrap_or(TICK));
            match inbox.next(patience) {
                Ok(signal) => {
                    hurry = None;
                    self.hear(signal);
                    for signal in inbox.waiting().take(BATCH) {
                        self.hear(signal);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ended::Told,
            }
            if let Some(successor) = self.successor.take() {
                return Ended::GaveWay(successor);
            }
            if self.ending.is_over(self.parts.outbox.is_connected()) {
                return Ended::Told;
            }
            if Instant::now() >= next_tick {
                next_tick = Instant::now() + TICK;
                // What failed is tried again.
                self.failures.clear();
                self.deaf.clear();
                self.verify();
                if let Err(error) = self.parts.kernel.take_up_what_is_left() {
                    tracing::error!(node = self.parts.name, %error, "a pod's listeners are not in place; tried again");
                }
            }
            inbox.look();
            self.reconcile();
            hurry = self.somebody_waits().then(|| hurry.map_or(HURRY, |last| (last * 2).min(TICK)));
        }
    }

    /// Whether a pod with processes is pending for a reason that looking again may resolve.
    fn somebody_waits(&self) -> bool {
        self.failures.is_empty()
            && self.deaf.is_empty()
            && self.seen.pods.iter().any(|(uid, seen)| {
                seen.running && self.decisions.get(uid).is_some_and(|one| one.state == PodState::Pending)
            })
    }

    fn hear(&mut self, signal: Signal) {
        match signal {
            Signal::Look => {}
            Signal::Agent(pid) => self.know_agent(pid),
            Signal::Relay(session, message) => self.told(session, message),
            Signal::GiveWay(successor) => self.successor = Some(successor),
            Signal::End => {
                tracing::info!(node = self.parts.name, within = ?self.parts.linger, "wire ends when relay has");
                self.ending.told(self.parts.linger);
            }
        }
    }

    /// What is left to a wire that goes on in this one's place: everything is let go, the pins last.
    pub(super) fn give_way(self) -> (Vec<u32>, Ending) {
        let agents = self.parts.agents.iter().flat_map(|path| hierarchy::processes(path)).collect();
        self.parts.kernel.listeners.close_all();
        (agents, self.ending)
    }

    /// Keeps the cgroups of agents as a set: during an upgrade there are two.
    fn know_agent(&mut self, pid: u32) {
        self.forget_agents();
        let agents = &mut self.parts.agents;
        match self.parts.finder.hierarchy.of_process(pid) {
            Ok(path) if agents.contains(&path) => {}
            Ok(path) if agents.len() < AGENTS => {
                if let Err(error) = self.parts.kernel.links.attach_options(&path) {
                    tracing::error!(%error, "relay's socket options are not answered; tried again");
                }
                agents.push(path);
            }
            Ok(path) => tracing::warn!(cgroup = %path.display(), "too many agents are known already"),
            Err(error) => tracing::warn!(%error, "cannot tell relay's cgroup"),
        }
    }

    /// Forgets the cgroups of agents that ended: a runtime may keep a container's until its pod goes. The first is ours.
    fn forget_agents(&mut self) {
        let mut ours = true;
        self.parts.agents.retain(|path| std::mem::take(&mut ours) || hierarchy::is_inhabited(path));
    }

    fn verify(&mut self) {
        self.forget_agents();
        let trouble = self.parts.kernel.verify(&mut self.held, &self.parts.agents);
        if trouble != self.trouble {
            for what in &trouble {
                tracing::error!(node = self.parts.name, what, "a program is not attached");
            }
            if trouble.is_empty() {
                tracing::info!(node = self.parts.name, "every program is attached again");
            }
            self.trouble = trouble;
        }
    }

    /// Cgroups that are no pods, with their classes.
    fn fixed(&self) -> BTreeMap<u64, Class> {
        let roots = self.tree.roots.iter().map(|root| (root.id, Class::PodsRoot));
        let agents = self
            .parts
            .agents
            .iter()
            .filter_map(|path| hierarchy::cgroup_id(path).ok())
            .map(|id| (id, Class::Agent));
        roots.chain(agents).collect()
    }
}
