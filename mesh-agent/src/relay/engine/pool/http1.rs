//! A connection of HTTP/1.1 to an endpoint: one request at a time, kept between them.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use mesh_l7::head::hop::has_option;

use super::{Key, Pool};
use crate::relay::engine::Io;
use crate::relay::engine::http1::wire::{Reader, Writer, split};

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    reader: Reader,
    writer: Writer,
    rest: Rest,
}

/// What the server said of the time between requests.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// There is one.
    persists: Cell<bool>,
    /// How long it takes.
    within: Cell<Option<Duration>>,
}

impl Rest {
    /// Notes what a response says; `persists`: its version and its form do not say otherwise.
    pub(crate) fn said(&self, persists: bool, headers: &HeaderMap) {
        self.persists.set(persists && !has_option(headers, "close"));
        self.within.set(headers.get("keep-alive").and_then(|value| patience(value.to_str().ok()?)));
    }
}

/// `Keep-Alive: timeout=5` as Node and others say it: a second less, for the way there.
fn patience(value: &str) -> Option<Duration> {
    let seconds = value.split(',').find_map(|parameter| parameter.trim().strip_prefix("timeout="))?;
    let seconds: u64 = seconds.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.saturating_sub(1)).max(Duration::from_millis(500)))
}

impl Connection {
    /// Over a stream.
    pub(crate) fn new(stream: Io) -> Self {
        let (reader, writer) = split(stream, Bytes::new());
        Self { reader, writer, rest: Rest::default() }
    }

    /// Whether it can carry a request: what comes without one, or its end, makes it useless.
    pub(crate) fn is_open(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.reader.is_empty() && self.reader.poll_fill(&mut context).is_pending()
    }

    /// Ends it in order: it carries nothing.
    pub(crate) fn end(&mut self) {
        self.writer.shutdown_now();
    }

    /// How long it may rest.
    pub(crate) fn rests_within(&self) -> Option<Duration> {
        self.rest.within.get()
    }
}

/// A connection while it carries a request.
#[derive(Debug)]
pub(crate) struct Lease {
    connection: Option<Box<Connection>>,
    pool: Weak<Pool>,
    key: Key,
    /// It was used before.
    pub reused: bool,
    finished: Rc<Cell<bool>>,
}

impl Lease {
    /// Of a pool, to which it goes back.
    pub(crate) fn new(connection: Box<Connection>, pool: Weak<Pool>, key: Key, reused: bool) -> Self {
        Self { connection: Some(connection), pool, key, reused, finished: Rc::default() }
    }

    pub(crate) fn parts(&mut self) -> (&mut Reader, &mut Writer, &Rest) {
        let connection = self.connection.as_mut().expect("it is taken when the lease is dropped");
        (&mut connection.reader, &mut connection.writer, &connection.rest)
    }

    pub(crate) fn finished(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.finished)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else { return };
        // What was not finished is dropped as it is: its server must not take it for whole.
        let kept = self.connection.take().and_then(|mut connection| {
            if !self.finished.get() || connection.writer.is_aborted() {
                return None;
            }
            if connection.rest.persists.get() && connection.reader.is_empty() {
                return Some(connection);
            }
            connection.end();
            None
        });
        pool.give_back(&self.key, kept);
    }
}

#[cfg(test)]
mod tests {
    use super::patience;
    use std::time::Duration;

    #[test]
    fn a_server_says_how_long_it_waits() {
        assert_eq!(patience("timeout=5"), Some(Duration::from_secs(4)));
        assert_eq!(patience("max=100, timeout=72"), Some(Duration::from_secs(71)));
        assert_eq!(patience("timeout=1"), Some(Duration::from_millis(500)));
        assert_eq!(patience("timeout=x"), None);
        assert_eq!(patience("max=5"), None);
    }
}
