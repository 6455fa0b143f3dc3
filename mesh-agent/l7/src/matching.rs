//! What a request is matched by: paths, methods, header fields and query parameters.
//!
//! Routes and access rules share the matchers, and differ in how they read what servers read
//! differently: see [`Reading`].

mod pattern;
#[cfg(test)]
mod tests;

use http::header::COOKIE;
use http::{HeaderName, Method};

use crate::path::{NormalPath, Path, PathError};
use crate::request::Request;

pub use pattern::{MAX_PATTERN, Pattern};

/// The longest value of a path or parameter, in bytes, as Gateway API has it.
pub const MAX_PATH_VALUE: usize = 1024;
/// The longest value of a header field, likewise.
pub const MAX_VALUE: usize = 4096;

/// Why a matcher is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatchError {
    /// A path that no request can have.
    #[error("{value:?} is no path: {error}")]
    Path {
        /// The value.
        value: String,
        /// Why.
        error: PathError,
    },
    /// A pattern that does not compile.
    #[error("{text:?} is no regular expression that can be used: {reason}")]
    Pattern {
        /// The pattern.
        text: String,
        /// Why.
        reason: String,
    },
    /// A value over its limit.
    #[error("the value has {length} bytes; at most {limit} are taken")]
    TooLong {
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
}

/// How to read what servers may read in more than one way: a path with escaped separators
/// ([`Path::readings`]), or a header field in several lines, which some servers combine and of
/// which others see the first or the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// As the specification reads it: the normal form, the lines combined. For routes.
    Plain,
    /// It must match however it is read. For rules that let something through.
    Every,
    /// It matches if any reading does. For rules that refuse.
    Any,
}

impl Reading {
    /// Whether a path matches, of which `matches` is asked for its readings.
    pub(crate) fn of_path(self, path: &Path, matches: impl Fn(&str) -> bool) -> bool {
        let mut readings = path.readings().map(matches);
        let plain = readings.next().unwrap_or_default();
        self.settle(plain, readings)
    }

    /// The answer, from that of the plain reading and of the others.
    fn settle(self, plain: bool, mut others: impl Iterator<Item = bool>) -> bool {
        match self {
            Self::Plain => plain,
            Self::Every => plain && others.all(|matches| matches),
            Self::Any => plain || others.any(|matches| matches),
        }
    }
}

/// Which paths match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// This one.
    Exact(NormalPath),
    /// This one and those below it, by segments.
    Prefix(NormalPath),
    /// Those that the pattern matches as a whole.
    Regex(Pattern),
}

impl PathMatch {
    /// `Exact` of Gateway API; the value is brought to the normal form that requests are in.
    ///
    /// # Errors
    /// When no path can be it.
    pub fn exact(value: &str) -> Result<Self, MatchError> {
        named(value, NormalPath::whole).map(Self::Exact)
    }

    /// `PathPrefix` of Gateway API, likewise: `/abc` and `/abc/` match `/abc`, `/abc/` and `/abc/d`,
    /// not `/abcd`.
    ///
    /// # Errors
    /// When no path can be it.
    pub fn prefix(value: &str) -> Result<Self, MatchError> {
        named(value, NormalPath::front).map(Self::Prefix)
    }

    /// `RegularExpression` of Gateway API.
    ///
    /// # Errors
    /// When it does not compile.
    pub fn regex(text: &str) -> Result<Self, MatchError> {
        Pattern::new(text).map(Self::Regex)
    }

    /// Whether one reading of a path matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(value) => path == value.as_str(),
            // The default match of a rule, `/`, is every request; `OPTIONS *` too.
            Self::Prefix(value) if value.as_str().is_empty() => true,
            Self::Prefix(value) => {
                path.strip_prefix(value.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Regex(pattern) => pattern.matches(path.as_bytes()),
        }
    }

    /// Whether a path matches.
    #[must_use]
    pub fn matches_path(&self, path: &Path, reading: Reading) -> bool {
        reading.of_path(path, |path| self.matches(path))
    }
}

fn named(
    value: &str,
    read: impl Fn(&str) -> Result<NormalPath, PathError>,
) -> Result<NormalPath, MatchError> {
    if value.len() > MAX_PATH_VALUE {
        return Err(MatchError::TooLong { length: value.len(), limit: MAX_PATH_VALUE });
    }
    read(value).map_err(|error| MatchError::Path { value: value.into(), error })
}

/// Which values of a header field or query parameter match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueMatch {
    /// This one.
    Exact(String),
    /// Those that start so.
    Prefix(String),
    /// Those that the pattern matches as a whole.
    Regex(Pattern),
    /// Any, also the empty one.
    Present,
}

impl ValueMatch {
    /// Whether `value` matches.
    #[must_use]
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => value == exact.as_bytes(),
            Self::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
            Self::Regex(pattern) => pattern.matches(value),
            Self::Present => true,
        }
    }
}

/// A matcher of one header field. One that is absent matches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatch {
    /// The field's name, whatever its case.
    pub name: HeaderName,
    /// What its value has to be.
    pub value: ValueMatch,
}

impl HeaderMatch {
    /// Whether a request has it.
    #[must_use]
    pub fn matches(&self, request: &Request<'_>, reading: Reading) -> bool {
        let Some(combined) = request.header(&self.name) else { return false };
        let lines = request.headers.get_all(&self.name);
        let others = lines.iter().map(|line| self.value.matches(line.as_bytes()));
        // HTTP/2 splits `cookie` as it likes (RFC 9113, 8.2.3); its lines are no readings of it.
        let others = others.filter(|_| self.name != COOKIE || reading == Reading::Any);
        reading.settle(self.value.matches(&combined), others)
    }
}

/// A matcher of one query parameter. One that is absent matches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryMatch {
    /// The parameter's name, decoded; case matters.
    pub name: String,
    /// What its first value has to be.
    pub value: ValueMatch,
}

/// A match of a route's rule: the AND of its parts (`HTTPRouteMatch` of Gateway API). A
/// `GRPCRouteMatch` is one too: POST, and the path `/service/method`, or [`PathMatch::Prefix`] of
/// `/service`, or a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpMatch {
    /// The path.
    pub path: PathMatch,
    /// The method; `None` = any.
    pub method: Option<Method>,
    headers: Vec<HeaderMatch>,
    queries: Vec<QueryMatch>,
}

impl HttpMatch {
    /// Puts the parts together. Of several matchers of one header field or parameter only the first
    /// counts, as Gateway API has it.
    #[must_use]
    pub fn new(
        path: PathMatch,
        method: Option<Method>,
        mut headers: Vec<HeaderMatch>,
        mut queries: Vec<QueryMatch>,
    ) -> Self {
        keep_first(&mut headers, |matcher| matcher.name.clone());
        keep_first(&mut queries, |matcher| matcher.name.clone());
        Self { path, method, headers, queries }
    }

    /// The matchers of header fields.
    #[must_use]
    pub fn headers(&self) -> &[HeaderMatch] {
        &self.headers
    }

    /// The matchers of query parameters.
    #[must_use]
    pub fn queries(&self) -> &[QueryMatch] {
        &self.queries
    }

    /// Whether a request matches.
    #[must_use]
    pub fn matches(&self, request: &Request<'_>) -> bool {
        self.path.matches_path(request.path, Reading::Plain) && self.matches_beside_path(request)
    }

    /// Whether everything but its path matches.
    #[must_use]
    pub fn matches_beside_path(&self, request: &Request<'_>) -> bool {
        self.method.as_ref().is_none_or(|method| method == request.method)
            && self.headers.iter().all(|header| header.matches(request, Reading::Plain))
            && self
                .queries
                .iter()
                .all(|query| request.parameter(&query.name).is_some_and(|value| query.value.matches(value)))
    }
}

fn keep_first<T, K: Eq + std::hash::Hash>(matchers: &mut Vec<T>, name: impl Fn(&T) -> K) {
    let mut known = std::collections::HashSet::new();
    matchers.retain(|matcher| known.insert(name(matcher)));
}
