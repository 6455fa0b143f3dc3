//! `:authority` of a CONNECT request: an address and a port, nothing else (RFC 3986, 3.2).

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Why a text is no authority of the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`:authority` {0:?} is not an address and a port, such as 10.1.0.7:8080 or [fd00::7]:8080")]
pub(crate) struct AuthorityError(String);

/// Reads an authority. An IPv4 address has one form: IPv4-mapped IPv6 addresses are none.
///
/// # Errors
/// When it is a name, has no port or port 0, or anything else around.
pub(crate) fn parse(text: &str) -> Result<SocketAddr, AuthorityError> {
    // An operator's log is not where a peer writes kilobytes.
    let wrong = || AuthorityError(text.chars().take(100).collect());
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let ip = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => {
            let v6 = v6.parse::<Ipv6Addr>().ok().filter(|v6| v6.to_ipv4_mapped().is_none());
            IpAddr::from(v6.ok_or_else(wrong)?)
        }
        None => IpAddr::from(host.parse::<Ipv4Addr>().map_err(|_| wrong())?),
    };
    // `u16::from_str` takes a sign.
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|&port: &u16| digits && port != 0).ok_or_else(wrong)?;
    Ok(SocketAddr::new(ip, port))
}

/// Writes an authority.
#[must_use]
pub(crate) fn format(address: SocketAddr) -> String {
    let mut text = String::with_capacity(48);
    // Without the scope and flow label that a `SocketAddrV6` prints.
    let written = match address.ip() {
        IpAddr::V4(v4) => write!(text, "{v4}:{}", address.port()),
        IpAddr::V6(v6) => write!(text, "[{v6}]:{}", address.port()),
    };
    debug_assert!(written.is_ok(), "writing to a String does not fail");
    text
}

#[cfg(test)]
mod tests {
    use super::{format, parse};
    use proptest::prelude::*;
    use std::net::SocketAddr;

    proptest! {
        #[test]
        fn nothing_breaks_it(text in ".{0,60}") {
            if let Ok(address) = parse(&text) {
                prop_assert_eq!(parse(&format(address)), Ok(address));
            }
        }

        #[test]
        fn what_is_written_is_read(ip: std::net::IpAddr, port in 1..=u16::MAX) {
            let address = SocketAddr::new(ip.to_canonical(), port);
            prop_assert_eq!(parse(&format(address)), Ok(address));
        }
    }

    #[test]
    fn only_an_address_and_a_port_will_do() {
        for text in [
            "",
            ":",
            ":80",
            "10.0.0.1:",
            "10.0.0.1:0",
            "10.0.0.1:+80",
            "::1:80",
            "[::1]",
            "[::1]:",
            "a:1",
            "[fe80::1%eth0]:80",
            "10.0.0.1:80 ",
            "010.0.0.1:80",
            "[10.0.0.1]:80",
            "[::ffff:10.0.0.1]:80",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert_eq!(parse("[fd00::7]:80"), Ok("[fd00::7]:80".parse().unwrap()));
    }
}
