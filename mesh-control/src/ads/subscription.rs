//! The protocol of one resource type on one stream.
//!
//! A [`Subscription`] knows what the agent holds and what is under way. It is told of requests
//! and of changed names, and asked for the next response; it does no I/O.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mesh_api::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};

use super::store::View;
use crate::build::{Encoded, ResourceKey, ResourceKind};

/// A response is closed when its resources reach this size: a resource more still stays below
/// gRPC's usual 4 MiB.
const RESPONSE_BYTES: usize = 2 << 20;
/// An agent may subscribe to this many names; the wildcard is there for more.
const NAME_LIMIT: usize = 10_000;
/// Characters that are kept of why a node refuses a resource: it goes into logs and status.
const REFUSAL: usize = 512;

fn beginning(text: &str) -> String {
    text.chars().take(REFUSAL).collect()
}

/// What happened to resources that were sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// The agent holds these versions; nothing for a resource that it was told is no more.
    Acked(Vec<(ResourceKey, Option<String>)>),
    /// The agent refused this version of a resource.
    Nacked(ResourceKey, String, String),
}

/// Why a request cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProtocolError {
    /// More names than an agent may subscribe to.
    #[error("more than {NAME_LIMIT} names of {0} subscribed; subscribe to `*`")]
    TooManyNames(&'static str),
}

/// What an agent has of one type.
#[derive(Debug)]
pub(super) struct Subscription {
    kind: ResourceKind,
    wildcard: bool,
    names: BTreeSet<Arc<str>>,
    /// What it holds, or was sent.
    held: BTreeMap<Arc<str>, String>,
    /// What it refused, until that changes.
    refused: BTreeMap<Arc<str>, String>,
    /// What may differ from what it holds.
    dirty: BTreeMap<Arc<str>, Marked>,
    /// To be sent one by one, to find the one that is refused.
    suspects: BTreeSet<Arc<str>>,
    under_way: Option<UnderWay>,
    nonces: u64,
    /// The agent held nothing when it subscribed.
    began_empty: bool,
}

/// By which changes of the store, counted as [`View::sequence`] does, a resource has come to differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Marked {
    first: u64,
    last: u64,
}

#[derive(Debug)]
struct UnderWay {
    nonce: String,
    /// With the version; nothing = removed.
    sent: Vec<(Arc<str>, Option<String>)>,
    /// The first change that it tells of.
    since: u64,
}

impl Subscription {
    /// The subscription that an agent's first request of a type makes.
    pub(super) fn new(
        kind: ResourceKind,
        request: &DeltaDiscoveryRequest,
        view: &View<'_>,
    ) -> Result<Self, ProtocolError> {
        let mut subscription = Self {
            kind,
            wildcard: request.resource_names_subscribe.is_empty(),
            names: BTreeSet::new(),
            held: BTreeMap::new(),
            refused: BTreeMap::new(),
            dirty: BTreeMap::new(),
            suspects: BTreeSet::new(),
            under_way: None,
            nonces: 0,
            began_empty: request.initial_resource_versions.is_empty(),
        };
        // What the agent says it holds is compared like what was sent.
        for (name, version) in &request.initial_resource_versions {
            subscription.held.insert(name.as_str().into(), version.clone());
        }
        subscription.subscribe(request, view)?;
        subscription.mark_all(view);
        Ok(subscription)
    }

    /// A further request: an answer to a response, other names, or both.
    pub(super) fn on_request(
        &mut self,
        request: &DeltaDiscoveryRequest,
        view: &View<'_>,
    ) -> Result<Vec<Event>, ProtocolError> {
        self.subscribe(request, view)?;
        let answers = self.under_way.take_if(|under_way| under_way.nonce == request.response_nonce);
        let Some(under_way) = answers else { return Ok(Vec::new()) };
        let Some(error) = &request.error_detail else {
            for (name, _) in &under_way.sent {
                self.suspects.remove(name);
            }
            let acked = under_way.sent.into_iter().map(|(name, version)| (self.key(&name), version));
            return Ok(vec![Event::Acked(acked.collect())]);
        };
        Ok(self.on_refusal(under_way, &error.message))
    }

    /// A refused response holds one resource at least that is refused; of the others it is not
    /// known, so they are sent again without it.
    fn on_refusal(&mut self, UnderWay { sent, since, .. }: UnderWay, error: &str) -> Vec<Event> {
        let named = sent.iter().filter(|(name, version)| version.is_some() && error.contains(&**name));
        // The longest name: `a/b` is also in the text that says `a/b/c`.
        let named = named.max_by_key(|(name, _)| name.len()).map(|(name, _)| name.clone());
        let culprit = named.or_else(|| (sent.len() == 1).then(|| sent[0].0.clone()));
        let mut events = Vec::new();
        for (name, version) in sent {
            self.held.remove(&name);
            if Some(&name) == culprit.as_ref() {
                self.suspects.remove(&name);
                if let Some(version) = version {
                    events.push(Event::Nacked(self.key(&name), version.clone(), beginning(error)));
                    self.refused.insert(name, version);
                }
            } else {
                if culprit.is_none() {
                    self.suspects.insert(name.clone());
                }
                if version.is_none() {
                    // Removal is told again.
                    self.held.insert(name.clone(), String::new());
                }
                self.dirty(name, since);
            }
        }
        events
    }

    /// Resources that changed, as of the view's last change.
    pub(super) fn mark(&mut self, keys: &BTreeSet<ResourceKey>, view: &View<'_>) {
        for key in keys {
            if key.kind == self.kind && (self.wildcard || self.names.contains(&key.name)) {
                self.dirty(key.name.clone(), view.sequence());
            }
        }
    }

    /// Everything may have changed.
    pub(super) fn mark_all(&mut self, view: &View<'_>) {
        let mut names: BTreeSet<_> = self.held.keys().chain(self.refused.keys()).cloned().collect();
        if self.wildcard {
            names.extend(view.of_kind(self.kind));
        }
        names.extend(self.names.iter().cloned());
        names.into_iter().for_each(|name| self.dirty(name, view.sequence()));
    }

    fn dirty(&mut self, name: Arc<str>, sequence: u64) {
        let marked = self.dirty.entry(name).or_insert(Marked { first: sequence, last: sequence });
        marked.last = marked.last.max(sequence);
    }

    /// Whether a response could be made now.
    pub(super) fn may_send(&self) -> bool {
        self.under_way.is_none() && !self.dirty.is_empty()
    }

    /// Whether the agent held nothing when it subscribed.
    pub(super) fn began_empty(&self) -> bool {
        self.began_empty
    }

    /// Whether nothing was sent yet.
    pub(super) fn is_first(&self) -> bool {
        self.nonces == 0
    }

    /// Whether a resource has still to be sent.
    pub(super) fn is_to_send(&self, name: &str) -> bool {
        self.dirty.contains_key(name)
    }

    /// What is to be sent, or was and is not answered.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = &Arc<str>> {
        let under_way = self.under_way.iter().flat_map(|under_way| &under_way.sent);
        self.dirty.keys().chain(under_way.map(|(name, _)| name))
    }

    /// The first change that the agent has not answered for.
    pub(super) fn unsettled_since(&self) -> Option<u64> {
        let dirty = self.dirty.values().map(|marked| marked.first);
        dirty.chain(self.under_way.iter().map(|under_way| under_way.since)).min()
    }

    /// Whether there is a resource to be taken back.
    pub(super) fn has_removals(&self, view: &View<'_>) -> bool {
        self.dirty.keys().any(|name| view.get(&self.key(name)).is_none())
    }

    /// The next response, unless one is under way or there is nothing to say. What `hold` names is
    /// held back: by its name, its present content, and the last change of it.
    pub(super) fn next_response(
        &mut self,
        view: &View<'_>,
        hold: impl Fn(&str, Option<&Encoded>, u64) -> bool,
    ) -> Option<DeltaDiscoveryResponse> {
        if self.under_way.is_some() {
            return None;
        }
        let mut resources = Vec::new();
        let mut removed_resources = Vec::new();
        let mut sent = Vec::new();
        let mut bytes = 0;
        let mut since = u64::MAX;
        let mut held_back = Vec::new();
        while let Some((name, marked)) = self.dirty.pop_first() {
            let wanted = self.wildcard || self.names.contains(&name);
            let current = view.get(&self.key(&name)).filter(|_| wanted);
            if hold(&name, current.map(Arc::as_ref), marked.last) {
                held_back.push((name, marked));
                continue;
            }
            let suspect = self.suspects.contains(&name);
            if suspect && !sent.is_empty() {
                self.dirty.insert(name, marked);
                break;
            }
            match current {
                Some(encoded) => {
                    let version = &encoded.version;
                    if self.held.get(&name) == Some(version) || self.refused.get(&name) == Some(version) {
                        continue;
                    }
                    bytes += encoded.resource.value.len();
                    resources.push(Resource {
                        version: version.clone(),
                        resource: Some(encoded.resource.clone()),
                        name: name.to_string(),
                    });
                    self.refused.remove(&name);
                    self.held.insert(name.clone(), version.clone());
                    sent.push((name, Some(version.clone())));
                }
                None => {
                    // Of what it refused it may hold an older version.
                    let held = self.refused.remove(&name).is_some() | self.held.remove(&name).is_some();
                    // A name that was asked for is answered even if there is no such resource.
                    if !held && !self.names.contains(&name) {
                        continue;
                    }
                    removed_resources.push(name.to_string());
                    sent.push((name, None));
                }
            }
            since = since.min(marked.first);
            if bytes >= RESPONSE_BYTES || suspect {
                break;
            }
        }
        // The first answer is given even if it is empty: it says that there is nothing, or nothing new.
        let owed = self.nonces == 0 && held_back.is_empty();
        self.dirty.extend(held_back);
        if sent.is_empty() && !owed {
            return None;
        }
        self.nonces += 1;
        let nonce = format!("{}-{}", self.kind.name(), self.nonces);
        self.under_way = Some(UnderWay { nonce: nonce.clone(), sent, since });
        Some(DeltaDiscoveryResponse {
            system_version_info: view.sequence().to_string(),
            resources,
            type_url: self.kind.type_url(),
            nonce,
            removed_resources,
        })
    }

    /// What the agent holds by its own word, before anything was sent.
    pub(super) fn resumed(&self) -> Event {
        let held = self.held.iter().map(|(name, version)| (self.key(name), Some(version.clone())));
        Event::Acked(held.collect())
    }

    fn subscribe(&mut self, request: &DeltaDiscoveryRequest, view: &View<'_>) -> Result<(), ProtocolError> {
        for name in &request.resource_names_subscribe {
            if name == "*" {
                self.wildcard = true;
                view.of_kind(self.kind).into_iter().for_each(|name| self.dirty(name, view.sequence()));
            } else {
                let name: Arc<str> = name.as_str().into();
                self.dirty(name.clone(), view.sequence());
                self.names.insert(name);
            }
        }
        for name in &request.resource_names_unsubscribe {
            if name == "*" {
                self.wildcard = false;
            } else {
                self.names.remove(name.as_str());
            }
        }
        if !request.resource_names_unsubscribe.is_empty() {
            let (wildcard, names) = (self.wildcard, &self.names);
            // The agent forgets what it unsubscribes from by itself.
            self.held.retain(|name, _| wildcard || names.contains(name));
            self.dirty.retain(|name, _| wildcard || names.contains(name));
        }
        if self.names.len() > NAME_LIMIT {
            return Err(ProtocolError::TooManyNames(self.kind.name()));
        }
        Ok(())
    }

    fn key(&self, name: &Arc<str>) -> ResourceKey {
        ResourceKey::new(self.kind, name.clone())
    }
}
