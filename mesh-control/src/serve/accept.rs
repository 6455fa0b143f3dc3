//! From a listening socket to connections whose TLS handshake is done.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_stream::{Stream, wrappers::ReceiverStream};

use super::{
    bounds::{Bounds, Share},
    connection::{TlsConnection, peer_of},
    listen::{Listener, Plain, Source},
    pace::Pace,
};
use crate::ca::{Lease, Trust};

/// A handshake must be done within this.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// After a failure to accept, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// Whoever is no node that is served may stay this long: enough to join, or to be told why not.
const STRANGER_STAYS: Duration = Duration::from_secs(20);

type Trusts = watch::Receiver<Option<Arc<Trust>>>;

/// The connections of a listener, once the controller has a certificate to show. Beyond the
/// bound of handshakes they wait in the kernel's queue; beyond the other [`Bounds`] they are closed.
pub fn incoming(listener: Listener, trust: Trusts) -> impl Stream<Item = io::Result<TlsConnection>> {
    // A connection more is accepted only when the last one has been taken.
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(accept(listener, trust, sender));
    ReceiverStream::new(receiver)
}

async fn accept(listener: Listener, mut trust: Trusts, connections: mpsc::Sender<io::Result<TlsConnection>>) {
    if trust.wait_for(Option::is_some).await.is_err() {
        return;
    }
    let bounds = Bounds::default();
    let pace = Arc::new(Pace::default());
    loop {
        let Some(room) = bounds.room().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = connections.closed() => return,
        };
        let (plain, source) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the agents' socket");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let share = match bounds.handshake(room, source.address()) {
            Ok(share) => share,
            Err(error) => {
                refused(&pace, &source, &error);
                continue;
            }
        };
        let (connections, bounds, trust) = (connections.clone(), bounds.clone(), trust.clone());
        let pace = pace.clone();
        tokio::spawn(async move {
            let made = handshake(plain, &source, trust, &bounds).await;
            drop::<Share>(share);
            match made {
                // The server is gone: so is the connection.
                Ok(connection) => drop(connections.send(Ok(connection)).await),
                Err(error) => refused(&pace, &source, &error),
            }
        });
    }
}

fn refused(pace: &Pace, from: &Source, error: &dyn std::fmt::Display) {
    if let Some(unlogged) = pace.take(Instant::now()) {
        tracing::warn!(%from, %error, unlogged, "connection refused");
    }
}

async fn handshake(
    plain: Plain,
    source: &Source,
    trust: Trusts,
    bounds: &Bounds,
) -> io::Result<TlsConnection> {
    let config = trust.borrow().as_ref().map(|trust| trust.server());
    let config = config.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
    let timed = tokio::time::timeout(HANDSHAKE_WITHIN, TlsAcceptor::from(config).accept(plain)).await;
    let stream = timed.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let connection = peer_of(&stream, *source);
    let peer = connection.peer().and_then(|peer| peer.as_ref().ok());
    // A node that is not served is told so by what it asks for, and so are a pod and a stranger.
    let lease = peer.and_then(|peer| Lease::new(peer.clone(), trust).ok());
    let share = match &lease {
        Some(lease) => bounds.node(lease.node()),
        None => bounds.stranger(source.address()),
    };
    let share = share.map_err(io::Error::other)?;
    let ends = async move {
        if let Some(mut lease) = lease {
            lease.lost().await;
        }
        tokio::time::sleep(STRANGER_STAYS).await;
    };
    Ok(TlsConnection::new(stream, connection, share, Box::pin(ends)))
}
