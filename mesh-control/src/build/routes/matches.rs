//! What a rule matches: the matches of HTTPRoutes and GRPCRoutes, each with its place in the order of precedence.

use std::cmp::Reverse;

use mesh_api::resources::{HttpMatch, PathMatch, ValueMatch, path_match, value_match};

use super::{
    super::{fields::Problem, literal},
    written,
};

/// Methods that an HTTPRoute may name.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
/// Header or query matches of one match, at most.
const VALUES: usize = 16;

/// A match and how much it says: of two that both match the one that is less, here, decides.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Match {
    pub(super) http: HttpMatch,
    pub(super) rank: Rank,
}

/// The criteria of the specification, one after the other. The fields' order is their order.
///
/// An HTTPRoute's: an exact path, then the longest prefix; a method; the most headers; the most query parameters. A
/// regular expression's place is left to implementations: here it goes after every prefix but `/`, which matches everything and
/// would leave it nothing. A GRPCRoute's: the longest service, the longest method, the most headers; expressions go after names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// Of the path, or of the service: the kind of comparison, then how many characters.
    pub(super) first: (Compared, Reverse<usize>),
    /// Of the gRPC method.
    pub(super) second: (Compared, Reverse<usize>),
    /// Without a method.
    pub(super) any_method: bool,
    pub(super) headers: Reverse<usize>,
    pub(super) queries: Reverse<usize>,
}

/// How something is compared, the most specific first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Compared {
    Exact,
    Prefix,
    Expression,
    /// It is not.
    Any,
}

impl Match {
    /// Whether its path is matched by a prefix.
    pub(super) fn is_by_prefix(&self) -> bool {
        self.http.path.as_ref().is_some_and(|path| path.r#type() == path_match::Type::Prefix)
    }

    /// What every request matches.
    pub(super) fn everything() -> Self {
        let none = (Compared::Any, Reverse(0));
        let rank =
            Rank { first: none, second: none, any_method: true, headers: Reverse(0), queries: Reverse(0) };
        Self { http: HttpMatch { path: Some(prefix("/")), ..HttpMatch::default() }, rank }
    }
}

fn prefix(value: &str) -> PathMatch {
    PathMatch { r#type: path_match::Type::Prefix.into(), value: value.to_owned() }
}

fn unsupported(path: &str, value: &str, valid: &str) -> Problem {
    Problem::invalid(path, format!("`{value}` is not supported; valid are {valid}"))
}

/// Reads an HTTPRoute's match.
pub(super) fn http(written: written::HttpMatch, path: &str, problems: &mut Vec<Problem>) -> Match {
    let mut read = Match::everything();
    if let Some(written) = written.path {
        let (matched, rank) = http_path(written, &format!("{path}.path"), problems);
        read.http.path = Some(matched);
        read.rank.first = rank;
    }
    if let Some(method) = written.method {
        if !METHODS.contains(&method.as_str()) {
            problems.push(unsupported(&format!("{path}.method"), &method, &METHODS.join(", ")));
        }
        read.http.method = method;
        read.rank.any_method = false;
    }
    read.http.headers = headers(written.headers, &format!("{path}.headers"), problems);
    read.rank.headers = Reverse(read.http.headers.len());
    read.http.queries = queries(written.query_params, &format!("{path}.queryParams"), problems);
    read.rank.queries = Reverse(read.http.queries.len());
    read
}

fn http_path(
    written: written::PathMatch,
    path: &str,
    problems: &mut Vec<Problem>,
) -> (PathMatch, (Compared, Reverse<usize>)) {
    use path_match::Type::{Exact, Prefix, Regex};
    let type_ = match written.r#type.as_deref() {
        None | Some("PathPrefix") => Prefix,
        Some("Exact") => Exact,
        Some("RegularExpression") => Regex,
        Some(other) => {
            problems.push(unsupported(
                &format!("{path}.type"),
                other,
                "Exact, PathPrefix, RegularExpression",
            ));
            Regex
        }
    };
    let value = written.value.unwrap_or_else(|| "/".to_owned());
    let read = match type_ {
        Regex => literal::expression_problem(&value).map_or(Ok(value), Err),
        _ if value.to_ascii_lowercase().contains("%2f") => {
            Err(format!("`{value}` has an encoded slash, which no route may have"))
        }
        Prefix => literal::normal_path(&value).map(|path| literal::without_trailing_slash(&path).to_owned()),
        _ => literal::normal_path(&value),
    };
    let value = read.unwrap_or_else(|fault| {
        problems.push(Problem::invalid(&format!("{path}.value"), fault));
        "/".to_owned()
    });
    let rank = match (type_, value.len()) {
        (Exact, length) => (Compared::Exact, Reverse(length)),
        (Prefix, 1) => (Compared::Any, Reverse(0)),
        (Prefix, length) => (Compared::Prefix, Reverse(length)),
        _ => (Compared::Expression, Reverse(0)),
    };
    (PathMatch { r#type: type_.into(), value }, rank)
}

/// Reads a GRPCRoute's match.
pub(super) fn grpc(written: written::GrpcMatch, path: &str, problems: &mut Vec<Problem>) -> Match {
    let mut read = Match::everything();
    read.http.method = "POST".to_owned();
    if let Some(method) = written.method {
        let (matched, first, second) = grpc_method(method, &format!("{path}.method"), problems);
        read.http.path = Some(matched);
        (read.rank.first, read.rank.second) = (first, second);
    }
    read.http.headers = headers(written.headers, &format!("{path}.headers"), problems);
    read.rank.headers = Reverse(read.http.headers.len());
    read
}

type OfMethod = (PathMatch, (Compared, Reverse<usize>), (Compared, Reverse<usize>));

/// A service and method as the path that they are in a request.
fn grpc_method(written: written::MethodMatch, path: &str, problems: &mut Vec<Problem>) -> OfMethod {
    let before = problems.len();
    let is_expression = match written.r#type.as_deref() {
        None | Some("Exact") => false,
        Some("RegularExpression") => true,
        Some(other) => {
            problems.push(unsupported(&format!("{path}.type"), other, "Exact, RegularExpression"));
            true
        }
    };
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (service, method) = (given(written.service), given(written.method));
    if service.is_none() && method.is_none() {
        problems.push(Problem::invalid(path, "service or method is needed"));
    }
    for (field, text, name_problem) in [
        ("service", &service, literal::grpc_service_problem as fn(&str) -> Option<String>),
        ("method", &method, literal::grpc_method_problem),
    ] {
        let judge = if is_expression { literal::expression_problem } else { name_problem };
        if let Some(fault) = text.as_deref().and_then(judge) {
            problems.push(Problem::invalid(&format!("{path}.{field}"), fault));
        }
    }
    let rank = |text: &Option<String>| match text {
        None => (Compared::Any, Reverse(0)),
        Some(_) if is_expression => (Compared::Expression, Reverse(0)),
        Some(text) => (Compared::Exact, Reverse(text.len())),
    };
    let ranks = (rank(&service), rank(&method));
    let any = "[^/]+";
    let (type_, value) = match (&service, &method) {
        (Some(service), Some(method)) if !is_expression => {
            (path_match::Type::Exact, format!("/{service}/{method}"))
        }
        (Some(service), None) if !is_expression => (path_match::Type::Prefix, format!("/{service}")),
        (service, method) => {
            let part = |text: &Option<String>| match text {
                None => any.to_owned(),
                Some(text) if is_expression => format!("(?:{text})"),
                // A name: none of its characters means anything in an expression.
                Some(text) => text.clone(),
            };
            let both = format!("/{}/{}", part(service), part(method));
            if let Some(fault) = literal::expression_problem(&both).filter(|_| problems.len() == before) {
                problems.push(Problem::invalid(path, fault));
            }
            (path_match::Type::Regex, both)
        }
    };
    (PathMatch { r#type: type_.into(), value }, ranks.0, ranks.1)
}

/// Reads header matches; of several of one name the first counts.
fn headers(
    written: Option<Vec<written::ValueMatch>>,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Vec<ValueMatch> {
    let name = |name: &str| match literal::header_name_problem(name) {
        Some(fault) => Err(fault),
        None => Ok(name.to_ascii_lowercase()),
    };
    values(written, path, name, literal::header_value_problem, problems)
}

/// The same for query parameters, whose names are compared with case.
fn queries(
    written: Option<Vec<written::ValueMatch>>,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Vec<ValueMatch> {
    let name = |name: &str| match name.len() {
        1..=256 => Ok(name.to_owned()),
        length => Err(format!("must have 1 to 256 bytes, it has {length}")),
    };
    let value = |value: &str| match value.len() {
        1..=1024 => None,
        length => Some(format!("must have 1 to 1024 bytes, it has {length}")),
    };
    values(written, path, name, value, problems)
}

fn values(
    written: Option<Vec<written::ValueMatch>>,
    path: &str,
    name: impl Fn(&str) -> Result<String, String>,
    value_problem: impl Fn(&str) -> Option<String>,
    problems: &mut Vec<Problem>,
) -> Vec<ValueMatch> {
    let written = written.unwrap_or_default();
    if written.len() > VALUES {
        problems.push(Problem::invalid(
            path,
            format!("has {} entries; at most {VALUES} are taken", written.len()),
        ));
    }
    let mut read: Vec<ValueMatch> = Vec::new();
    for (index, written) in written.into_iter().enumerate().take(VALUES) {
        let path = format!("{path}[{index}]");
        let (type_, fault) = match written.r#type.as_deref() {
            None | Some("Exact") => (value_match::Type::Exact, value_problem(&written.value)),
            Some("RegularExpression") => {
                (value_match::Type::Regex, literal::expression_problem(&written.value))
            }
            Some(other) => {
                problems.push(unsupported(&format!("{path}.type"), other, "Exact, RegularExpression"));
                (value_match::Type::Regex, None)
            }
        };
        if let Some(fault) = fault {
            problems.push(Problem::invalid(&format!("{path}.value"), fault));
        }
        match name(&written.name) {
            Ok(name) if read.iter().any(|known| known.name == name) => {}
            Ok(name) => read.push(ValueMatch { r#type: type_.into(), name, value: written.value }),
            Err(fault) => problems.push(Problem::invalid(&format!("{path}.name"), fault)),
        }
    }
    read
}
