//! TLSRoute: a TLS connection is led by the server name that its ClientHello asks for (RFC 6066, 3),
//! unread otherwise.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::server::Acceptor;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::relay::engine::Io;

/// How long a ClientHello may take, and how long it may be.
const WITHIN: Duration = Duration::from_secs(10);
const OCTETS: usize = 64 << 10;

/// Why there is no ClientHello.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoHello {
    /// The client was silent, or slow.
    #[error("no ClientHello came within {} seconds", WITHIN.as_secs())]
    TimedOut,
    /// The client ended first.
    #[error("the client closed before its ClientHello was whole")]
    Closed,
    /// It is longer than is looked at.
    #[error("the ClientHello is longer than {OCTETS} octets")]
    TooLong,
    /// It is none.
    #[error("what the client sent is no ClientHello: {0}")]
    Bad(String),
    /// Reading failed.
    #[error("reading the ClientHello: {0}")]
    Io(#[from] io::Error),
}

/// Reads a ClientHello: the server name that it asks for, if it does, and all that was read.
pub(super) async fn read(client: &mut Io) -> Result<(Option<String>, Bytes), NoHello> {
    let read = async {
        let mut octets = BytesMut::new();
        let mut acceptor = Acceptor::default();
        let mut seen = 0;
        loop {
            if client.read_buf(&mut octets).await? == 0 {
                return Err(NoHello::Closed);
            }
            let mut new = &octets[seen..];
            while !new.is_empty() {
                if acceptor.read_tls(&mut new)? == 0 {
                    break;
                }
            }
            seen = octets.len() - new.len();
            match acceptor.accept() {
                Ok(Some(accepted)) => {
                    let name = accepted.client_hello().server_name().map(str::to_owned);
                    return Ok((name, octets.freeze()));
                }
                Ok(None) if octets.len() > OCTETS => return Err(NoHello::TooLong),
                Ok(None) => {}
                Err((error, _)) => return Err(NoHello::Bad(error.to_string())),
            }
        }
    };
    timeout(WITHIN, read).await.unwrap_or(Err(NoHello::TimedOut))
}

#[cfg(test)]
mod tests {
    use super::{NoHello, read};
    use crate::relay::engine::Io;
    use tokio::io::AsyncWriteExt;

    async fn said(octets: &[u8], pieces: usize) -> Result<Option<String>, NoHello> {
        let (client, mut application) = tokio::io::duplex(1 << 20);
        let mut client: Io = Box::new(client);
        let write = async {
            for piece in octets.chunks(pieces) {
                application.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(application);
        };
        let (name, ()) = tokio::join!(read(&mut client), write);
        name.map(|(name, read)| {
            assert!(octets.starts_with(&read), "what was read is carried on as it came");
            name
        })
    }

    /// A ClientHello as rustls writes it.
    fn hello(name: &str) -> Vec<u8> {
        let config =
            rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
        let mut connection = rustls::ClientConnection::new(config.into(), name).unwrap();
        let mut octets = Vec::new();
        connection.write_tls(&mut octets).unwrap();
        octets
    }

    #[tokio::test]
    async fn the_name_is_read_however_the_hello_comes() {
        for pieces in [1, 7, 1 << 14] {
            assert_eq!(said(&hello("vault.bank"), pieces).await.unwrap().as_deref(), Some("vault.bank"));
        }
        assert_eq!(said(&hello("10.0.0.1"), 100).await.unwrap(), None, "an address is no server name");
    }

    #[tokio::test]
    async fn what_is_no_hello_is_told_why() {
        assert!(matches!(said(b"GET / HTTP/1.1\r\n\r\n", 100).await, Err(NoHello::Bad(_))));
        assert!(matches!(said(&hello("a.b")[..20], 100).await, Err(NoHello::Closed)));
    }
}
