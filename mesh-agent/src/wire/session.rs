//! The socket that relay connects to: what is read from it, what is written.
//!
//! One relay at a time; a newer one replaces the older, so an upgrade needs no coordination.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use super::endpoint::{self, EndpointError};
use super::outbox::Outbox;
use super::signal::Signal;
use crate::handover::{FrameError, ToWire, VERSION, read_frame, write_frame};

/// How long relay may take to read one message.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

/// The listening socket.
#[derive(Debug)]
pub(super) struct Server {
    listener: UnixListener,
    relay_uid: u32,
}

impl Server {
    /// Listens at `path`, in place of whatever an earlier wire left there.
    ///
    /// # Errors
    /// When the socket cannot be made or given to relay's user.
    pub(super) fn bind(path: &Path, relay_uid: u32) -> Result<Self, EndpointError> {
        let listener = endpoint::place(path, relay_uid, |path| UnixListener::bind(path))?;
        Ok(Self { listener, relay_uid })
    }

    /// Serves relays on threads of its own.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub(super) fn start(self, signals: SyncSender<Signal>, outbox: Outbox) -> io::Result<()> {
        thread::Builder::new().name("handover".to_owned()).spawn(move || {
            let mut current: Option<UnixStream> = None;
            for stream in self.listener.incoming() {
                let accepted = stream.and_then(|stream| self.admit(stream));
                let (stream, pid) = match accepted {
                    Ok(admitted) => admitted,
                    Err(error) => {
                        tracing::warn!(%error, "a connection to the handover socket was refused");
                        continue;
                    }
                };
                if let Some(older) = current.take() {
                    tracing::info!("a newer relay replaces the one that was connected");
                    let _ = older.shutdown(Shutdown::Both);
                }
                current = stream.try_clone().ok();
                if signals.send(Signal::Agent(pid)).is_err() {
                    return;
                }
                if let Err(error) = serve(stream, &signals, &outbox) {
                    tracing::error!(%error, "cannot serve relay");
                }
            }
        })?;
        Ok(())
    }

    /// Lets relay in, and nobody else; gives its process as well.
    fn admit(&self, stream: UnixStream) -> io::Result<(UnixStream, u32)> {
        let pid = endpoint::admit(&stream, self.relay_uid)?;
        stream.set_write_timeout(Some(WRITE_PATIENCE))?;
        Ok((stream, pid))
    }
}

fn serve(stream: UnixStream, signals: &SyncSender<Signal>, outbox: &Outbox) -> io::Result<()> {
    let session = outbox.open();
    let writer = stream.try_clone()?;
    let said = outbox.clone();
    thread::Builder::new().name("to-relay".to_owned()).spawn(move || {
        let mut writer = writer;
        while let Some(message) = said.next(session) {
            if let Err(error) = write_frame(&mut writer, &message) {
                tracing::warn!(%error, "relay cannot be told; its connection is closed");
                break;
            }
        }
        said.close(session);
        let _ = writer.shutdown(Shutdown::Both);
    })?;
    let signals = signals.clone();
    let closing = outbox.clone();
    thread::Builder::new().name("from-relay".to_owned()).spawn(move || {
        match read(stream, session, &signals) {
            Err(FrameError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                tracing::info!("relay is gone; everything stays enforced");
            }
            Err(error) => tracing::warn!(%error, "relay's connection ended"),
            Ok(()) => {}
        }
        closing.close(session);
        // A wire that was told to end may wait for this.
        let _ = signals.send(Signal::Look);
    })?;
    Ok(())
}

fn read(stream: UnixStream, session: u64, signals: &SyncSender<Signal>) -> Result<(), FrameError> {
    let mut stream = io::BufReader::new(stream);
    match read_frame(&mut stream)? {
        ToWire::Hello { version: VERSION } => {}
        other => {
            tracing::error!(
                message = ?other,
                "relay speaks another version of the handover than {VERSION}; run the same mesh-agent for both"
            );
            let _ = stream.get_ref().shutdown(Shutdown::Both);
            return Ok(());
        }
    }
    let mut message = ToWire::Hello { version: VERSION };
    while signals.send(Signal::Relay(session, message)).is_ok() {
        message = read_frame(&mut stream)?;
    }
    Ok(())
}
