//! The host that a request names: one form of it, for access rules, redirects and logs.
//!
//! Routes never look at it: in a mesh they are found by the address that was dialled (SEMANTICS 8).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The longest host taken; DNS names have at most 253 characters, and a port follows.
pub const MAX_LENGTH: usize = 300;

/// `uri-host [":" port]`, as `Host` and `:authority` have it (RFC 9110, 7.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    /// Lower case, without a dot at its end; an IPv6 address in its canonical form and in brackets.
    name: String,
    port: Option<u16>,
}

/// Why a text is no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no host: a DNS name, an IPv4 address or an IPv6 address in brackets, and a port if any")]
pub struct HostError(String);

impl Host {
    /// Reads a host. Names are letters, digits, `-`, `_` and dots: other characters that RFC 3986,
    /// 3.2.2 has for registered names stand in no name of a Service, and servers disagree on them.
    ///
    /// # Errors
    /// When it is none: also an empty one, user information in front, or a port of 0.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        // An operator's log is not where a client writes kilobytes.
        let wrong = || HostError(text.chars().take(100).collect());
        if text.len() > MAX_LENGTH {
            return Err(wrong());
        }
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (literal, port) = rest.split_once(']').ok_or_else(wrong)?;
                let address: Ipv6Addr = literal.parse().map_err(|_| wrong())?;
                (format!("[{address}]"), port.strip_prefix(':').or(port.is_empty().then_some("")))
            }
            None => match text.split_once(':') {
                Some((name, port)) => (name.to_ascii_lowercase(), Some(port)),
                None => (text.to_ascii_lowercase(), Some("")),
            },
        };
        let port = match port.ok_or_else(wrong)? {
            // RFC 3986, 3.2.3: a port may be empty, and is then the scheme's.
            "" => None,
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok().filter(|&port: &u16| port != 0).ok_or_else(wrong)?)
            }
            _ => return Err(wrong()),
        };
        if name.starts_with('[') {
            return Ok(Self { name, port });
        }
        let name = name.strip_suffix('.').unwrap_or(&name).to_owned();
        let label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        if !name.split('.').all(label) {
            return Err(wrong());
        }
        // RFC 3986, 3.2.2 has one form of IPv4 addresses, and inet_aton more: 127.1, 0x7f.0.0.1.
        if name.split('.').all(is_number) && name.parse::<Ipv4Addr>().is_err() {
            return Err(wrong());
        }
        Ok(Self { name, port })
    }

    /// The name or address, lower case; IPv6 in brackets.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port, where one is written.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }
}

/// Whether a label may be a part of an address to somebody.
fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x") {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(formatter, "{}:{port}", self.name),
            None => formatter.write_str(&self.name),
        }
    }
}

/// Which hosts a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostMatch {
    /// This one.
    Exact(String),
    /// Every name below it, at any depth, as `*.` reads in Gateway API; kept with its dot in front.
    Below(String),
}

impl HostMatch {
    /// Reads `vault.bank` or `*.bank`.
    ///
    /// # Errors
    /// When what follows `*.` is no host, or a port is written: rules have those in `ports`.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let host = Host::parse(name)?;
        if host.port.is_some() || (below && host.name.starts_with('[')) {
            return Err(HostError(text.chars().take(100).collect()));
        }
        Ok(if below { Self::Below(format!(".{}", host.name)) } else { Self::Exact(host.name) })
    }

    /// Whether it is about `host`, whatever its port.
    #[must_use]
    pub fn matches(&self, host: &Host) -> bool {
        match self {
            Self::Exact(name) => *name == host.name,
            Self::Below(suffix) => host.name.len() > suffix.len() && host.name.ends_with(suffix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Host, HostMatch};
    use proptest::prelude::*;

    #[test]
    fn a_host_has_one_form() {
        for (text, name, port) in [
            ("vault.bank", "vault.bank", None),
            ("Vault.BANK.:8080", "vault.bank", Some(8080)),
            ("vault:", "vault", None),
            ("my_service", "my_service", None),
            ("10.1.0.7:80", "10.1.0.7", Some(80)),
            ("[FD00:0::7]", "[fd00::7]", None),
            ("[::1]:443", "[::1]", Some(443)),
            ("1.vault", "1.vault", None),
            ("vault.2024", "vault.2024", None),
        ] {
            let host = Host::parse(text).unwrap();
            assert_eq!((host.name(), host.port()), (name, port), "{text}");
        }
        for text in [
            "",
            ".",
            ":80",
            "a..b",
            ".a",
            "a:0",
            "a:+1",
            "a:65536",
            "a:80:80",
            "a b",
            "a/b",
            "a@b",
            "user@a:80",
            "a,b",
            "a%41",
            "[::1",
            "[::1]80",
            "::1",
            "[10.0.0.1]",
            "é",
            "127.1",
            "0x7f.0.0.1",
            "2130706433",
            "0x7f000001",
            "10.0.0.256",
            "a\t",
            "*.a",
        ] {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_wildcard_is_for_names_below() {
        let matches = |pattern: &str, host: &str| {
            HostMatch::parse(pattern).unwrap().matches(&Host::parse(host).unwrap())
        };
        assert!(matches("vault.bank", "VAULT.bank.:8080"));
        assert!(!matches("vault.bank", "x.vault.bank"));
        assert!(matches("*.Bank", "vault.bank"));
        assert!(matches("*.bank", "a.vault.bank"));
        assert!(!matches("*.bank", "bank"));
        assert!(!matches("*.bank", "riverbank"));
        for pattern in ["", "*", "*.", "a.*", "vault.bank:80", "*.[::1]", "*.10.0.0.1:1"] {
            assert!(HostMatch::parse(pattern).is_err(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text in "[a-zA-Z0-9:.\\[\\]_@-]{0,24}") {
            if let Ok(host) = Host::parse(&text) {
                prop_assert_eq!(Host::parse(&host.to_string()), Ok(host));
            }
        }
    }
}
