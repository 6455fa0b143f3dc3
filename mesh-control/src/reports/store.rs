//! What every node told last.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use mesh_api::{
    condition::Condition,
    reports::{PodReport, PodReports, PodReportsTaken},
};
use tokio::sync::watch;

use super::standing::{Node, Standing, standing};
use crate::{ca::Placements, objects::ObjectName};

/// Pods that a node may tell of: as many as its agent can hold.
pub(super) const PODS: usize = 4096;
/// The longest reason that is kept, characters.
const REASON: usize = 512;
/// The longest UID, bytes: those of pods have 36, of static pods 32.
const UID: usize = 64;
/// What a node told is forgotten when it has been silent for this long.
const FORGET: Duration = Duration::from_secs(3600);

/// What every node told last, and where pods are.
#[derive(Debug)]
pub struct Reports {
    placements: Arc<Placements>,
    nodes: Mutex<BTreeMap<Arc<str>, Told>>,
    changes: watch::Sender<u64>,
    /// Nobody can have told anything before.
    began: Mutex<Instant>,
}

/// What a node told.
#[derive(Debug)]
struct Told {
    stream: u64,
    /// By UID.
    pods: BTreeMap<String, PodReport>,
    /// What the present stream told, until it has told the whole.
    coming: Option<BTreeMap<String, PodReport>>,
    /// A stream of it told the whole.
    whole: bool,
    /// When its last stream ended, if none is open.
    ended: Option<Instant>,
}

/// Why a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// It names too many pods.
    #[error("a node may tell of {PODS} pods; this one tells of more")]
    TooMany,
    /// It names a pod as none is named.
    #[error("a pod's UID has at most {UID} bytes; this node tells of one with {0}")]
    Uid(usize),
    /// There is a newer one.
    #[error("a newer stream of this node has taken over")]
    Superseded,
}

/// How the pods stand of which there is something to say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Standings {
    /// What is true.
    pub conditions: BTreeMap<ObjectName, Condition>,
    /// Pods of which nobody can tell yet; what was said of them stays.
    pub later: BTreeSet<ObjectName>,
}

impl Reports {
    /// Nothing was told yet of the pods that are placed.
    #[must_use]
    pub fn new(placements: Arc<Placements>) -> Self {
        Self {
            placements,
            nodes: Mutex::default(),
            changes: watch::Sender::new(0),
            began: Mutex::new(Instant::now()),
        }
    }

    /// Counts whatever was told, to be waited on.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// From now on this controller is the one that nodes tell.
    pub fn told_from(&self, now: Instant) {
        *self.began.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// How the pods stand.
    pub fn standings(&self, now: Instant) -> Standings {
        let began = *self.began.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes = self.lock();
        let mut standings = Standings::default();
        self.placements.each(|name, pod| {
            if pod.ended {
                // What was true at its end stays written.
                standings.later.insert(name.clone());
                return;
            }
            let told = nodes.get(pod.node.as_str());
            let silent_since = told.map_or(Some(began), |told| told.ended.map(|ended| ended.max(began)));
            let node = Node {
                name: &pod.node,
                whole: told.is_some_and(|told| told.whole),
                silent: silent_since.map(|since| now.saturating_duration_since(since)),
                told: told.and_then(|told| told.pods.get(&pod.uid)),
            };
            match standing(pod.enrolled, node) {
                Standing::Nothing => {}
                Standing::Later => {
                    standings.later.insert(name.clone());
                }
                Standing::Is(condition) => {
                    standings.conditions.insert(name.clone(), condition);
                }
            }
        });
        standings
    }

    /// A node's stream begins. What an older one told holds until this one has told the whole.
    pub(crate) fn begin(&self, node: &Arc<str>, stream: u64, now: Instant) {
        let mut nodes = self.lock();
        nodes.retain(|_, told| told.ended.is_none_or(|ended| now.saturating_duration_since(ended) < FORGET));
        let told = nodes.entry(node.clone()).or_insert_with(|| Told {
            stream,
            pods: BTreeMap::new(),
            coming: None,
            whole: false,
            ended: None,
        });
        (told.stream, told.ended, told.coming) = (stream, None, Some(BTreeMap::new()));
        drop(nodes);
        self.notify();
    }

    /// What a stream tells. Names the pods that are known to be another node's.
    pub(crate) fn take(
        &self,
        node: &Arc<str>,
        stream: u64,
        message: PodReports,
    ) -> Result<PodReportsTaken, Refused> {
        let mut refused = Vec::new();
        let mut nodes = self.lock();
        let told = nodes.get_mut(node).filter(|told| told.stream == stream).ok_or(Refused::Superseded)?;
        let pods = told.coming.as_mut().unwrap_or(&mut told.pods);
        for uid in message.gone {
            pods.remove(&uid);
        }
        for mut pod in message.pods {
            if pod.uid.len() > UID {
                return Err(Refused::Uid(pod.uid.len()));
            }
            // One that is not known here yet may be of a state that the last controller told.
            let places = self.placements.of_uid(&pod.uid);
            if !places.is_empty() && places.iter().all(|(_, place)| *place.node != **node) {
                refused.push(pod.uid);
                continue;
            }
            if let Some((end, _)) = pod.reason.char_indices().nth(REASON) {
                // A copy: a shortened text keeps the room of the whole.
                pod.reason = pod.reason[..end].to_owned();
            }
            pods.insert(pod.uid.clone(), pod);
            if pods.len() > PODS {
                return Err(Refused::TooMany);
            }
        }
        if message.whole
            && let Some(coming) = told.coming.take()
        {
            told.pods = coming;
            told.whole = true;
        }
        drop(nodes);
        self.notify();
        Ok(PodReportsTaken { refused })
    }

    /// A stream ends; what it told holds for a while.
    pub(crate) fn end(&self, node: &Arc<str>, stream: u64, now: Instant) {
        let mut nodes = self.lock();
        if let Some(told) = nodes.get_mut(node).filter(|told| told.stream == stream) {
            (told.ended, told.coming) = (Some(now), None);
        }
        drop(nodes);
        self.notify();
    }

    fn notify(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Told>> {
        // Entries are written whole, so what a panic left behind is still true.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
