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
use crate::build::{ResourceKey, ResourceKind};

/// A response is closed when its resources reach this size: a resource more still stays below
/// gRPC's usual 4 MiB.
const RESPONSE_BYTES: usize = 2 << 20;
/// An agent may subscribe to this many names; the wildcard is there for more.
const NAME_LIMIT: usize = 10_000;

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
    dirty: BTreeSet<Arc<str>>,
    /// To be sent one by one, to find the one that is refused.
    suspects: BTreeSet<Arc<str>>,
    under_way: Option<UnderWay>,
    nonces: u64,
}

#[derive(Debug)]
struct UnderWay {
    nonce: String,
    /// With the version; nothing = removed.
    sent: Vec<(Arc<str>, Option<String>)>,
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
            dirty: BTreeSet::new(),
            suspects: BTreeSet::new(),
            under_way: None,
            nonces: 0,
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
        Ok(self.on_refusal(under_way.sent, &error.message))
    }

    /// A refused response holds one resource at least that is refused; of the others it is not
    /// known, so they are sent again without it.
    fn on_refusal(&mut self, sent: Vec<(Arc<str>, Option<String>)>, error: &str) -> Vec<Event> {
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
                    events.push(Event::Nacked(self.key(&name), version.clone(), error.to_owned()));
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
                self.dirty.insert(name);
            }
        }
        events
    }

    /// Resources that changed.
    pub(super) fn mark(&mut self, keys: &BTreeSet<ResourceKey>) {
        let ours = keys.iter().filter(|key| key.kind == self.kind).map(|key| key.name.clone());
        let (wildcard, names) = (self.wildcard, &self.names);
        self.dirty.extend(ours.filter(|name| wildcard || names.contains(name)));
    }

    /// Everything may have changed.
    pub(super) fn mark_all(&mut self, view: &View<'_>) {
        self.dirty.extend(self.held.keys().chain(self.refused.keys()).cloned());
        if self.wildcard {
            self.dirty.extend(view.of_kind(self.kind));
        }
        self.dirty.extend(self.names.iter().cloned());
    }

    /// The next response, unless one is under way or there is nothing to say. Names that `first`
    /// has still to send are held back until it has.
    pub(super) fn next_response(
        &mut self,
        view: &View<'_>,
        first: Option<&Self>,
    ) -> Option<DeltaDiscoveryResponse> {
        if self.under_way.is_some() {
            return None;
        }
        let mut resources = Vec::new();
        let mut removed_resources = Vec::new();
        let mut sent = Vec::new();
        let mut bytes = 0;
        let mut held_back = BTreeSet::new();
        while let Some(name) = self.dirty.pop_first() {
            if first.is_some_and(|first| first.dirty.contains(&name)) {
                held_back.insert(name);
                continue;
            }
            let suspect = self.suspects.contains(&name);
            if suspect && !sent.is_empty() {
                self.dirty.insert(name);
                break;
            }
            let wanted = self.wildcard || self.names.contains(&name);
            match view.get(&self.key(&name)).filter(|_| wanted) {
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
            if bytes >= RESPONSE_BYTES || suspect {
                break;
            }
        }
        self.dirty.append(&mut held_back);
        // The first answer is given even if it is empty: it says that there is nothing, or nothing new.
        if sent.is_empty() && self.nonces > 0 {
            return None;
        }
        self.nonces += 1;
        let nonce = format!("{}-{}", self.kind.name(), self.nonces);
        self.under_way = Some(UnderWay { nonce: nonce.clone(), sent });
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
                self.dirty.extend(view.of_kind(self.kind));
            } else {
                let name: Arc<str> = name.as_str().into();
                self.dirty.insert(name.clone());
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
            self.dirty.retain(|name| wildcard || names.contains(name));
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
