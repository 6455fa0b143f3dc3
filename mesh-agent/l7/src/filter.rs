//! What the filters of a rule make of a request and its response (`HTTPRouteFilter` of Gateway API).
//!
//! Filters run in the order in which they are written. A redirect, and a CORS preflight, answer the
//! request at once. A mirror gets the request as it is forwarded, whatever its place in the list.

pub mod cors;
pub mod headers;
pub mod mirror;
pub mod origin;
pub mod redirect;
pub mod rewrite;
#[cfg(test)]
mod tests;

use http::header::ORIGIN;
use http::{HeaderMap, HeaderValue, Method, Response};

use crate::host::Host;
use cors::Cors;
use headers::HeaderModifier;
use mirror::Mirror;
use redirect::{Redirect, Scheme};
use rewrite::{Hostname, Rewrite};

/// One filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// `RequestHeaderModifier`.
    RequestHeaders(HeaderModifier),
    /// `ResponseHeaderModifier`.
    ResponseHeaders(HeaderModifier),
    /// `RequestRedirect`.
    Redirect(Redirect),
    /// `URLRewrite`.
    Rewrite(Rewrite),
    /// `RequestMirror`.
    Mirror(Mirror),
    /// `CORS`.
    Cors(Cors),
}

/// A request as it arrived: what filters start from, also those of a backend, which run after the
/// rule's.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Its method.
    pub method: &'a Method,
    /// What the caller spoke.
    pub scheme: Scheme,
    /// The port that was dialled: Gateway API's listener port.
    pub port: u16,
    /// The host that the request names; where it names none, the address that was dialled.
    pub host: &'a Host,
    /// Its path, in normal form.
    pub path: &'a str,
    /// What follows `?`, as it came.
    pub query: Option<&'a str>,
    /// The prefix that its match had, see [`Found::prefix`](crate::table::Found::prefix).
    pub prefix: Option<&'a str>,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Outcome<'f> {
    /// It is forwarded.
    Forward(Changes<'f>),
    /// It is answered.
    Answer(Response<()>),
}

/// What is different in a request that is forwarded, besides its header fields.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes<'f> {
    /// Its path, if another.
    pub path: Option<String>,
    /// Its host, if another: `Host`, or `:authority`.
    pub host: Option<&'f str>,
    /// Where copies of it may go.
    pub mirrors: Vec<&'f Mirror>,
}

/// A `ReplacePrefixMatch` on a rule that was matched by something else; the controller refuses those,
/// so the answer is 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`ReplacePrefixMatch` on a request that no `PathPrefix` matched; use `ReplaceFullPath`")]
pub struct NoPrefix;

/// Runs the filters of a rule, or of a backend, on a request. `headers` are changed in place.
///
/// # Errors
/// When one needs the prefix that matched, and none did.
pub fn on_request<'f>(
    filters: &'f [Filter],
    arrival: &Arrival<'_>,
    headers: &mut HeaderMap,
) -> Result<Outcome<'f>, NoPrefix> {
    let mut changes = Changes::default();
    for filter in filters {
        match filter {
            Filter::RequestHeaders(modifier) => modifier.apply(headers),
            Filter::ResponseHeaders(_) => {}
            Filter::Redirect(redirect) => return Ok(Outcome::Answer(redirect.answer(arrival)?)),
            Filter::Rewrite(rewrite) => {
                if let Some(path) = &rewrite.path {
                    changes.path = Some(path.apply(arrival.path, arrival.prefix)?);
                }
                changes.host = rewrite.hostname.as_ref().map(Hostname::as_str).or(changes.host);
            }
            Filter::Mirror(mirror) => changes.mirrors.push(mirror),
            Filter::Cors(cors) => {
                if let Some(answer) = cors.preflight(arrival.method, headers) {
                    return Ok(Outcome::Answer(answer));
                }
            }
        }
    }
    Ok(Outcome::Forward(changes))
}

/// Runs the filters of a rule, or of a backend, on the head of a response. `origin` is the `Origin`
/// of its request, as that arrived.
pub fn on_response(filters: &[Filter], origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    for filter in filters {
        match filter {
            Filter::ResponseHeaders(modifier) => modifier.apply(headers),
            Filter::Cors(cors) => cors.respond(origin, headers),
            Filter::RequestHeaders(_) | Filter::Redirect(_) | Filter::Rewrite(_) | Filter::Mirror(_) => {}
        }
    }
}

/// The `Origin` of a request, for [`on_response`]; of several lines none, as no browser sends them.
#[must_use]
pub fn origin_of(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut lines = headers.get_all(ORIGIN).iter();
    lines.next().filter(|_| lines.next().is_none())
}
