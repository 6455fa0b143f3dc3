//! Where requests go: the entries of `backendRefs`.

use mesh_api::resources::RouteBackend;
use serde_json::Value;

use super::{
    super::fields::{Problem, parse},
    filters::{self, Filter},
    reference::{Reference, Services, Unresolved},
    written,
};
use crate::objects::{ObjectName, RouteKind};

/// The most that a weight may be.
const WEIGHT: u32 = 1_000_000;

/// An entry, as far as it can be judged on its own.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Backend {
    weight: u32,
    reference: Reference,
    filters: Vec<Filter>,
}

/// Reads an entry.
pub(super) fn read(
    value: &Value,
    path: &str,
    namespace: &str,
    of: RouteKind,
    problems: &mut Vec<Problem>,
) -> Option<Backend> {
    let written: written::BackendRef = parse(value, path).map_err(|problem| problems.push(problem)).ok()?;
    let weight = written.weight.unwrap_or(1);
    if weight > WEIGHT {
        problems.push(Problem::invalid(&format!("{path}.weight"), format!("{weight} is above {WEIGHT}")));
    }
    let filters = written.filters.as_deref().unwrap_or_default();
    let path = format!("{path}.filters");
    if !(filters.is_empty() || matches!(of, RouteKind::Http | RouteKind::Grpc)) {
        problems.push(Problem::invalid(&path, format!("a {} has no filters", of.name())));
    }
    let filters = filters::read(filters, &path, namespace, of, problems);
    Some(Backend { weight, reference: Reference::of(&written, namespace), filters })
}

impl Backend {
    /// The Services that it names, those of mirrors too.
    pub(super) fn services(&self) -> impl Iterator<Item = &ObjectName> {
        self.reference.service().into_iter().chain(self.filters.iter().filter_map(Filter::service))
    }

    /// Whether a filter of it puts something in place of the prefix that was matched.
    pub(super) fn replaces_prefix(&self) -> bool {
        self.filters.iter().any(Filter::replaces_prefix)
    }

    /// As nodes are told; what is wrong with references is added to the list.
    pub(super) fn resolve(
        &self,
        of: RouteKind,
        services: &Services<'_>,
        wrong: &mut Vec<Unresolved>,
    ) -> RouteBackend {
        let (backend, unresolved) = self.reference.resolve(of, services);
        wrong.extend(unresolved);
        let filters = self.filters.iter().map(|filter| filter.resolve(of, services, wrong)).collect();
        RouteBackend { weight: self.weight, filters, ..backend }
    }
}
