//! Where to listen.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::ads;

/// A place to listen at: `IP:PORT` or `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some("") => Err("write unix:PATH, the socket to listen on".to_owned()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| {
                format!("`{text}` is no place to listen at; write IP:PORT (IPv6 in brackets) or unix:PATH")
            }),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// Of TCP.
    Tcp(TcpListener),
    /// Of a path.
    Unix(UnixListener),
}

/// Why nothing can be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A TCP address.
    #[error(
        "cannot listen on {address}: {cause}; see that the address is this machine's and no other controller runs on it"
    )]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// A Unix socket.
    #[error(transparent)]
    Unix(#[from] ads::ListenError),
}

impl Listen {
    /// Begins to listen. A Unix socket is given to the user `uid`.
    ///
    /// # Errors
    /// When the address or path cannot be had.
    pub async fn bind(&self, uid: Option<u32>) -> Result<Listener, BindError> {
        match self {
            Self::Tcp(address) => {
                let bound = TcpListener::bind(address).await;
                bound.map(Listener::Tcp).map_err(|cause| BindError::Tcp { address: *address, cause })
            }
            Self::Unix(path) => Ok(Listener::Unix(ads::listen(path, uid)?)),
        }
    }
}

impl Listener {
    /// The next connection, and where it is from.
    pub(super) async fn accept(&self) -> io::Result<(Plain, Source)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Small messages must not wait for each other; a socket that cannot is slower only.
                let _ = stream.set_nodelay(true);
                Ok((Plain::Tcp(stream), Source(Some(address))))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Plain::Unix(stream), Source(None)))
            }
        }
    }
}

/// Where a connection is from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source(Option<SocketAddr>);

impl Source {
    /// Its address; the Unix socket gives none.
    pub(super) fn address(self) -> Option<IpAddr> {
        self.0.map(|address| address.ip().to_canonical())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => write!(f, "{address}"),
            None => f.write_str("the Unix socket"),
        }
    }
}

/// A connection before TLS.
#[derive(Debug)]
pub(super) enum Plain {
    Tcp(TcpStream),
    Unix(UnixStream),
}

#[cfg(test)]
mod tests {
    use super::Listen;

    #[test]
    fn a_place_is_an_address_or_a_path() {
        for text in ["127.0.0.1:15012", "[::1]:15012", "unix:/run/ads.sock"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for text in ["", "unix:", "15012", "localhost:15012", "::1:15012", "/run/ads.sock"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }
}
