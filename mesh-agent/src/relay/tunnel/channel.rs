//! Asking wire for sockets (`handover/sockets.rs`), without blocking: many requests at once over
//! one connection, which is made anew when wire has restarted.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::handover::sockets::{self, ChannelError, Given, Need, Request, Response};

/// How long wire may take for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Requests that may wait for their answers at once.
const WAITING: usize = 1024;

/// Why there is no socket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    /// wire is not there.
    #[error("no sockets from wire: {0}; is `mesh-agent wire` running on this node?")]
    NotConnected(String),
    /// wire did not answer.
    #[error("wire did not answer a request for sockets within {} seconds", ANSWER_WITHIN.as_secs())]
    TimedOut,
    /// Too many ask at once.
    #[error("{WAITING} requests wait for sockets from wire already")]
    Busy,
    /// wire refused.
    #[error("wire gives no socket in the pod: {0}")]
    Refused(String),
    /// wire gave something else.
    #[error("wire gave {descriptors} descriptors with {given}; run the same mesh-agent for wire and relay")]
    Odd {
        /// What it said it gave.
        given: String,
        /// How many came.
        descriptors: usize,
    },
}

type Waiting = RefCell<HashMap<u64, oneshot::Sender<Result<(Given, Vec<OwnedFd>), AskError>>>>;

/// The way to wire, for one thread.
#[derive(Debug)]
pub(crate) struct Channel {
    path: PathBuf,
    connection: RefCell<Option<Rc<Connection>>>,
    next: Cell<u64>,
}

#[derive(Debug)]
struct Connection {
    /// Of the kind that keeps messages apart, as a datagram socket does: for its readiness only.
    socket: UnixDatagram,
    waiting: Waiting,
    broken: Cell<bool>,
}

impl Channel {
    /// Asks at the socket `path`; connects with the first request.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, connection: RefCell::default(), next: Cell::default() }
    }

    /// Asks for sockets, on the [`LocalSet`](tokio::task::LocalSet) of this thread.
    ///
    /// # Errors
    /// When wire is not there, does not answer, or refuses.
    pub(crate) async fn ask(&self, need: Need) -> Result<(Given, Vec<OwnedFd>), AskError> {
        let connection = self.connection()?;
        if connection.waiting.borrow().len() >= WAITING {
            return Err(AskError::Busy);
        }
        let id = self.next.get();
        self.next.set(id + 1);
        let (answer, answered) = oneshot::channel();
        connection.waiting.borrow_mut().insert(id, answer);
        let exchange = async {
            connection.send(&Request::new(id, need)).await?;
            answered.await.unwrap_or(Err(AskError::NotConnected("relay is ending".to_owned())))
        };
        let answer = timeout(ANSWER_WITHIN, exchange).await.unwrap_or(Err(AskError::TimedOut));
        connection.waiting.borrow_mut().remove(&id);
        let (given, descriptors) = answer?;
        match given {
            Given::Refused { why, .. } => Err(AskError::Refused(why)),
            given if given.descriptors() == descriptors.len() => Ok((given, descriptors)),
            given => Err(AskError::Odd { given: format!("{given:?}"), descriptors: descriptors.len() }),
        }
    }

    fn connection(&self) -> Result<Rc<Connection>, AskError> {
        let mut current = self.connection.borrow_mut();
        if let Some(connection) = current.as_ref().filter(|connection| !connection.broken.get()) {
            return Ok(Rc::clone(connection));
        }
        let failed = |error| AskError::NotConnected(format!("{}: {error}", self.path.display()));
        let socket = sockets::connect(&self.path)
            .and_then(|socket| UnixDatagram::from_std(socket.into()))
            .map_err(failed)?;
        let connection =
            Rc::new(Connection { socket, waiting: Waiting::default(), broken: Cell::new(false) });
        *current = Some(Rc::clone(&connection));
        tokio::task::spawn_local(Rc::clone(&connection).receive());
        Ok(connection)
    }
}

impl Connection {
    async fn send(&self, request: &Request) -> Result<(), AskError> {
        let sent = self.when(Interest::WRITABLE, || sockets::send(&self.socket, request, &[])).await;
        sent.map_err(|error| AskError::NotConnected(error.to_string()))
    }

    /// Does `work` as soon as it does not block.
    async fn when<T>(
        &self,
        ready: Interest,
        mut work: impl FnMut() -> Result<T, ChannelError>,
    ) -> Result<T, ChannelError> {
        loop {
            self.socket.ready(ready).await?;
            let mut done = None;
            // Only whether it would have blocked is tokio's to know.
            let _ = self.socket.try_io(ready, || {
                let blocked = done.insert(work()).as_ref().is_err_and(ChannelError::would_block);
                if blocked { Err(std::io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match done {
                Some(Err(error)) if error.would_block() => {}
                Some(done) => return done,
                None => {}
            }
        }
    }

    /// Hands answers to who waits for them, until the connection ends.
    async fn receive(self: Rc<Self>) {
        let ended: ChannelError = loop {
            let received = self.when(Interest::READABLE, || sockets::receive::<Response>(&self.socket)).await;
            match received {
                Ok((response, descriptors)) => {
                    // Without anybody who waits, the descriptors are closed.
                    if let Some(asker) = self.waiting.borrow_mut().remove(&response.id) {
                        let _ = asker.send(Ok((response.given, descriptors)));
                    }
                }
                Err(error) => break error,
            }
        };
        self.broken.set(true);
        for (_, asker) in self.waiting.borrow_mut().drain() {
            let _ = asker.send(Err(AskError::NotConnected(ended.to_string())));
        }
    }
}
