//! Which rule of a port's routes a request gets.
//!
//! The controller writes a port's matches in the order in which they take precedence (Gateway API,
//! `HTTPRouteRule.matches` and `GRPCRouteRule.matches`); the first that matches wins. [`RouteTable`]
//! finds that one without asking all of them: exact paths are looked up, prefixes walked by segment,
//! and only patterns are tried one by one ([`paths`]).

pub mod paths;
pub mod route;
pub mod sni;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::matching::{HttpMatch, PathMatch, Reading};
use crate::request::Request;
use paths::Paths;
use route::RouteRule;

/// How many matches a table may have. 128 a route are allowed by Gateway API.
pub const ENTRY_LIMIT: usize = 1 << 16;

/// What kind of route a table was made of; a port has routes of one kind only (GEP-1426).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// HTTPRoute.
    Http,
    /// GRPCRoute.
    Grpc,
}

/// A match, and the rule that it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteEntry {
    /// What a request has to be.
    pub matches: HttpMatch,
    /// An index into the table's rules.
    pub rule: usize,
}

/// Why entries and rules are no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// More than [`ENTRY_LIMIT`].
    #[error("{0} matches; a port takes at most {ENTRY_LIMIT}: split its routes over several Services")]
    TooMany(usize),
    /// An entry of no rule.
    #[error("match {entry} names rule {rule} of {rules}")]
    NoRule {
        /// The entry.
        entry: usize,
        /// The rule it names.
        rule: usize,
        /// How many there are.
        rules: usize,
    },
}

/// The routes of one port for one group of callers.
#[derive(Debug, PartialEq)]
pub struct RouteTable {
    kind: RouteKind,
    entries: Vec<RouteEntry>,
    rules: Vec<RouteRule>,
    paths: Paths,
}

/// What a request gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found<'a> {
    /// The rule.
    pub rule: &'a RouteRule,
    /// Which entry matched, from 0 in order of precedence.
    pub entry: usize,
    /// The prefix that matched, without its trailing slash; `None` where it was no `PathPrefix`.
    pub prefix: Option<&'a str>,
}

impl RouteTable {
    /// Builds a table of entries in order of precedence.
    ///
    /// # Errors
    /// When there are too many, or one names no rule.
    pub fn new(kind: RouteKind, entries: Vec<RouteEntry>, rules: Vec<RouteRule>) -> Result<Self, TableError> {
        if entries.len() > ENTRY_LIMIT {
            return Err(TableError::TooMany(entries.len()));
        }
        if let Some((entry, wrong)) = entries.iter().enumerate().find(|(_, entry)| entry.rule >= rules.len())
        {
            return Err(TableError::NoRule { entry, rule: wrong.rule, rules: rules.len() });
        }
        let paths = Paths::new(entries.iter().map(|entry| &entry.matches.path));
        Ok(Self { kind, entries, rules, paths })
    }

    /// The kind of its routes.
    #[must_use]
    pub const fn kind(&self) -> RouteKind {
        self.kind
    }

    /// Its entries, in order of precedence.
    #[must_use]
    pub fn entries(&self) -> &[RouteEntry] {
        &self.entries
    }

    /// Its rules.
    #[must_use]
    pub fn rules(&self) -> &[RouteRule] {
        &self.rules
    }

    /// The first entry that matches a request; `None` is 404, or UNIMPLEMENTED for gRPC (SEMANTICS 8).
    #[must_use]
    pub fn find(&self, request: &Request<'_>) -> Option<Found<'_>> {
        let matches = |entry: usize| {
            let entry = &self.entries[entry].matches;
            let on_path = match &entry.path {
                // The index has looked at these.
                PathMatch::Exact(_) | PathMatch::Prefix(_) => true,
                PathMatch::Regex(_) => entry.path.matches_path(request.path, Reading::Plain),
            };
            on_path && entry.matches_beside_path(request)
        };
        self.found(self.paths.first(request.path.as_str(), matches)?)
    }

    /// The same by asking every entry: what [`RouteTable::find`] is tested against.
    #[cfg(any(test, feature = "fuzzing"))]
    #[must_use]
    pub fn find_naively(&self, request: &Request<'_>) -> Option<Found<'_>> {
        self.found(self.entries.iter().position(|entry| entry.matches.matches(request))?)
    }

    fn found(&self, entry: usize) -> Option<Found<'_>> {
        let matched = self.entries.get(entry)?;
        let prefix = match &matched.matches.path {
            PathMatch::Prefix(prefix) => Some(prefix.as_str()),
            PathMatch::Exact(_) | PathMatch::Regex(_) => None,
        };
        Some(Found { rule: self.rules.get(matched.rule)?, entry, prefix })
    }
}

/// The routes of one port of a Service: the producer's, and those of consumers for their own
/// namespaces (GEP-1426).
#[derive(Debug, Default, PartialEq)]
pub struct PortRoutes<T> {
    producer: Option<T>,
    consumers: HashMap<String, T>,
}

impl<T> PortRoutes<T> {
    /// Puts the tables together; `consumers` by namespace.
    #[must_use]
    pub const fn new(producer: Option<T>, consumers: HashMap<String, T>) -> Self {
        Self { producer, consumers }
    }

    /// The table for callers in `namespace`: its own, which replaces the producer's, or that; `None`
    /// is a Service without routes for them.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Option<&T> {
        self.consumers.get(namespace).or(self.producer.as_ref())
    }

    /// The producer's table.
    #[must_use]
    pub const fn producer(&self) -> Option<&T> {
        self.producer.as_ref()
    }

    /// The tables of consumers, by namespace, in the order of their names.
    pub fn consumers(&self) -> impl Iterator<Item = (&str, &T)> {
        let mut consumers: Vec<_> =
            self.consumers.iter().map(|(namespace, table)| (namespace.as_str(), table)).collect();
        consumers.sort_unstable_by_key(|(namespace, _)| *namespace);
        consumers.into_iter()
    }
}
