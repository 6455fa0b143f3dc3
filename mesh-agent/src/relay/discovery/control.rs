//! Where the controller listens.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::timeout;

/// How long a name may take to be resolved.
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);

/// The longest name of the DNS (RFC 1035, 2.3.4), characters.
const LONGEST_NAME: usize = 253;

/// Where the controller listens; TLS either way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A name, such as a Service's, and a TCP port.
    Name(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A `--control` that is no address.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no address of a controller; write tcp:IP:PORT, tcp:[IP]:PORT, tcp:NAME:PORT or unix:PATH")]
pub(crate) struct ControlError(String);

impl FromStr for Control {
    type Err = ControlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ControlError(text.to_owned());
        match text.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(PathBuf::from(path))),
            Some(("tcp", address)) => match address.parse() {
                Ok(address) => Ok(Self::Tcp(address)),
                Err(_) => named(address).ok_or_else(wrong),
            },
            _ => Err(wrong()),
        }
    }
}

/// `NAME:PORT`. A name that ends in a number would be a mistyped address.
fn named(text: &str) -> Option<Control> {
    let (name, port) = text.split_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let labels: Vec<&str> = name.strip_suffix('.').unwrap_or(name).split('.').collect();
    let is_label = |label: &&str| {
        let dashed = label.starts_with('-') || label.ends_with('-');
        (1..=63).contains(&label.len())
            && !dashed
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_number = labels.last().is_none_or(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    let fits = name.len() <= LONGEST_NAME && labels.iter().all(is_label) && !is_number;
    fits.then(|| Control::Name(name.to_owned(), port))
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Name(name, port) => write!(f, "tcp:{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The addresses of a name, and those that it had when it could last be resolved: where the
/// cluster's DNS is away, or is itself waiting for this node, the controller may still be there.
#[derive(Debug, Default)]
pub(super) struct Known(Vec<SocketAddr>);

impl Known {
    /// The addresses to try, in turn.
    pub(super) async fn resolve(&mut self, name: &str, port: u16) -> io::Result<&[SocketAddr]> {
        let lookup = timeout(RESOLVE_WITHIN, tokio::net::lookup_host((name, port))).await;
        let found = lookup.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        self.take(found.map(Iterator::collect))
    }

    fn take(&mut self, found: io::Result<Vec<SocketAddr>>) -> io::Result<&[SocketAddr]> {
        match found {
            Ok(found) if !found.is_empty() => self.0 = found,
            Ok(_) if self.0.is_empty() => return Err(io::Error::other("the name has no address")),
            Err(error) if self.0.is_empty() => return Err(error),
            _ => tracing::debug!("the controller's name is not resolved; its last addresses are tried"),
        }
        Ok(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{Control, Known};

    #[test]
    fn a_controller_is_reached_by_tcp_or_a_unix_socket() {
        for text in [
            "unix:/run/x/ads.sock",
            "tcp:10.0.0.1:15012",
            "tcp:[fd00::1]:15012",
            "tcp:mesh-control.mesh-system.svc:15012",
            "tcp:localhost:1",
            "tcp:mesh-control.mesh-system.svc.cluster.local.:15012",
        ] {
            assert_eq!(text.parse::<Control>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "unix:",
            "http://x",
            "/run/ads.sock",
            "tcp:",
            "tcp:10.0.0.1",
            "tcp:10.0.0.256:1",
            "tcp:fd00::1:15012",
            "tcp:a..b:1",
            "tcp:-a.b:1",
            "tcp:a b:1",
            "tcp:name:0",
            "tcp:name:65536",
        ] {
            let error = text.parse::<Control>().unwrap_err();
            assert!(error.to_string().contains("unix:PATH"), "{error}");
        }
    }

    #[test]
    fn the_last_good_addresses_outlive_the_dns() {
        let mut known = Known::default();
        let away = || Err(io::ErrorKind::TimedOut.into());
        assert!(known.take(away()).is_err());
        assert!(known.take(Ok(Vec::new())).is_err());
        let address = "10.0.0.1:15012".parse().unwrap();
        assert_eq!(known.take(Ok(vec![address])).unwrap(), [address]);
        assert_eq!(known.take(away()).unwrap(), [address]);
        assert_eq!(known.take(Ok(Vec::new())).unwrap(), [address]);
    }
}
