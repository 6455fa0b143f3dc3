//! One route, judged on its own.

use std::collections::BTreeSet;

use mesh_api::resources::{RouteRetry, RouteTimeouts};
use serde_json::Value;

use super::{
    super::{
        fields::{Field, Fields, Problem, UNKNOWN_FIELD, parse},
        literal,
    },
    backends::{self, Backend},
    filters::{self, Filter},
    matches::{self, Match},
    parents::{self, Parent},
    timing, written,
};
use crate::objects::{ObjectName, ObjectRef, Route, RouteKind, RouteName};

/// Rules of a route, at most.
const RULES: usize = 16;
/// Matches of a rule, at most, and of all rules of a route.
const MATCHES: usize = 64;
const ALL_MATCHES: usize = 128;
/// Backends of a rule, at most.
const BACKENDS: usize = 16;
/// Host names of a TLSRoute, at most.
const HOSTNAMES: usize = 1024;

/// What a route says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Draft {
    pub(super) name: RouteName,
    pub(super) reference: ObjectRef,
    pub(super) generation: i64,
    /// Empty where the source does not say.
    pub(super) created: String,
    /// Its parents that are Services, in their order.
    pub(super) parents: Vec<Parent>,
    /// The server names of a TLSRoute.
    pub(super) server_names: Vec<String>,
    /// The rules that could be read, some perhaps failing.
    pub(super) rules: Vec<Rule>,
    /// What is wrong with it, apart from its parents.
    pub(super) problems: Vec<Problem>,
    /// Nothing of it can be used.
    pub(super) refused: bool,
}

/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    /// Its name, or its place.
    pub(super) name: String,
    pub(super) matches: Vec<Match>,
    pub(super) filters: Vec<Filter>,
    pub(super) backends: Vec<Backend>,
    pub(super) timeouts: Option<RouteTimeouts>,
    pub(super) retry: Option<RouteRetry>,
    /// What it matches is known, and something of what is to be done is not.
    pub(super) fails: bool,
}

impl Draft {
    /// How many entries of a table it makes.
    pub(super) fn entries(&self) -> usize {
        let of_rule = |rule: &Rule| rule.matches.len().max(self.server_names.len());
        self.rules.iter().map(of_rule).sum()
    }

    /// The Services that it leads to.
    pub(super) fn services(&self) -> BTreeSet<&ObjectName> {
        let mirrors = self.rules.iter().flat_map(|rule| &rule.filters).filter_map(Filter::service);
        let backends = self.rules.iter().flat_map(|rule| &rule.backends).flat_map(Backend::services);
        mirrors.chain(backends).collect()
    }
}

/// Reads a route.
pub(super) fn read(kind: RouteKind, route: &Route) -> Draft {
    let Route { reference, created, written } = route;
    let namespace = &written.name.namespace;
    let mut problems: Vec<Problem> = Vec::new();
    for field in &written.unknown_fields {
        let message = format!("{field}: unknown field; valid are apiVersion, kind, metadata, spec, status");
        problems.push(Problem { reason: UNKNOWN_FIELD, message });
    }
    let mut spec = Fields::of(&written.spec, "spec", &mut problems);
    let parents = parents::read(spec.raw("parentRefs"), namespace, &mut problems);
    // About gateways alone.
    spec.raw("useDefaultGateways");
    let server_names = match kind {
        RouteKind::Tls => server_names(&mut spec, &mut problems),
        // A mesh matches by address and port, never by host (GEP-1294, section "hostnames field").
        RouteKind::Http | RouteKind::Grpc => {
            spec.raw("hostnames");
            Vec::new()
        }
        RouteKind::Tcp | RouteKind::Udp => Vec::new(),
    };
    let values = rules_of(&mut spec, kind, &mut problems);
    spec.finish(&mut problems);
    let mut refused = !problems.is_empty();
    let mut rules = Vec::new();
    let mut names = BTreeSet::new();
    for (index, value) in values.iter().enumerate() {
        let before = problems.len();
        let read = rule(value, index, namespace, kind, &mut problems);
        if let Some(name) = value.get("name").and_then(Value::as_str)
            && !names.insert(name)
        {
            problems.push(Problem::invalid(
                &format!("spec.rules[{index}].name"),
                format!("`{name}` is there twice"),
            ));
        }
        rules.extend(read.map(|rule| Rule { fails: rule.fails || problems.len() > before, ..rule }));
    }
    if rules.iter().map(|rule| rule.matches.len()).sum::<usize>() > ALL_MATCHES {
        let what = format!("have more than {ALL_MATCHES} matches together; make two routes of it");
        problems.push(Problem::invalid("spec.rules", what));
        refused = true;
    }
    // Where nothing of it is whole, nothing of it is in force.
    refused |= !problems.is_empty() && rules.iter().all(|rule| rule.fails);
    Draft {
        name: RouteName { kind, name: written.name.clone() },
        reference: reference.clone(),
        generation: written.generation,
        created: created.clone(),
        parents,
        server_names,
        rules,
        problems,
        refused,
    }
}

/// The rules as they are written, or the one that stands for none.
fn rules_of(spec: &mut Fields<'_>, kind: RouteKind, problems: &mut Vec<Problem>) -> Vec<Value> {
    let rules = match spec.get::<Vec<Value>>("rules", problems) {
        Field::Valid(rules) => rules,
        Field::Invalid => return Vec::new(),
        // The API server gives an HTTPRoute without rules one that matches everything.
        Field::Absent if kind == RouteKind::Http => vec![Value::Null],
        Field::Absent => Vec::new(),
    };
    let (least, most) = match kind {
        RouteKind::Http => (1, RULES),
        RouteKind::Grpc => (0, RULES),
        RouteKind::Tls | RouteKind::Tcp | RouteKind::Udp => (1, 1),
    };
    if !(least..=most).contains(&rules.len()) {
        let what = format!("has {} entries; {least} to {most} are taken", rules.len());
        problems.push(Problem::invalid("spec.rules", what));
    }
    rules.into_iter().take(most).collect()
}

fn server_names(spec: &mut Fields<'_>, problems: &mut Vec<Problem>) -> Vec<String> {
    let names = spec.get::<Vec<String>>("hostnames", problems).valid().unwrap_or_default();
    if names.len() > HOSTNAMES {
        let what = format!("has {} entries; at most {HOSTNAMES} are taken", names.len());
        problems.push(Problem::invalid("spec.hostnames", what));
    }
    for (index, name) in names.iter().enumerate() {
        if let Some(fault) = literal::host_problem(name) {
            problems.push(Problem::invalid(&format!("spec.hostnames[{index}]"), fault));
        }
    }
    // Without any it is for every name, as TLSRoutes before v1.5 could be.
    if names.is_empty() { vec![String::new()] } else { names }
}

/// Reads a rule; nothing where it cannot be told what it matches.
fn rule(
    value: &Value,
    index: usize,
    namespace: &str,
    kind: RouteKind,
    problems: &mut Vec<Problem>,
) -> Option<Rule> {
    let path = format!("spec.rules[{index}]");
    let mut fields = Fields::of(value, &path, problems);
    let given = fields.get::<String>("name", problems).valid().filter(|name| !name.is_empty());
    let name = given.unwrap_or_else(|| format!("rules[{index}]"));
    let before = problems.len();
    let matches = match kind {
        RouteKind::Http => list(&mut fields, "matches", MATCHES, problems, |value, path, problems| {
            parse(value, path).map(|written| matches::http(written, path, problems))
        }),
        RouteKind::Grpc => list(&mut fields, "matches", MATCHES, problems, |value, path, problems| {
            parse(value, path).map(|written| matches::grpc(written, path, problems))
        }),
        RouteKind::Tls | RouteKind::Tcp | RouteKind::Udp => Vec::new(),
    };
    let matches_are_known = problems.len() == before && (value.is_object() || value.is_null());
    let matches = match (matches.is_empty(), kind) {
        (false, _) => matches,
        (true, RouteKind::Grpc) => vec![matches::grpc(written::GrpcMatch::default(), &path, problems)],
        (true, _) => vec![Match::everything()],
    };
    let filters_path = fields.path("filters");
    let filters = match kind {
        RouteKind::Http | RouteKind::Grpc => {
            let values = fields.get::<Vec<Value>>("filters", problems).valid().unwrap_or_default();
            filters::read(&values, &filters_path, namespace, kind, problems)
        }
        RouteKind::Tls | RouteKind::Tcp | RouteKind::Udp => Vec::new(),
    };
    let backends = list(&mut fields, "backendRefs", BACKENDS, problems, |value, path, problems| {
        // What it says of itself is in the list.
        Ok(backends::read(value, path, namespace, kind, problems))
    });
    let backends: Vec<Backend> = backends.into_iter().flatten().collect();
    let (mut timeouts, mut retry) = (None, None);
    if kind == RouteKind::Http {
        let at = fields.path("timeouts");
        let written = fields.get::<written::Timeouts>("timeouts", problems).valid();
        timeouts = written.map(|written| timing::timeouts(&written, &at, problems));
        let at = fields.path("retry");
        let written = fields.get::<written::Retry>("retry", problems).valid();
        retry = written.map(|written| timing::retry(&written, &at, problems));
    }
    fields.finish(problems);
    if filters.iter().any(Filter::redirects) && !backends.is_empty() {
        problems.push(Problem::invalid(&filters_path, "RequestRedirect cannot be together with backendRefs"));
    }
    let replaces =
        filters.iter().any(Filter::replaces_prefix) || backends.iter().any(Backend::replaces_prefix);
    if replaces && !(matches.len() == 1 && matches[0].is_by_prefix()) {
        let what = "ReplacePrefixMatch needs exactly one match, of type PathPrefix";
        problems.push(Problem::invalid(&filters_path, what));
    }
    matches_are_known.then_some(Rule { name, matches, filters, backends, timeouts, retry, fails: false })
}

/// Reads a list entry by entry, so that one bad one does not hide the others.
fn list<T>(
    fields: &mut Fields<'_>,
    field: &'static str,
    most: usize,
    problems: &mut Vec<Problem>,
    read: impl Fn(&Value, &str, &mut Vec<Problem>) -> Result<T, Problem>,
) -> Vec<T> {
    let path = fields.path(field);
    let values = fields.get::<Vec<Value>>(field, problems).valid().unwrap_or_default();
    if values.len() > most {
        problems
            .push(Problem::invalid(&path, format!("has {} entries; at most {most} are taken", values.len())));
    }
    let mut all = Vec::new();
    for (index, value) in values.iter().enumerate().take(most) {
        match read(value, &format!("{path}[{index}]"), problems) {
            Ok(entry) => all.push(entry),
            Err(problem) => problems.push(problem),
        }
    }
    all
}
