//! From a listening socket to connections whose TLS handshake is done.

use std::{io, sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_stream::{Stream, wrappers::ReceiverStream};

use super::{
    connection::{TlsConnection, peer_of},
    listen::{Listener, Plain},
};
use crate::ca::Trust;

/// Handshakes that are under way at a time, at most.
const HANDSHAKES: usize = 64;
/// A handshake must be done within this.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// Connections of nodes, at most.
const CONNECTIONS: usize = 4096;
/// Connections without a certificate, at most.
const NAMELESS: usize = 64;
/// After a failure to accept, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// What bounds connections.
#[derive(Debug, Clone)]
struct Bounds {
    handshakes: Arc<Semaphore>,
    nodes: Arc<Semaphore>,
    nameless: Arc<Semaphore>,
}

/// The connections of a listener, once the controller has a certificate to show. Beyond the
/// bound of handshakes they wait in the kernel's queue; beyond that of connections they are closed.
pub fn incoming(
    listener: Listener,
    trust: watch::Receiver<Option<Arc<Trust>>>,
) -> impl Stream<Item = io::Result<TlsConnection>> {
    // A connection more is accepted only when the last one has been taken.
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(accept(listener, trust, sender));
    ReceiverStream::new(receiver)
}

async fn accept(
    listener: Listener,
    mut trust: watch::Receiver<Option<Arc<Trust>>>,
    connections: mpsc::Sender<io::Result<TlsConnection>>,
) {
    if trust.wait_for(Option::is_some).await.is_err() {
        return;
    }
    let bounds = Bounds {
        handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
        nodes: Arc::new(Semaphore::new(CONNECTIONS)),
        nameless: Arc::new(Semaphore::new(NAMELESS)),
    };
    loop {
        let Ok(permit) = bounds.handshakes.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = connections.closed() => return,
        };
        let (plain, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the agents' socket");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(config) = trust.borrow().as_ref().map(|trust| trust.server()) else { continue };
        let (connections, bounds) = (connections.clone(), bounds.clone());
        tokio::spawn(async move {
            let made = handshake(plain, TlsAcceptor::from(config), &bounds).await;
            drop::<OwnedSemaphorePermit>(permit);
            match made {
                // The server is gone: so is the connection.
                Ok(connection) => drop(connections.send(Ok(connection)).await),
                Err(error) => tracing::warn!(%from, %error, "connection refused"),
            }
        });
    }
}

async fn handshake(plain: Plain, acceptor: TlsAcceptor, bounds: &Bounds) -> io::Result<TlsConnection> {
    let timed = tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(plain)).await;
    let stream = timed.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let connection = peer_of(&stream);
    let bound = if connection.peer().is_some() { &bounds.nodes } else { &bounds.nameless };
    let permit = bound.clone().try_acquire_owned();
    let permit = permit.map_err(|_| io::Error::other("too many connections; see what opens them"))?;
    Ok(TlsConnection::new(stream, connection, permit))
}
