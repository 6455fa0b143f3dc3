//! What a request asks for, and of whom: the target's form, host and path (RFC 9112, 3.2 and 3.3;
//! RFC 9113, 8.3.1).

use http::header::HOST;
use http::{Method, Version};

use super::{BadHead, Parsed};
use crate::host::Host;
use crate::path::Path;

/// A target that was read.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) path: Path,
    pub(super) query: Option<String>,
    pub(super) host: Option<Host>,
}

pub(super) fn read(parsed: &Parsed<'_>, http2: bool) -> Result<Target, BadHead> {
    let uri = parsed.uri;
    match (parsed.method == Method::CONNECT, parsed.protocol) {
        (true, Some(protocol)) if http2 && protocol.eq_ignore_ascii_case("websocket") => {}
        (true, Some(protocol)) => return Err(BadHead::Protocol(protocol.chars().take(100).collect())),
        (true, None) => return Err(BadHead::Connect),
        (false, Some(_)) => return Err(BadHead::Target),
        (false, None) => {}
    }
    match uri.scheme_str() {
        None | Some("http" | "https") => {}
        Some(_) => return Err(BadHead::Scheme),
    }
    // In HTTP/1 an authority without a scheme is CONNECT's form.
    if !http2 && uri.authority().is_some() && uri.scheme().is_none() {
        return Err(BadHead::Target);
    }
    let path = Path::parse(uri.path().as_bytes())?;
    if path.as_str() == "*" && (*parsed.method != Method::OPTIONS || uri.query().is_some()) {
        return Err(BadHead::Target);
    }
    Ok(Target { path, query: uri.query().map(str::to_owned), host: host(parsed, http2)? })
}

fn host(parsed: &Parsed<'_>, http2: bool) -> Result<Option<Host>, BadHead> {
    let fields: Vec<_> = parsed.headers.get_all(HOST).iter().collect();
    if fields.len() > 1 {
        return Err(BadHead::SeveralHosts(fields.len()));
    }
    let field = fields.first().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let field = field.map(|value| Host::parse(&value)).transpose();
    match parsed.uri.authority() {
        Some(authority) => {
            let authority = Host::parse(authority.as_str())?;
            // HTTP/1 has the target win whatever `host` says (RFC 9112, 3.2.2), if that is a host at all.
            match field? {
                Some(field) if http2 && field != authority => Err(BadHead::HostsDiffer),
                None if parsed.version == Version::HTTP_11 => Err(BadHead::NoHost),
                _ => Ok(Some(authority)),
            }
        }
        None => match field? {
            Some(host) => Ok(Some(host)),
            None if parsed.version == Version::HTTP_10 => Ok(None),
            None => Err(BadHead::NoHost),
        },
    }
}
