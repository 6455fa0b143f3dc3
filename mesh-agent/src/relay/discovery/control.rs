//! Where the controller listens.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where the controller listens; TLS either way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A `--control` that is no address.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no address of a controller; write tcp:IP:PORT, tcp:[IP]:PORT or unix:PATH")]
pub(crate) struct ControlError(String);

impl FromStr for Control {
    type Err = ControlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ControlError(text.to_owned());
        match text.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(PathBuf::from(path))),
            Some(("tcp", address)) => address.parse().map(Self::Tcp).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Control;

    #[test]
    fn a_controller_is_reached_by_tcp_or_a_unix_socket() {
        for text in ["unix:/run/x/ads.sock", "tcp:10.0.0.1:15012", "tcp:[fd00::1]:15012"] {
            assert_eq!(text.parse::<Control>().unwrap().to_string(), text);
        }
        for text in ["", "unix:", "http://x", "/run/ads.sock", "tcp:", "tcp:10.0.0.1", "tcp:name:1"] {
            let error = text.parse::<Control>().unwrap_err();
            assert!(error.to_string().contains("unix:PATH"), "{error}");
        }
    }
}
