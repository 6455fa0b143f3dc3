//! Connections, of their own or kept under a name.

use std::{collections::HashMap, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Mutex,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use super::{
    super::{
        order::{Order, Version},
        piped::Piped,
    },
    Step, whole,
};
use crate::hbone::credentials;

/// The body of a request.
pub(super) type Body = Either<Full<Bytes>, Piped>;

/// Longest wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Those with a name.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<HashMap<String, Arc<Mutex<Option<Open>>>>>);

/// An open connection.
#[derive(Debug)]
pub(super) struct Open {
    sender: Sender,
    /// The client's address.
    pub(super) local: SocketAddr,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Connections {
    /// Sends a request over the order's connection; gives the head of the answer, and the client's address.
    pub(super) async fn send(
        &self,
        order: &Order,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, SocketAddr), Step> {
        let Some(name) = &order.connection else {
            let mut open = open(order).await?;
            let local = open.local;
            return open.send(request).await.map(|response| (response, local));
        };
        let slot = Arc::clone(self.0.lock().await.entry(name.clone()).or_default());
        let mut slot = slot.lock().await;
        // One that the other side has closed is replaced, as every client does.
        let kept = slot.take().filter(|open| !open.is_closed());
        let mut open = match kept {
            Some(open) => open,
            None => open(order).await?,
        };
        let local = open.local;
        if let Sender::Http2(sender) = &open.sender {
            let mut sender = sender.clone();
            *slot = Some(open);
            drop(slot);
            sender.ready().await.map_err(|error| ("ask", whole(&error)))?;
            let answered = sender.send_request(request).await;
            return answered.map(|response| (response, local)).map_err(|error| ("ask", whole(&error)));
        }
        let answered = open.send(request).await;
        *slot = Some(open);
        answered.map(|response| (response, local))
    }
}

impl Open {
    fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, Step> {
        let sent = match &mut self.sender {
            Sender::Http1(sender) => match sender.ready().await {
                Ok(()) => sender.send_request(request).await,
                Err(error) => Err(error),
            },
            Sender::Http2(sender) => match sender.ready().await {
                Ok(()) => sender.send_request(request).await,
                Err(error) => Err(error),
            },
        };
        sent.map_err(|error| ("ask", whole(&error)))
    }
}

async fn open(order: &Order) -> Result<Open, Step> {
    let failed = |error: io::Error| ("connect", error.to_string());
    let connecting = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(order.to)).await;
    let stream = connecting.map_err(|_| ("connect", "timed out".to_owned()))?.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let local = stream.local_addr().map_err(failed)?;
    let sender = match &order.server_name {
        None => speak(stream, order.version).await?,
        Some(name) => {
            let config = ClientConfig::builder_with_provider(credentials::Credentials::provider())
                .with_safe_default_protocol_versions()
                .map_err(|error| ("connect", error.to_string()))?
                .dangerous()
                .with_custom_certificate_verifier(credentials::anybody())
                .with_no_client_auth();
            let name = ServerName::try_from(name.clone()).map_err(|error| ("connect", error.to_string()))?;
            let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(failed)?;
            speak(stream, order.version).await?
        }
    };
    Ok(Open { sender, local })
}

async fn speak<S>(stream: S, version: Version) -> Result<Sender, Step>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| ("connect", whole(&error));
    Ok(match version {
        Version::Http1 => {
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
            // What ends it is told by the requests on it.
            tokio::spawn(connection.with_upgrades());
            Sender::Http1(sender)
        }
        Version::Http2 => {
            let io = TokioIo::new(stream);
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.map_err(failed)?;
            tokio::spawn(connection);
            Sender::Http2(sender)
        }
    })
}
