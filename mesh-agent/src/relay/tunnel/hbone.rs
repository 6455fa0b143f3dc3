//! The wire format of the tunnel: HBONE, HTTP/2 CONNECT inside mutual TLS, as Istio ambient speaks
//! it (RFC 9113 section 8.5). Pure: headers in, values out, and back.
//!
//! ```text
//! :method     CONNECT
//! :authority  10.1.0.7:8080                     address of the destination pod, never a name
//! forwarded   for="10.2.0.4:51234"              the application's socket (RFC 7239)
//! baggage     k8s.namespace.name=bank,...       who the source says it is: for telemetry only
//!
//! :status     200                               bytes follow, both ways, until END_STREAM each
//! :status     400 | 401 | 503                   malformed or foreign | policy | upstream
//! proxy-status  mesh; error=connection_refused  why (RFC 9209)
//! ```
//!
//! | module | header |
//! |---|---|
//! | [`authority`] | `:authority` |
//! | [`forwarded`] | `forwarded` |
//! | [`baggage`] | `baggage` |
//! | [`proxy_status`](fn@proxy_status) | `proxy-status` |
//! | [`status`] | `:status`, and what it means as a [`Reason`] |
//!
//! [`Reason`]: mesh_ebpf::abi::Reason

pub(crate) mod authority;
pub(crate) mod baggage;
pub(crate) mod forwarded;
pub(crate) mod proxy_status;
pub(crate) mod status;

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Why a request is answered 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRequest {
    /// Another method.
    #[error("method {0}; the tunnel takes CONNECT only")]
    Method(Method),
    /// RFC 8441.
    #[error("CONNECT with `:protocol`; the tunnel carries plain TCP only")]
    Extended,
    /// No authority at all.
    #[error("CONNECT without `:authority`")]
    NoAuthority,
    /// An authority that is no address and port.
    #[error(transparent)]
    Authority(#[from] authority::AuthorityError),
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connect {
    /// Where it is to go.
    pub authority: SocketAddr,
    /// The client that the other end says it forwards for. Not proof of anything.
    pub forwarded: Option<SocketAddr>,
}

/// Reads a request.
///
/// # Errors
/// When it is to be answered 400.
pub(crate) fn parse<B>(request: &Request<B>) -> Result<Connect, BadRequest> {
    if request.method() != Method::CONNECT {
        return Err(BadRequest::Method(request.method().clone()));
    }
    if request.extensions().get::<h2::ext::Protocol>().is_some() {
        return Err(BadRequest::Extended);
    }
    let authority = request.uri().authority().ok_or(BadRequest::NoAuthority)?;
    let authority = authority::parse(authority.as_str())?;
    let forwarded = request.headers().get_all(FORWARDED).iter().next_back();
    let forwarded = forwarded.and_then(|value| forwarded::last_for(value.to_str().ok()?));
    Ok(Connect { authority, forwarded })
}

/// Writes the request for a connection to `destination`, made by the application's socket `client`.
#[must_use]
pub(crate) fn request(destination: SocketAddr, client: SocketAddr, baggage: &HeaderValue) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.version_mut() = http::Version::HTTP_2;
    *request.uri_mut() = uri(destination);
    let forwarded = HeaderValue::try_from(forwarded::format(client));
    let headers = request.headers_mut();
    headers.insert(FORWARDED, forwarded.expect("an address and a port are printable"));
    headers.insert(BAGGAGE, baggage.clone());
    request
}

fn uri(destination: SocketAddr) -> Uri {
    let mut parts = http::uri::Parts::default();
    let authority = http::uri::Authority::try_from(authority::format(destination));
    parts.authority = Some(authority.expect("an address and a port are an authority"));
    Uri::from_parts(parts).expect("an authority alone is a URI")
}

/// The parsed `proxy-status` of an answer: the last proxy's word on what went wrong.
#[must_use]
pub(crate) fn proxy_status(headers: &HeaderMap) -> Option<proxy_status::ProxyStatus> {
    let value = headers.get_all(PROXY_STATUS).iter().next_back()?;
    proxy_status::parse(value.to_str().ok()?)
}

/// Writes the answer that refuses with `status`.
#[must_use]
pub(crate) fn refusal(refusal: &status::Refusal, details: &str) -> http::Response<()> {
    let mut response = http::Response::new(());
    *response.status_mut() = refusal.status;
    let value = HeaderValue::try_from(proxy_status::format(refusal.error, details));
    response.headers_mut().insert(PROXY_STATUS, value.expect("what is not printable was dropped"));
    response
}

#[cfg(test)]
mod tests {
    use super::{BadRequest, Connect, parse, request};
    use http::{HeaderValue, Method, Request};
    use proptest::prelude::*;
    use std::net::SocketAddr;

    proptest! {
        #[test]
        fn what_is_written_is_read(destination: SocketAddr, client: SocketAddr) {
            prop_assume!(plain(destination) && plain(client));
            let request = request(destination, client, &HeaderValue::from_static("a=b"));
            prop_assert_eq!(parse(&request), Ok(Connect { authority: destination, forwarded: Some(client) }));
        }
    }

    /// No scope, no flow label, no mapped form, a port: what can be on the wire.
    fn plain(address: SocketAddr) -> bool {
        address == SocketAddr::new(address.ip().to_canonical(), address.port()) && address.port() != 0
    }

    #[test]
    fn other_requests_are_named() {
        let ask = |method: &str, uri: &str| Request::builder().method(method).uri(uri).body(()).unwrap();
        assert_eq!(parse(&ask("GET", "http://10.0.0.1:80/")), Err(BadRequest::Method(Method::GET)));
        assert_eq!(parse(&ask("CONNECT", "/")), Err(BadRequest::NoAuthority));
        for foreign in ["example.com:80", "10.0.0.1", "user@10.0.0.1:80", "10.0.0.1:99999", "[::1]"] {
            let refused = parse(&ask("CONNECT", foreign));
            assert!(matches!(refused, Err(BadRequest::Authority(_))), "{foreign}: {refused:?}");
        }
        let mut extended = ask("CONNECT", "10.0.0.1:80");
        extended.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        assert_eq!(parse(&extended), Err(BadRequest::Extended));
    }
}
