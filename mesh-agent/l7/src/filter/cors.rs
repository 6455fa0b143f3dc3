//! `CORS` (`HTTPCORSFilter` of Gateway API; the Fetch standard, 3.2 "CORS protocol").
//!
//! The filter is the only word on who may read a response: what the backend says of it in
//! `access-control-*` is taken away.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::origin::OriginMatch;
use super::origin_of;

/// Lets pages of other origins use what a rule leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Which origins; none lets nobody in.
    pub origins: Vec<OriginMatch>,
    /// Which methods.
    pub methods: Names,
    /// Which header fields of requests.
    pub headers: Names,
    /// Which header fields of responses pages may read.
    pub expose: Names,
    /// Whether requests may carry credentials.
    pub credentials: bool,
    /// How long a preflight's answer holds, in seconds; Gateway API's default is 5.
    pub max_age_seconds: u32,
}

/// A list of methods or header fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// `*`.
    Any,
    /// These, joined by commas as they are answered; `None` where there is none.
    These(Option<HeaderValue>),
}

impl Names {
    /// Of names; one that is `*` stands for all.
    ///
    /// # Errors
    /// When one of them is no token (RFC 9110, 5.6.2).
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, NameError> {
        let mut joined = String::new();
        for name in names {
            // Tokens are what methods are made of, and names of header fields too.
            Method::from_bytes(name.as_bytes()).map_err(|_| NameError(name.into()))?;
            if name == "*" {
                return Ok(Self::Any);
            }
            joined.push_str(if joined.is_empty() { "" } else { ", " });
            joined.push_str(name);
        }
        let value = HeaderValue::try_from(&joined).map_err(|_| NameError(joined.clone()))?;
        Ok(Self::These(Some(value).filter(|value| !value.is_empty())))
    }

    /// The answer to a preflight that asks for `asked`. `*` is answered with what was asked, which is
    /// right with credentials and without.
    fn answer(&self, asked: Option<&HeaderValue>) -> Option<HeaderValue> {
        match self {
            Self::Any => asked.cloned(),
            Self::These(names) => names.clone(),
        }
    }
}

/// A name that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no method and no header field")]
pub struct NameError(String);

impl Cors {
    /// The answer to a preflight request; `None` if this is none: only `OPTIONS` with an `Origin` and
    /// the method it asks for is (Fetch, 3.2.2). An origin that may not come is answered 403 without
    /// a word of CORS.
    #[must_use]
    pub fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response<()>> {
        let asked_method = headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        if *method != Method::OPTIONS || !headers.contains_key(ORIGIN) {
            return None;
        }
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::FORBIDDEN;
        let answer = response.headers_mut();
        vary(answer, &[ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_REQUEST_HEADERS]);
        let Some(origin) = origin_of(headers).filter(|origin| self.lets_in(origin)) else {
            return Some(response);
        };
        self.admit(origin, answer);
        // What is combined is what a server must answer for; the first line alone would let the rest by.
        let asked_headers = combined(headers, ACCESS_CONTROL_REQUEST_HEADERS);
        let exposed = match &self.expose {
            Names::Any if self.credentials => None,
            Names::Any => Some(HeaderValue::from_static("*")),
            Names::These(names) => names.clone(),
        };
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_METHODS, self.methods.answer(Some(asked_method))),
            (ACCESS_CONTROL_ALLOW_HEADERS, self.headers.answer(asked_headers.as_ref())),
            (ACCESS_CONTROL_EXPOSE_HEADERS, exposed),
            (ACCESS_CONTROL_MAX_AGE, Some(HeaderValue::from(self.max_age_seconds))),
        ] {
            if let Some(value) = value {
                answer.insert(name, value);
            }
        }
        *response.status_mut() = StatusCode::NO_CONTENT;
        Some(response)
    }

    /// Says in a response who may read it. `origin` is the request's, `None` where it has none.
    pub fn respond(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        for name in [
            ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_HEADERS,
            ACCESS_CONTROL_EXPOSE_HEADERS,
            ACCESS_CONTROL_MAX_AGE,
        ] {
            headers.remove(name);
        }
        if !self.answers_all_alike() {
            // Also where this response names no origin: a cache must not give it to one that may read.
            vary(headers, &[ORIGIN]);
        }
        let Some(origin) = origin.filter(|origin| self.lets_in(origin)) else { return };
        let exposed = match &self.expose {
            // `*` is a name like any other with credentials (Fetch, 3.2.3): every name there is, then.
            Names::Any if self.credentials => {
                let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
                names.sort_unstable();
                HeaderValue::try_from(names.join(", ")).ok()
            }
            Names::Any => Some(HeaderValue::from_static("*")),
            Names::These(names) => names.clone(),
        };
        self.admit(origin, headers);
        if let Some(exposed) = exposed {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }

    fn lets_in(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|allowed| allowed.matches(origin.as_bytes()))
    }

    /// Whether the answer is the same for every origin.
    fn answers_all_alike(&self) -> bool {
        self.origins.contains(&OriginMatch::Any) && !self.credentials
    }

    fn admit(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        let all = self.answers_all_alike();
        let origin = if all { HeaderValue::from_static("*") } else { origin.clone() };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

fn combined(headers: &HeaderMap, name: HeaderName) -> Option<HeaderValue> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    (!lines.is_empty()).then(|| HeaderValue::from_bytes(&lines.join(&b", "[..])).ok()).flatten()
}

/// Adds names to `Vary` that it does not have yet (Fetch, "CORS protocol and HTTP caches").
fn vary(headers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        let lines = headers.get_all(VARY);
        let members = lines.iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
        let known = members
            .map(<[u8]>::trim_ascii)
            .any(|member| member == b"*" || member.eq_ignore_ascii_case(name.as_str().as_bytes()));
        if !known {
            headers.append(VARY, HeaderValue::from(name.clone()));
        }
    }
}
