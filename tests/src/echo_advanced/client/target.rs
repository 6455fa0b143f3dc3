//! Whom to call, from a URL.

use std::str::FromStr;

use hyper::Uri;
use tokio::net::TcpStream;

use crate::echo_advanced::Failure;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
    Grpc,
    Tcp,
}

/// A URL that can be called.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// As it was given.
    pub(super) url: String,
    pub(super) scheme: Scheme,
    /// Host and, where it was given, port.
    pub(super) authority: String,
    /// Path and query.
    pub(super) path: String,
    /// Name or address, without the brackets of IPv6.
    pub(super) host: String,
    port: u16,
}

impl Target {
    /// A connection to it; the name is looked up as the pod's own resolver does.
    pub(super) async fn connect(&self) -> Result<TcpStream, Failure> {
        let (host, port) = (self.host.as_str(), self.port);
        let dialled = TcpStream::connect((host, port)).await;
        let stream = dialled.map_err(|error| format!("dial {host} port {port}: {error}"))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url:?} is no URL: {error}"))?;
        let (scheme, port) = match uri.scheme_str() {
            Some("http") => (Scheme::Http, Some(80)),
            Some("https") => (Scheme::Https, Some(443)),
            Some("grpc") => (Scheme::Grpc, None),
            Some("tcp") => (Scheme::Tcp, None),
            _ => return Err(format!("{url:?} does not begin with http, https, grpc or tcp, and ://")),
        };
        let authority = uri.authority().ok_or_else(|| format!("{url:?} names no host"))?;
        let port = authority.port_u16().or(port).ok_or_else(|| format!("{url:?} names no port"))?;
        Ok(Self {
            url: url.to_owned(),
            scheme,
            authority: authority.to_string(),
            path: uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Scheme, Target};

    #[test]
    fn urls_are_read_as_the_suite_writes_them() {
        let read = |url: &str| url.parse::<Target>().unwrap();
        let target = read("http://echo/path?x=1");
        assert_eq!((target.scheme, target.host.as_str(), target.port), (Scheme::Http, "echo", 80));
        assert_eq!((target.authority.as_str(), target.path.as_str()), ("echo", "/path?x=1"));
        let target = read("http://[fd00::1]:8080");
        assert_eq!((target.host.as_str(), target.port, target.path.as_str()), ("fd00::1", 8080, "/"));
        assert_eq!(read("grpc://echo:7070").scheme, Scheme::Grpc);
        for wrong in ["grpc://echo", "echo", "ftp://echo", "http://"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
