//! The filters of a rule or of a backend. One that cannot be taken over as it stands fails its rule: none is
//! skipped, and of none a part.

use http::{HeaderName, HeaderValue};
use mesh_api::resources::{
    Cors, Header, HeaderModifier, PathModifier, RequestMirror, RequestRedirect, RouteFilter, UrlRewrite,
    path_modifier, route_filter,
};
use mesh_l7::filter::{
    mirror::Fraction,
    origin::OriginMatch,
    rewrite::{self, Hostname},
};
use serde_json::Value;

use super::{
    super::{
        fields::{Problem, parse},
        literal,
    },
    reference::{Reference, Services, Unresolved},
    written,
};
use crate::objects::{ObjectName, RouteKind};

/// Reason of filters that do not go together.
pub(super) const INCOMPATIBLE: &str = "IncompatibleFilters";

/// Filters in one place, at most.
const FILTERS: usize = 16;
/// Headers of one list of a modifier, at most.
const HEADERS: usize = 16;
/// Entries of a list of a CORS filter, at most.
const CORS_ENTRIES: usize = 64;

/// A filter that was understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Filter {
    /// It says everything itself.
    Whole(route_filter::Filter),
    /// It sends copies to a backend: of so many of so many requests.
    Mirror(Reference, u32, u32),
}

impl Filter {
    /// As nodes are told; what is wrong with its reference is added to the list.
    pub(super) fn resolve(
        &self,
        of: RouteKind,
        services: &Services<'_>,
        wrong: &mut Vec<Unresolved>,
    ) -> RouteFilter {
        let filter = match self {
            Self::Whole(filter) => filter.clone(),
            Self::Mirror(reference, numerator, denominator) => {
                let (backend, unresolved) = reference.resolve(of, services);
                wrong.extend(unresolved);
                let (numerator, denominator) = (*numerator, *denominator);
                route_filter::Filter::Mirror(RequestMirror { backend: Some(backend), numerator, denominator })
            }
        };
        RouteFilter { filter: Some(filter) }
    }

    /// The Service that it names.
    pub(super) fn service(&self) -> Option<&ObjectName> {
        match self {
            Self::Whole(_) => None,
            Self::Mirror(reference, ..) => reference.service(),
        }
    }

    /// Whether it puts something in place of the prefix that was matched.
    pub(super) fn replaces_prefix(&self) -> bool {
        use route_filter::Filter::{Redirect, Rewrite};
        let path = match self {
            Self::Whole(Redirect(redirect)) => redirect.path.as_ref(),
            Self::Whole(Rewrite(rewrite)) => rewrite.path.as_ref(),
            _ => None,
        };
        path.is_some_and(|path| matches!(path.modifier, Some(path_modifier::Modifier::Prefix(_))))
    }

    /// Whether it answers instead of a backend.
    pub(super) fn redirects(&self) -> bool {
        matches!(self, Self::Whole(route_filter::Filter::Redirect(_)))
    }
}

/// Reads a list of filters.
pub(super) fn read(
    values: &[Value],
    path: &str,
    namespace: &str,
    of: RouteKind,
    problems: &mut Vec<Problem>,
) -> Vec<Filter> {
    if values.len() > FILTERS {
        problems.push(Problem::invalid(
            path,
            format!("has {} entries; at most {FILTERS} are taken", values.len()),
        ));
    }
    let mut types: Vec<String> = Vec::new();
    let mut read = Vec::new();
    for (index, value) in values.iter().enumerate().take(FILTERS) {
        let path = format!("{path}[{index}]");
        let Ok(written) = parse::<written::Filter>(value, &path).map_err(|problem| problems.push(problem))
        else {
            continue;
        };
        // A mirror may be there several times.
        if types.contains(&written.r#type) && written.r#type != "RequestMirror" {
            let message = format!("{path}: {} is there already; a filter may be there once", written.r#type);
            problems.push(Problem { reason: INCOMPATIBLE, message });
        }
        types.push(written.r#type.clone());
        read.extend(filter(written, &path, namespace, of, problems));
    }
    let has = |type_: &str| types.iter().any(|known| known == type_);
    if has("RequestRedirect") && has("URLRewrite") {
        let message = format!("{path}: RequestRedirect and URLRewrite cannot be together");
        problems.push(Problem { reason: INCOMPATIBLE, message });
    }
    read
}

fn filter(
    written: written::Filter,
    path: &str,
    namespace: &str,
    of: RouteKind,
    problems: &mut Vec<Problem>,
) -> Option<Filter> {
    use route_filter::Filter::{Cors, Redirect, RequestHeaders, ResponseHeaders, Rewrite};
    let given = [
        ("requestHeaderModifier", "RequestHeaderModifier", written.request_header_modifier.is_some()),
        ("responseHeaderModifier", "ResponseHeaderModifier", written.response_header_modifier.is_some()),
        ("requestMirror", "RequestMirror", written.request_mirror.is_some()),
        ("requestRedirect", "RequestRedirect", written.request_redirect.is_some()),
        ("urlRewrite", "URLRewrite", written.url_rewrite.is_some()),
        ("cors", "CORS", written.cors.is_some()),
        ("externalAuth", "ExternalAuth", written.external_auth.is_some()),
        ("extensionRef", "ExtensionRef", written.extension_ref.is_some()),
    ];
    let type_ = written.r#type.as_str();
    for (field, of_type, _) in given.iter().filter(|(_, of_type, there)| *there && *of_type != type_) {
        problems.push(Problem::invalid(
            &format!("{path}.{field}"),
            format!("is for type {of_type}, not {type_}"),
        ));
    }
    let is_of_http = matches!(type_, "RequestRedirect" | "URLRewrite" | "CORS");
    let known = given.iter().any(|(_, of_type, _)| *of_type == type_);
    if !known || type_ == "ExtensionRef" || type_ == "ExternalAuth" || (is_of_http && of != RouteKind::Http) {
        let valid = if of == RouteKind::Http {
            "RequestHeaderModifier, ResponseHeaderModifier, RequestRedirect, URLRewrite, RequestMirror, CORS"
        } else {
            "RequestHeaderModifier, ResponseHeaderModifier, RequestMirror"
        };
        let what = format!("`{type_}` is not supported in a {}; valid are {valid}", of.name());
        problems.push(Problem::invalid(&format!("{path}.type"), what));
        return None;
    }
    let Some((field, ..)) = given.iter().find(|(_, of_type, there)| *of_type == type_ && *there) else {
        problems.push(Problem::invalid(path, format!("of type {type_} needs its field")));
        return None;
    };
    let path = format!("{path}.{field}");
    let read = match type_ {
        "RequestHeaderModifier" => {
            RequestHeaders(modifier(written.request_header_modifier?, &path, problems))
        }
        "ResponseHeaderModifier" => {
            ResponseHeaders(modifier(written.response_header_modifier?, &path, problems))
        }
        "RequestRedirect" => Redirect(redirect(written.request_redirect?, &path, problems)),
        "URLRewrite" => Rewrite(url_rewrite(written.url_rewrite?, &path, problems)),
        "CORS" => Cors(cors(written.cors?, &path, problems)),
        _ => return Some(mirror(&written.request_mirror?, &path, namespace, problems)),
    };
    Some(Filter::Whole(read))
}

fn modifier(written: written::HeaderModifier, path: &str, problems: &mut Vec<Problem>) -> HeaderModifier {
    let before = problems.len();
    let removed = written.remove.unwrap_or_default();
    check_length(removed.len(), HEADERS, &format!("{path}.remove"), problems);
    let mut remove: Vec<String> = Vec::new();
    for (index, name) in removed.iter().enumerate() {
        let name = header_name(name, &format!("{path}.remove[{index}]"), problems);
        if !remove.contains(&name) {
            remove.push(name);
        }
    }
    let set = headers(written.set, &format!("{path}.set"), problems);
    let add = headers(written.add, &format!("{path}.add"), problems);
    if problems.len() == before
        && let Err(fault) = taken(&set, &add, &remove)
    {
        problems.push(Problem::invalid(path, fault));
    }
    HeaderModifier { set, add, remove }
}

/// Whether nodes take a modifier.
fn taken(set: &[Header], add: &[Header], remove: &[String]) -> Result<(), String> {
    let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string());
    let pairs = |headers: &[Header]| {
        let pair = |header: &Header| {
            let value = HeaderValue::from_str(&header.value).map_err(|error| error.to_string())?;
            Ok((name(&header.name)?, value))
        };
        headers.iter().map(pair).collect::<Result<Vec<_>, String>>()
    };
    let removed = remove.iter().map(|removed| name(removed)).collect::<Result<Vec<_>, _>>()?;
    let modifier = mesh_l7::filter::headers::HeaderModifier::new(pairs(set)?, pairs(add)?, removed);
    modifier.map(drop).map_err(|error| error.to_string())
}

/// Reads headers with their values; of several of one name the first counts.
fn headers(written: Option<Vec<written::Header>>, path: &str, problems: &mut Vec<Problem>) -> Vec<Header> {
    let written = written.unwrap_or_default();
    check_length(written.len(), HEADERS, path, problems);
    let mut read: Vec<Header> = Vec::new();
    for (index, header) in written.into_iter().enumerate() {
        let path = format!("{path}[{index}]");
        let name = header_name(&header.name, &format!("{path}.name"), problems);
        if let Some(fault) = literal::header_value_problem(&header.value) {
            problems.push(Problem::invalid(&format!("{path}.value"), fault));
        }
        if !read.iter().any(|known| known.name == name) {
            read.push(Header { name, value: header.value });
        }
    }
    read
}

/// The name of a header, in lower case.
fn header_name(name: &str, path: &str, problems: &mut Vec<Problem>) -> String {
    if let Some(fault) = literal::header_name_problem(name) {
        problems.push(Problem::invalid(path, fault));
    }
    name.to_ascii_lowercase()
}

fn redirect(written: written::Redirect, path: &str, problems: &mut Vec<Problem>) -> RequestRedirect {
    if let Some(scheme) = written.scheme.as_deref().filter(|scheme| !["http", "https"].contains(scheme)) {
        let what = format!("`{scheme}` is not supported; valid are http, https");
        problems.push(Problem::invalid(&format!("{path}.scheme"), what));
    }
    let status = written.status_code.unwrap_or(302);
    if ![301, 302, 303, 307, 308].contains(&status) {
        let what = format!("{status} is not supported; valid are 301, 302, 303, 307, 308");
        problems.push(Problem::invalid(&format!("{path}.statusCode"), what));
    }
    if written.port == Some(0) {
        problems.push(Problem::invalid(&format!("{path}.port"), "must be 1 to 65535"));
    }
    RequestRedirect {
        scheme: written.scheme.unwrap_or_default(),
        hostname: hostname(written.hostname, path, problems),
        path: written.path.map(|written| path_modifier(written, &format!("{path}.path"), problems)),
        port: written.port.unwrap_or_default().into(),
        status: status.into(),
    }
}

fn url_rewrite(written: written::Rewrite, path: &str, problems: &mut Vec<Problem>) -> UrlRewrite {
    UrlRewrite {
        hostname: hostname(written.hostname, path, problems),
        path: written.path.map(|written| path_modifier(written, &format!("{path}.path"), problems)),
    }
}

fn hostname(written: Option<String>, path: &str, problems: &mut Vec<Problem>) -> String {
    let hostname = written.unwrap_or_default();
    if !hostname.is_empty()
        && let Err(fault) = Hostname::parse(&hostname)
    {
        problems.push(Problem::invalid(&format!("{path}.hostname"), fault.to_string()));
    }
    hostname.to_ascii_lowercase()
}

fn path_modifier(written: written::PathModifier, path: &str, problems: &mut Vec<Problem>) -> PathModifier {
    use path_modifier::Modifier;
    let written::PathModifier { r#type, replace_full_path: full, replace_prefix_match: prefix } = written;
    let (field, text, make): (_, _, fn(String) -> Modifier) = match (r#type.as_str(), full, prefix) {
        ("ReplaceFullPath", Some(full), None) => ("replaceFullPath", full, Modifier::Full),
        ("ReplacePrefixMatch", None, Some(prefix)) => ("replacePrefixMatch", prefix, Modifier::Prefix),
        (type_ @ ("ReplaceFullPath" | "ReplacePrefixMatch"), ..) => {
            problems.push(Problem::invalid(path, format!("of type {type_} needs exactly its own field")));
            return PathModifier::default();
        }
        (type_, ..) => {
            let what = format!("`{type_}` is not supported; valid are ReplaceFullPath, ReplacePrefixMatch");
            problems.push(Problem::invalid(&format!("{path}.type"), what));
            return PathModifier::default();
        }
    };
    let read =
        if field == "replaceFullPath" { rewrite::PathModifier::full } else { rewrite::PathModifier::prefix };
    if let Err(fault) = read(&text) {
        problems.push(Problem::invalid(&format!("{path}.{field}"), fault.to_string()));
    }
    PathModifier { modifier: Some(make(text)) }
}

fn mirror(written: &written::Mirror, path: &str, namespace: &str, problems: &mut Vec<Problem>) -> Filter {
    let backend = &written.backend_ref;
    for (field, there) in [("weight", backend.weight.is_some()), ("filters", backend.filters.is_some())] {
        if there {
            let what = "a mirror's backend has none; take it out";
            problems.push(Problem::invalid(&format!("{path}.backendRef.{field}"), what));
        }
    }
    let (numerator, denominator) = match (&written.percent, &written.fraction) {
        (None, None) => (1, 1),
        (Some(percent), None) => (*percent, 100),
        (None, Some(fraction)) => (fraction.numerator, fraction.denominator.unwrap_or(100)),
        (Some(_), Some(_)) => {
            problems.push(Problem::invalid(path, "one of percent and fraction may be there, it has both"));
            (0, 1)
        }
    };
    if let Err(fault) = Fraction::new(numerator, denominator) {
        problems.push(Problem::invalid(path, fault.to_string()));
    }
    Filter::Mirror(Reference::of(backend, namespace), numerator, denominator.max(1))
}

fn cors(written: written::Cors, path: &str, problems: &mut Vec<Problem>) -> Cors {
    let mut list = |field: &str, entries: Option<Vec<String>>, valid: fn(&str) -> bool| {
        let entries = entries.unwrap_or_default();
        let path = format!("{path}.{field}");
        check_length(entries.len(), CORS_ENTRIES, &path, problems);
        for (index, entry) in entries.iter().enumerate().filter(|(_, entry)| *entry != "*" && !valid(entry)) {
            problems
                .push(Problem::invalid(&format!("{path}[{index}]"), format!("`{entry}` is not valid here")));
        }
        if entries.len() > 1 && entries.iter().any(|entry| entry == "*") {
            problems.push(Problem::invalid(&path, "`*` stands alone"));
        }
        entries
    };
    let is_name = |name: &str| literal::header_name_problem(name).is_none();
    let read = Cors {
        allow_origins: list("allowOrigins", written.allow_origins, |origin| {
            OriginMatch::parse(origin).is_ok()
        }),
        allow_credentials: written.allow_credentials.unwrap_or(false),
        allow_methods: list("allowMethods", written.allow_methods, is_name),
        allow_headers: list("allowHeaders", written.allow_headers, is_name),
        expose_headers: list("exposeHeaders", written.expose_headers, is_name),
        max_age_seconds: written.max_age.unwrap_or(5),
    };
    if read.max_age_seconds == 0 {
        problems.push(Problem::invalid(&format!("{path}.maxAge"), "must be at least 1"));
    }
    read
}

fn check_length(length: usize, most: usize, path: &str, problems: &mut Vec<Problem>) {
    if length > most {
        problems.push(Problem::invalid(path, format!("has {length} entries; at most {most} are taken")));
    }
}
