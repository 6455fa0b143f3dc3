//! From routes of the Gateway API to what is done with the requests that are dialled to a Service (GEP-1294).
//!
//! | module | |
//! |---|---|
//! | [`written`], [`read`] | a route as it is written, and judged on its own: a [`read::Draft`] |
//! | [`parents`] | the Services and ports that it is for |
//! | [`mod@matches`], [`filters`], [`backends`], [`timing`] | the parts of a rule |
//! | [`mod@reference`], [`guarded`] | Services that rules name, looked up |
//! | [`tables`] | all routes of a Service, each port's in the order of precedence |
//! | [`standing`] | what a route's status says |
//!
//! What is invalid in a route fails its rule, and where no rule is left the route: then it stays in force as it was
//! when it last was valid (SEMANTICS 5.3), as long as this process remembers.

mod backends;
mod filters;
mod guarded;
mod matches;
mod parents;
mod read;
mod reference;
mod standing;
mod tables;
#[cfg(test)]
mod tests;
mod timing;
mod written;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mesh_api::{condition::Condition, resources::ServiceRoutes};

pub use standing::ParentStatus;

use super::{fields::Problem, services::Services};
use crate::objects::{Conditions, ObjectName, ObjectRef, Objects, Route, RouteKind, RouteName};
use guarded::Guarded;
use read::Draft;
use tables::Built;

/// What is said of the parents of every route that is for Services.
pub type RouteParents = BTreeMap<RouteName, Vec<ParentStatus>>;

/// What is wrong with a route that is for Services, one thing at a time.
pub(super) fn problems(kind: RouteKind, route: &Route) -> Vec<Problem> {
    let draft = read::read(kind, route);
    if draft.parents.is_empty() { Vec::new() } else { draft.problems }
}

/// The routes, and what they come to.
#[derive(Debug, Default)]
pub(super) struct Routes {
    known: BTreeMap<RouteName, Known>,
    /// Routes by the Services that are their parents, and by those that they lead to.
    by_parent: Index,
    by_backend: Index,
    guarded: Guarded,
    /// Of policies that are not built.
    refusals: Conditions,
    built: BTreeMap<ObjectName, Built>,
    parents: Arc<RouteParents>,
    conditions: BTreeMap<RouteName, (ObjectRef, Vec<Condition>)>,
}

type Index = BTreeMap<ObjectName, BTreeSet<RouteName>>;

/// A route.
#[derive(Debug, Clone)]
struct Known {
    draft: Arc<Draft>,
    /// What of it is in force: it itself or, where it is refused, what it was before.
    in_force: Option<Arc<Draft>>,
}

impl Routes {
    /// Takes over what changed; returns the Services whose routes are other than before.
    pub(super) fn update(
        &mut self,
        old: &Objects,
        new: &Objects,
        services: &Services,
        services_changed: &BTreeSet<ObjectName>,
    ) -> BTreeSet<ObjectName> {
        let changed: BTreeSet<RouteName> = super::changed(&old.routes, &new.routes).cloned().collect();
        let mut dirty_routes = changed.clone();
        let mut dirty: BTreeSet<ObjectName> = BTreeSet::new();
        for name in &changed {
            dirty.extend(self.read(name, new.routes.get(name)));
        }
        let guarded = self.guarded.update(&old.backend_tls_policies, &new.backend_tls_policies);
        if old.backend_tls_policies != new.backend_tls_policies {
            self.refusals = guarded::refusals(&new.backend_tls_policies).collect();
        }
        for service in services_changed.union(&guarded) {
            if self.by_parent.contains_key(service) {
                dirty.insert(service.clone());
            }
            for route in self.by_backend.get(service).into_iter().flatten() {
                dirty_routes.insert(route.clone());
                dirty.extend(self.known.get(route).into_iter().flat_map(Known::parents));
            }
        }
        let mut moved = BTreeSet::new();
        for service in dirty {
            dirty_routes.extend(self.by_parent.get(&service).into_iter().flatten().cloned());
            if self.build(&service, services) {
                moved.insert(service);
            }
        }
        if !dirty_routes.is_empty() {
            self.judge(&dirty_routes, services);
        }
        moved
    }

    /// What nodes are sent of a Service's routes, and the routes that shaped it.
    pub(super) fn of_service(&self, service: &ObjectName) -> Option<(&ServiceRoutes, Vec<ObjectRef>)> {
        let built = self.built.get(service)?;
        let origin = |name: &RouteName| self.known.get(name).map(|known| known.draft.reference.clone());
        Some((built.routes.as_ref()?, built.origins.iter().filter_map(origin).collect()))
    }

    /// What every route's status says, parent by parent.
    pub(super) fn parents(&self) -> Arc<RouteParents> {
        self.parents.clone()
    }

    /// The same as conditions of the routes.
    pub(super) fn conditions(&self) -> Conditions {
        self.conditions.values().cloned().chain(self.refusals.clone()).collect()
    }

    /// Reads a route anew; returns the Services that it is or was for.
    fn read(&mut self, name: &RouteName, route: Option<&Arc<Route>>) -> BTreeSet<ObjectName> {
        let last = self.known.remove(name);
        let mut parents: BTreeSet<ObjectName> = last.iter().flat_map(Known::parents).collect();
        if let Some(last) = &last {
            unlist(&mut self.by_parent, name, last.parents());
            unlist(&mut self.by_backend, name, last.backends());
        }
        let Some(route) = route else { return parents };
        let draft = Arc::new(read::read(name.kind, route));
        if draft.parents.is_empty() {
            // It is for gateways.
            return parents;
        }
        let in_force = if draft.refused { last.and_then(|last| last.in_force) } else { Some(draft.clone()) };
        let known = Known { draft, in_force };
        parents.extend(known.parents());
        list(&mut self.by_parent, name, known.parents());
        list(&mut self.by_backend, name, known.backends());
        self.known.insert(name.clone(), known);
        parents
    }

    /// Builds a Service's routes; tells whether they are other than before.
    fn build(&mut self, service: &ObjectName, services: &Services) -> bool {
        let names = self.by_parent.get(service).into_iter().flatten();
        let drafts: Vec<&Draft> =
            names.filter_map(|name| self.known.get(name)?.in_force.as_deref()).collect();
        let view = services.views().get(service).map(Arc::as_ref);
        let built = tables::build(service, view, &drafts, &self.around(services));
        let last = if built == Built::default() {
            self.built.remove(service)
        } else {
            self.built.insert(service.clone(), built)
        };
        let now = self.built.get(service).and_then(|built| built.routes.as_ref());
        last.and_then(|last| last.routes).as_ref() != now
    }

    fn around<'a>(&'a self, services: &'a Services) -> reference::Services<'a> {
        reference::Services { views: services.views(), guarded: &self.guarded }
    }

    /// Says anew what the status of these routes is.
    fn judge(&mut self, routes: &BTreeSet<RouteName>, services: &Services) {
        let mut moved = Vec::new();
        for name in routes {
            let judged = self.known.get(name).map(|known| self.status(name, known, services));
            if judged.as_ref() != self.parents.get(name) {
                moved.push((name.clone(), judged));
            }
        }
        if moved.is_empty() {
            return;
        }
        // Whoever writes them has the last ones still.
        let parents = Arc::make_mut(&mut self.parents);
        for (name, judged) in moved {
            match (judged, self.known.get(&name)) {
                (Some(statuses), Some(known)) => {
                    let conditions = standing::of_route(&statuses);
                    self.conditions.insert(name.clone(), (known.draft.reference.clone(), conditions));
                    parents.insert(name, statuses);
                }
                _ => {
                    self.conditions.remove(&name);
                    parents.remove(&name);
                }
            }
        }
    }

    fn status(&self, name: &RouteName, known: &Known, services: &Services) -> Vec<ParentStatus> {
        let Known { draft, in_force } = known;
        let last = in_force.as_ref().map(|draft| draft.generation);
        let attached = |place: usize| {
            let target = draft.parents.get(place)?.target.as_ref().ok()?;
            self.built.get(&target.service)?.outcomes.get(&(name.clone(), place)).cloned()
        };
        standing::of_parents(draft, &self.around(services), last, attached)
    }
}

impl Known {
    /// The Services that are its parents, as it is and as it is in force.
    fn parents(&self) -> BTreeSet<ObjectName> {
        let drafts = std::iter::once(&self.draft).chain(&self.in_force);
        let targets =
            drafts.flat_map(|draft| &draft.parents).filter_map(|parent| parent.target.as_ref().ok());
        targets.map(|target| target.service.clone()).collect()
    }

    /// The Services that it leads to, likewise.
    fn backends(&self) -> BTreeSet<ObjectName> {
        let drafts = std::iter::once(&self.draft).chain(&self.in_force);
        drafts.flat_map(|draft| draft.services()).cloned().collect()
    }
}

fn list(index: &mut Index, route: &RouteName, services: BTreeSet<ObjectName>) {
    for service in services {
        index.entry(service).or_default().insert(route.clone());
    }
}

fn unlist(index: &mut Index, route: &RouteName, services: BTreeSet<ObjectName>) {
    for service in services {
        if let Some(routes) = index.get_mut(&service) {
            routes.remove(route);
            if routes.is_empty() {
                index.remove(&service);
            }
        }
    }
}
