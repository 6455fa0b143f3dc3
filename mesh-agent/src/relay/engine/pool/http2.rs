//! A connection of HTTP/2 to an endpoint, shared by requests.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use crate::relay::engine::Io;
use crate::relay::engine::decide::DialFailure;
use crate::relay::engine::frame::Broken;
use crate::relay::engine::http2::{FRAME, OF_ENDPOINTS, SEND_BUFFER};
use crate::relay::engine::limits::Limits;

/// Streams that one connection carries, if its peer takes as many.
const STREAMS: usize = 1024;
/// How long a peer's SETTINGS are waited for, where what they say matters.
const SETTINGS_WITHIN: Duration = Duration::from_millis(500);

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// `None` once it takes no new requests.
    requests: RefCell<Option<SendRequest<Bytes>>>,
    streams: Cell<usize>,
    used: Cell<bool>,
    idle_since: Cell<Instant>,
}

impl Connection {
    /// Opens one over a stream.
    ///
    /// # Errors
    /// When the stream fails.
    pub(crate) async fn open(stream: Io, limits: &Limits) -> Result<Rc<Self>, DialFailure> {
        let handshake = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(OF_ENDPOINTS.stream)
            .initial_connection_window_size(OF_ENDPOINTS.connection)
            .max_frame_size(FRAME)
            .max_header_list_size(u32::try_from(limits.head_octets).unwrap_or(u32::MAX))
            .max_send_buffer_size(SEND_BUFFER)
            .handshake::<_, Bytes>(stream);
        let failed = |detail: String| DialFailure { detail, exhausted: false };
        let (requests, driver) = match timeout(limits.connect_within, handshake).await {
            Ok(opened) => opened.map_err(|error| failed(format!("opening HTTP/2: {error}")))?,
            Err(_) => return Err(failed("opening HTTP/2 took too long".to_owned())),
        };
        let connection = Rc::new(Self {
            requests: RefCell::new(Some(requests)),
            streams: Cell::new(0),
            used: Cell::new(false),
            idle_since: Cell::new(Instant::now()),
        });
        let driven = Rc::downgrade(&connection);
        spawn_local(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to an endpoint broke");
            }
            if let Some(connection) = driven.upgrade() {
                connection.retire();
            }
        });
        Ok(connection)
    }

    /// Takes no new requests; closes with the last.
    pub(crate) fn retire(&self) {
        self.requests.borrow_mut().take();
    }

    /// Whether it takes no new requests.
    pub(crate) fn is_retired(&self) -> bool {
        self.requests.borrow().is_none()
    }

    /// How many more requests it takes now.
    pub(crate) fn free(&self) -> usize {
        let requests = self.requests.borrow();
        let allowed =
            requests.as_ref().map_or(0, |requests| requests.current_max_send_streams().min(STREAMS));
        allowed.saturating_sub(self.streams.get())
    }

    /// Whether it has had no request for so long.
    pub(crate) fn is_idle(&self, within: Duration) -> bool {
        self.streams.get() == 0 && self.idle_since.get().elapsed() >= within
    }
}

/// A stream's share of a connection.
#[derive(Debug)]
pub(crate) struct Lease {
    connection: Rc<Connection>,
    /// It was used before.
    pub reused: bool,
}

impl Lease {
    /// Of a connection.
    pub(crate) fn new(connection: Rc<Connection>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        let reused = connection.used.replace(true);
        Self { connection, reused }
    }

    /// Begins a stream.
    pub(crate) fn send(
        &self,
        head: Request<()>,
        ended: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Broken> {
        let mut requests = self.connection.requests.borrow_mut();
        let lost = || Broken::Unprocessed("the connection takes no new requests".to_owned());
        let sent = requests.as_mut().ok_or_else(lost)?.send_request(head, ended);
        sent.map_err(|error| {
            requests.take();
            Broken::Unprocessed(error.to_string())
        })
    }

    /// Whether the server takes WebSockets on it (RFC 8441, 3), which it says in its SETTINGS.
    pub(crate) async fn takes_websockets(&self) -> bool {
        let takes = || {
            let requests = self.connection.requests.borrow();
            requests.as_ref().is_some_and(SendRequest::is_extended_connect_protocol_enabled)
        };
        let until = Instant::now() + SETTINGS_WITHIN;
        while !takes() {
            // Nothing tells when they have come.
            if Instant::now() >= until {
                return false;
            }
            sleep(Duration::from_millis(5)).await;
        }
        true
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let left = self.connection.streams.get().saturating_sub(1);
        self.connection.streams.set(left);
        self.connection.idle_since.set(Instant::now());
    }
}
