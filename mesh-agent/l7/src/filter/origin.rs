//! Origins that CORS lets in (`CORSOrigin` of Gateway API; RFC 6454, 6.2).

use super::redirect::Scheme;

/// Which origins match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginMatch {
    /// `*`: every one, also `null`.
    Any,
    /// Those of a scheme, port and host.
    Of {
        /// The scheme.
        scheme: Scheme,
        /// Which hosts.
        host: HostPattern,
        /// The port; that of the scheme where none is written.
        port: u16,
    },
}

/// Which hosts an origin may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// `*`: every one.
    Any,
    /// This one, lower case.
    Exact(String),
    /// `*.bar.com`: those below it at any depth, kept with its dot in front.
    Below(String),
}

/// Why a text is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no origin: `*`, or http:// or https://, a host, which may start with `*.` or be `*`, and a port if any"
)]
pub struct OriginError(String);

impl OriginMatch {
    /// Reads an entry of `allowOrigins`.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let wrong = || OriginError(text.into());
        let (scheme, host, port) = split(text).ok_or_else(wrong)?;
        let host = match host.strip_prefix("*.") {
            _ if host == "*" => HostPattern::Any,
            Some(below) if is_name(below) => HostPattern::Below(format!(".{}", below.to_ascii_lowercase())),
            None if is_name(host) => HostPattern::Exact(host.to_ascii_lowercase()),
            _ => return Err(wrong()),
        };
        Ok(Self::Of { scheme, host, port })
    }

    /// Whether the value of `Origin` matches.
    #[must_use]
    pub fn matches(&self, origin: &[u8]) -> bool {
        let Self::Of { scheme, host, port } = self else { return true };
        let origin = std::str::from_utf8(origin).ok().and_then(split);
        origin.is_some_and(|(asked_scheme, asked_host, asked_port)| {
            let asked_host = asked_host.to_ascii_lowercase();
            let on_host = match host {
                HostPattern::Any => true,
                HostPattern::Exact(host) => *host == asked_host,
                HostPattern::Below(suffix) => asked_host.len() > suffix.len() && asked_host.ends_with(suffix),
            };
            asked_scheme == *scheme && asked_port == *port && on_host
        })
    }
}

/// Scheme, host and port of an origin.
fn split(text: &str) -> Option<(Scheme, &str, u16)> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return None,
    };
    let (host, port) = match rest.rsplit_once(':') {
        // In brackets colons are an address's own.
        Some((host, port)) if !port.ends_with(']') => {
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            (host, port.parse().ok().filter(|&port: &u16| digits && port != 0)?)
        }
        _ => (rest, scheme.default_port()),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'*');
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let known = !host.is_empty() && (bracketed || host.bytes().all(plain));
    known.then_some((scheme, host, port))
}

fn is_name(host: &str) -> bool {
    !host.contains('*') && host.split('.').all(|label| !label.is_empty())
}
