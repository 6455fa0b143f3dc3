//! `RequestRedirect` (`HTTPRequestRedirectFilter` of Gateway API).

use std::fmt::Write;

use http::header::LOCATION;
use http::{HeaderValue, Response, StatusCode};

use crate::path::escape;

use super::rewrite::{Hostname, PathModifier};
use super::{Arrival, NoPrefix};

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http`.
    Http,
    /// `https`.
    Https,
}

impl Scheme {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that goes without saying (RFC 9110, 4.2.1 and 4.2.2).
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Answers a request with another place to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// The scheme, if another than the request's.
    pub scheme: Option<Scheme>,
    /// The host, if another than the request's.
    pub hostname: Option<Hostname>,
    /// The path, if another than the request's.
    pub path: Option<PathModifier>,
    /// The port, if neither the scheme's nor the one that was dialled.
    pub port: Option<u16>,
    /// The status.
    pub status: RedirectStatus,
}

/// A status that Gateway API has for redirects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedirectStatus(StatusCode);

impl Default for RedirectStatus {
    /// 302, as in Gateway API.
    fn default() -> Self {
        Self(StatusCode::FOUND)
    }
}

impl std::fmt::Display for RedirectStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl RedirectStatus {
    /// 301, 302, 303, 307 or 308; `None` of any other.
    #[must_use]
    pub fn new(code: u16) -> Option<Self> {
        let known = matches!(code, 301 | 302 | 303 | 307 | 308);
        StatusCode::from_u16(code).ok().filter(|_| known).map(Self)
    }
}

impl Redirect {
    /// The answer.
    ///
    /// # Errors
    /// When it replaces a prefix, and none matched.
    pub fn answer(&self, arrival: &Arrival<'_>) -> Result<Response<()>, NoPrefix> {
        let mut response = Response::new(());
        *response.status_mut() = self.status.0;
        let location = HeaderValue::try_from(self.location(arrival)?);
        response.headers_mut().insert(LOCATION, location.expect("what is not printable ASCII was escaped"));
        Ok(response)
    }

    /// The value of `Location`. A query is kept. The port is the filter's; without one that of its
    /// scheme; without a scheme the one that was dialled; and it is left out where it is the scheme's
    /// own (`HTTPRequestRedirectFilter.port`).
    fn location(&self, arrival: &Arrival<'_>) -> Result<String, NoPrefix> {
        let scheme = self.scheme.unwrap_or(arrival.scheme);
        let port = self.port.unwrap_or_else(|| self.scheme.map_or(arrival.port, Scheme::default_port));
        let host = self.hostname.as_ref().map_or_else(|| arrival.host.name(), Hostname::as_str);
        let path = match &self.path {
            Some(path) => path.apply(arrival.path, arrival.prefix)?,
            None => arrival.path.to_owned(),
        };
        let mut location = format!("{}://{host}", scheme.as_str());
        if port != scheme.default_port() {
            let written = write!(location, ":{port}");
            debug_assert!(written.is_ok(), "writing to a String does not fail");
        }
        location.push_str(if path == "*" { "" } else { &path });
        if let Some(query) = arrival.query {
            location.push('?');
            location.push_str(query);
        }
        let mut printable = String::with_capacity(location.len());
        for byte in location.bytes() {
            match byte {
                b'!' | b'$'..=b';' | b'=' | b'?'..=b'~' => printable.push(char::from(byte)),
                // What no URI has (RFC 3986, 2.1), nor a header field.
                byte => escape(byte, &mut printable),
            }
        }
        Ok(printable)
    }
}
