//! The request that `can` is asked about, brought to the form in which the engine has it.

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version};
use mesh_l7::host::Host;
use mesh_l7::path::Path;
use serde::Serialize;

use super::super::AdminError;
use super::super::query::Query;
use crate::relay::engine::decide::Refusal;
use crate::relay::engine::message::arrive;
use crate::relay::engine::rest::Rest;

/// A request without content.
#[derive(Debug)]
pub(super) struct Asked {
    /// Its head, as the engine has it.
    pub head: Request<()>,
    /// Its path in normal form.
    pub path: Path,
    /// The host it names.
    pub host: Option<Host>,
}

/// A request that is answered before anything decides on it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad {
    /// With what.
    pub status: StatusCode,
    /// Why.
    pub why: String,
}

/// A request, as the answer tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Told {
    method: String,
    /// The path in normal form, and the query as it came.
    target: String,
    host: String,
    headers: Vec<String>,
}

impl Asked {
    /// Reads `method`, `target`, `host` and every `header` of a query; without a method there is none.
    /// `dialled` is the host of a request that names none.
    ///
    /// # Errors
    /// When a parameter is not of a request at all; one that the engine refuses is the inner error.
    pub(super) fn read(query: &Query, dialled: &str) -> Result<Option<Result<Self, Bad>>, AdminError> {
        let method = query.text("method");
        if method.is_empty() {
            return match query.text("target") {
                "" => Ok(None),
                target => Err(wrong("target", target, "a request has a method, too")),
            };
        }
        let named = Method::from_bytes(method.as_bytes());
        let named = named.map_err(|_| wrong("method", method, "no method (RFC 9110, 9.1)"))?;
        let mut head = Request::new(());
        *head.method_mut() = named;
        *head.version_mut() = Version::HTTP_11;
        let host = Some(query.text("host")).filter(|host| !host.is_empty()).unwrap_or(dialled);
        let value = HeaderValue::from_str(host);
        head.headers_mut().insert(HOST, value.map_err(|_| wrong("host", host, "no host"))?);
        for field in query.all("header") {
            let (name, value) = field_of(field).ok_or_else(|| {
                wrong("header", field, "write `name: value`, with a name and a value that HTTP has")
            })?;
            head.headers_mut().append(name, value);
        }
        let target = query.text("target");
        Ok(Some(target_of(target).and_then(|uri| {
            *head.uri_mut() = uri;
            let arrived = arrive(head).map_err(|bad| Bad::from(Refusal::from(&bad)))?;
            Ok(Self { head: arrived.head, path: arrived.path, host: arrived.host })
        })))
    }

    /// The request that goes on from here, after what routes have made of its head.
    pub(super) fn sent(head: Request<()>) -> Result<Self, Bad> {
        let path = Path::parse(head.uri().path().as_bytes())
            .map_err(|error| Bad { status: error.status(), why: error.to_string() })?;
        let host = head.headers().get(HOST).and_then(|host| host.to_str().ok());
        let host = host.and_then(|host| Host::parse(host).ok());
        Ok(Self { head, path, host })
    }

    /// As rules are asked about it.
    pub(super) fn rest(&self) -> Rest {
        Rest::new(&self.head, self.path.clone(), self.host.clone(), true)
    }

    /// As the answer tells it.
    pub(super) fn told(&self) -> Told {
        let fields = self.head.headers().iter().filter(|(name, _)| *name != HOST && *name != "x-request-id");
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Told {
            method: self.head.method().to_string(),
            target: self.head.uri().to_string(),
            host: self.head.headers().get(HOST).map(text).unwrap_or_default(),
            headers: fields.map(|(name, value)| format!("{name}: {}", text(value))).collect(),
        }
    }
}

impl From<Refusal> for Bad {
    fn from(refusal: Refusal) -> Self {
        Self { status: refusal.status, why: refusal.message }
    }
}

fn target_of(target: &str) -> Result<Uri, Bad> {
    // `http` cuts a fragment off, which the engine refuses.
    let whole = (!target.contains('#')).then(|| PathAndQuery::try_from(target).ok()).flatten();
    let bad = || Bad { status: StatusCode::BAD_REQUEST, why: "a malformed request target".to_owned() };
    whole.map(Uri::from).ok_or_else(bad)
}

fn field_of(text: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':')?;
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    Some((name, HeaderValue::from_str(value.trim_matches([' ', '\t'])).ok()?))
}

fn wrong(name: &'static str, value: &str, problem: &'static str) -> AdminError {
    AdminError::Parameter { name, value: value.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::{Asked, Bad};
    use crate::relay::admin::query::Query;

    fn read(query: &str) -> Result<Option<Result<Asked, Bad>>, String> {
        Asked::read(&Query::parse(query), "vault.bank").map_err(|error| error.to_string())
    }

    fn arrived(query: &str) -> Result<String, String> {
        let asked = read(query).unwrap().unwrap().map_err(|bad| format!("{} {}", bad.status, bad.why))?;
        Ok(serde_json::to_string(&asked.told()).unwrap())
    }

    #[test]
    fn a_request_is_what_the_engine_makes_of_it() {
        assert!(read("source=a").unwrap().is_none());
        assert_eq!(
            arrived("method=GET&target=/a/../b%2F%2Fc?d=%252F&header=X-A:%201&header=x-b:2").unwrap(),
            r#"{"method":"GET","target":"/b/c?d=%2F","host":"vault.bank","headers":["x-a: 1","x-b: 2"]}"#
        );
        assert_eq!(
            arrived("method=POST&target=/pkg.Vault/Open&host=vault:80").unwrap(),
            r#"{"method":"POST","target":"/pkg.Vault/Open","host":"vault:80","headers":[]}"#
        );
    }

    #[test]
    fn what_the_engine_answers_by_itself_is_said_with_its_status() {
        for (query, said) in [
            ("method=GET&target=/a/%252e%252e%253bx", "400"),
            ("method=GET&target=/a%2500", "400 "),
            ("method=GET&target=/a%23b", "400 Bad Request a malformed request target"),
            ("method=GET&target=/a%20b", "400 "),
            ("method=GET&target=/&host=a_b..c", "400 "),
            ("method=CONNECT&target=/", "501 "),
        ] {
            let error = arrived(query).unwrap_err();
            assert!(error.starts_with(said), "{query}: {error}");
        }
    }

    #[test]
    fn what_is_no_request_is_named() {
        for (query, named) in [
            ("target=/a", "parameter target is \"/a\": a request has a method, too"),
            ("method=G%20T&target=/", "parameter method is \"G T\""),
            ("method=GET&target=/&header=novalue", "parameter header is \"novalue\""),
            ("method=GET&target=/&header=b%20d:%201", "parameter header is \"b d: 1\""),
            ("method=GET&target=/&header=a:%0Ab", "parameter header is \"a:\\nb\""),
        ] {
            let error = read(query).unwrap_err();
            assert!(error.starts_with(named), "{error}");
        }
    }
}
