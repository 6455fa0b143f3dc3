//! What the watches have brought so far, and what that means to the model.
//!
//! No I/O and no clock. The model is handed over only once every kind was listed: half of a cluster
//! would be taken for all of it. From then on whatever is known stays in force, a kind at a time:
//! while one cannot be followed the others go on, and while one is listed again its objects stay
//! until the new list is complete.

use std::collections::{BTreeMap, BTreeSet};

use mesh_api::condition::Condition;

use super::{
    event::{Seen, object, stays},
    kind::Kind,
    model,
};
use crate::{
    objects::{ObjectName, ObjectRef, Objects, Observed, Parents, RouteName},
    source::{Snapshot, SourceError, decode::Decoded, merge::ca_secret},
};

/// What is to be followed of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Want {
    /// That depends on what is not known yet.
    Unknown,
    /// Nothing: the API server does not serve it, or nobody asks for it.
    Nothing,
    /// Every object.
    All,
    /// One object.
    One(ObjectName),
}

/// What changed since somebody last looked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct News {
    /// The model, or how the watches are.
    pub(super) model: bool,
    /// Conditions in the objects' status.
    pub(super) status: bool,
}

/// Everything that is known.
#[derive(Debug)]
pub(super) struct State {
    objects: Objects,
    /// Names of the definitions that are there, of ours only.
    definitions: BTreeSet<String>,
    problems: BTreeMap<(Kind, ObjectName), (ObjectRef, Condition)>,
    statuses: BTreeMap<ObjectRef, Observed>,
    parents: BTreeMap<RouteName, Parents>,
    /// In which of its versions a kind is followed.
    versions: BTreeMap<Kind, usize>,
    feeds: BTreeMap<Kind, Feed>,
    news: News,
    /// The model has something that was not handed over.
    unread: bool,
    handed_over: bool,
}

/// How the following of a kind is.
#[derive(Debug, Default)]
struct Feed {
    /// It was listed once.
    listed: bool,
    /// What of a list has come.
    listing: Option<BTreeSet<ObjectName>>,
    /// Why it does not come further.
    failure: Option<String>,
    /// What came and said nothing that can be understood.
    unreadable: Option<String>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            // The API server's own controller writes the slices of every Service that has a selector.
            objects: Objects { slices_complete: true, ..Objects::default() },
            definitions: BTreeSet::new(),
            problems: BTreeMap::new(),
            statuses: BTreeMap::new(),
            parents: BTreeMap::new(),
            versions: BTreeMap::new(),
            feeds: Kind::ALL.into_iter().map(|kind| (kind, Feed::default())).collect(),
            news: News::default(),
            unread: false,
            handed_over: false,
        }
    }
}

impl State {
    /// A list of this kind begins.
    pub(super) fn begin(&mut self, kind: Kind) {
        let feed = self.feed(kind);
        feed.listing = Some(BTreeSet::new());
        feed.unreadable = None;
    }

    /// An object is there.
    pub(super) fn there(&mut self, kind: Kind, seen: Seen) {
        let Seen { name, decoded, status, parents } = seen;
        if let Some(listing) = &mut self.feed(kind).listing {
            listing.insert(name.clone());
        }
        if kind == Kind::Definition {
            let ours = Kind::ALL.into_iter().any(|kind| kind.definition().as_deref() == Some(&name.name));
            if ours {
                self.definitions.insert(name.name);
            }
            return;
        }
        if let (Some(status), Some(decoded)) = (status, &decoded) {
            self.saw_status(decoded.reference(), status);
        }
        if let Some((kind, parents)) = kind.route().zip(parents) {
            self.saw_parents(RouteName { kind, name: name.clone() }, parents);
        }
        let key = (kind, name);
        let changed = match decoded {
            // Of a Secret that no authority is made of.
            None => self.problems.remove(&key).is_some() | model::remove(&mut self.objects, kind, &key.1),
            Some(Decoded::Problem(reference, condition)) => {
                let was_read = model::has(&self.objects, kind, &key.1);
                let condition = if was_read { stays(&condition) } else { condition };
                let problem = Some((reference, condition));
                let changed = self.problems.get(&key) != problem.as_ref();
                self.problems.extend(problem.map(|problem| (key, problem)));
                changed
            }
            Some(decoded) => {
                let solved = self.problems.remove(&key).is_some();
                let object = object(&decoded);
                solved | object.is_some_and(|object| model::put(&mut self.objects, key.1, object))
            }
        };
        self.changed(changed);
    }

    /// An object is gone.
    pub(super) fn gone(&mut self, kind: Kind, name: &ObjectName) {
        if let Some(listing) = &mut self.feed(kind).listing {
            listing.remove(name);
        }
        if kind == Kind::Definition {
            self.definitions.remove(&name.name);
            return;
        }
        self.statuses.remove(&super::event::reference(kind, name.clone()));
        if let Some(kind) = kind.route() {
            self.parents.remove(&RouteName { kind, name: name.clone() });
        }
        let solved = self.problems.remove(&(kind, name.clone())).is_some();
        let removed = model::remove(&mut self.objects, kind, name);
        self.changed(solved | removed);
    }

    /// The list of this kind is complete: what it does not have is gone.
    pub(super) fn complete(&mut self, kind: Kind) {
        let feed = self.feed(kind);
        let listing = feed.listing.take().unwrap_or_default();
        let first = !std::mem::replace(&mut feed.listed, true);
        if kind == Kind::Definition {
            self.definitions.retain(|name| listing.contains(&ObjectName::cluster(name)));
        }
        let had = self.problems.len();
        self.problems.retain(|(of, name), _| *of != kind || listing.contains(name));
        self.statuses.retain(|of, _| !is_of(kind, of) || listing.contains(&of.name));
        self.parents.retain(|of, _| kind.route() != Some(of.kind) || listing.contains(&of.name));
        let solved = self.problems.len() != had;
        let removed = model::retain(&mut self.objects, kind, |name| listing.contains(name));
        self.changed(first | solved | removed);
    }

    /// There is nothing of this kind.
    pub(super) fn nothing(&mut self, kind: Kind) {
        self.begin(kind);
        self.complete(kind);
        self.well(kind);
    }

    /// The API server refuses the kind, or has it in no version that is known here. The mesh does without the
    /// one Secret (the authority says what it lacks) and without routes, and without nothing else.
    pub(super) fn refused(&mut self, kind: Kind) {
        if kind.is_optional() && !std::mem::replace(&mut self.feed(kind).listed, true) {
            self.changed(true);
        }
    }

    /// The kind is followed in this of its versions.
    pub(super) fn follows(&mut self, kind: Kind, version: usize) {
        self.versions.insert(kind, version);
    }

    /// Where an object of a kind is written.
    pub(super) fn path(&self, kind: Kind, namespace: Option<&str>) -> String {
        kind.path_in(self.versions.get(&kind).copied().unwrap_or(0), namespace)
    }

    /// The kind cannot be followed now.
    pub(super) fn failing(&mut self, kind: Kind, why: String) {
        let why = Some(why);
        let feed = self.feed(kind);
        if feed.failure != why {
            feed.failure = why;
            self.news.model = true;
        }
    }

    /// The kind is followed again.
    pub(super) fn well(&mut self, kind: Kind) {
        self.news.model |= self.feed(kind).failure.take().is_some();
    }

    /// Something of this kind came that cannot be understood; it stands until the next list.
    pub(super) fn unreadable(&mut self, kind: Kind, what: String) {
        self.feed(kind).unreadable = Some(what);
        self.news.model = true;
    }

    /// What is to be followed of a kind.
    pub(super) fn want(&self, kind: Kind) -> Want {
        let listed = |kind| self.feeds.get(&kind).is_some_and(|feed: &Feed| feed.listed);
        match (kind, kind.definition()) {
            (Kind::Definition, _) => Want::All,
            // By then it is known whether the API server streams lists, too.
            _ if !listed(Kind::Definition) => Want::Unknown,
            (Kind::CaSecret, _) if !listed(Kind::MeshConfig) => Want::Unknown,
            (Kind::CaSecret, _) => ca_secret(&self.objects).map_or(Want::Nothing, Want::One),
            (_, Some(definition)) if !self.definitions.contains(&definition) => Want::Nothing,
            _ => Want::All,
        }
    }

    /// The state of the model, if it is other than the last that was taken.
    ///
    /// # Errors
    /// When some kind cannot be followed and there is nothing new besides.
    pub(super) fn take(&mut self) -> Result<Option<Snapshot>, SourceError> {
        let trouble = self.trouble();
        let complete = self.handed_over || self.feeds.values().all(|feed| feed.listed);
        if complete && std::mem::take(&mut self.unread) {
            self.handed_over = true;
            let mut problems = crate::objects::Conditions::new();
            for (reference, condition) in self.problems.values() {
                problems.entry(reference.clone()).or_default().push(condition.clone());
            }
            return Ok(Some(Snapshot { objects: self.objects.clone(), problems, trouble }));
        }
        trouble.map_or(Ok(None), |why| Err(SourceError::Cluster { why }))
    }

    /// What changed since the last call.
    pub(super) fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Every object of the model.
    pub(super) fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The conditions in the status of every object of ours.
    pub(super) fn statuses(&self) -> &BTreeMap<ObjectRef, Observed> {
        &self.statuses
    }

    /// The status of an object was written, or seen.
    pub(super) fn saw_status(&mut self, object: &ObjectRef, status: Observed) {
        if self.statuses.get(object) != Some(&status) {
            self.statuses.insert(object.clone(), status);
            self.news.status = true;
        }
    }

    /// What the status of every route says of its parents.
    pub(super) fn parents(&self) -> &BTreeMap<RouteName, Parents> {
        &self.parents
    }

    /// The parents in the status of a route were written, or seen.
    pub(super) fn saw_parents(&mut self, route: RouteName, parents: Parents) {
        if self.parents.get(&route) != Some(&parents) {
            self.parents.insert(route, parents);
            self.news.status = true;
        }
    }

    /// Every kind that does not come further, those with the same cause together.
    fn trouble(&self) -> Option<String> {
        let mut causes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (kind, feed) in &self.feeds {
            for cause in [&feed.failure, &feed.unreadable].into_iter().flatten() {
                causes.entry(cause).or_default().push(kind.name());
            }
        }
        let told: Vec<_> =
            causes.into_iter().map(|(cause, kinds)| format!("{}: {cause}", kinds.join(", "))).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    fn feed(&mut self, kind: Kind) -> &mut Feed {
        self.feeds.entry(kind).or_default()
    }

    fn changed(&mut self, changed: bool) {
        self.unread |= changed;
        self.news.model |= changed;
    }
}

fn is_of(kind: Kind, reference: &ObjectRef) -> bool {
    reference.kind == kind.name() && reference.api_version == kind.api_version()
}

#[cfg(test)]
mod tests;
