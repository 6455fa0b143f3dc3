//! A tunnel connection by hand: TLS below, our own frames above.

use std::{
    io::{self, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

use super::{
    frame::{END_HEADERS, Frame, Kind, PREFACE},
    hpack::{Decoder, encode},
};

/// A client's connection.
pub(super) struct Raw {
    stream: StreamOwned<ClientConnection, TcpStream>,
    decoder: Decoder,
}

impl Raw {
    /// Connects and lets TLS finish; no frame is sent yet.
    pub(super) fn connect(to: SocketAddr, config: &Arc<ClientConfig>, limit: Duration) -> io::Result<Self> {
        let tcp = TcpStream::connect_timeout(&to, limit)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(limit))?;
        tcp.set_write_timeout(Some(limit))?;
        let name = ServerName::IpAddress(to.ip().into());
        let connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream, decoder: Decoder::default() })
    }

    /// Sends the preface and these settings.
    pub(super) fn begin(&mut self, settings: &[(u16, u32)]) -> io::Result<()> {
        self.stream.write_all(PREFACE)?;
        self.send(&Frame::settings(settings))
    }

    /// Sends a frame.
    pub(super) fn send(&mut self, frame: &Frame) -> io::Result<()> {
        frame.write(&mut self.stream)?;
        self.stream.flush()
    }

    /// Sends octets as they are.
    pub(super) fn send_octets(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.write_all(octets)?;
        self.stream.flush()
    }

    /// Sends a request in one frame.
    pub(super) fn request(&mut self, stream: u32, fields: &[(&str, &str)]) -> io::Result<()> {
        self.send(&Frame::new(Kind::Headers, END_HEADERS, stream, encode(fields)))
    }

    /// Asks for a tunnel.
    pub(super) fn tunnel(&mut self, stream: u32, authority: &str) -> io::Result<()> {
        self.request(stream, &[(":method", "CONNECT"), (":authority", authority)])
    }

    /// The next frame.
    pub(super) fn receive(&mut self) -> io::Result<Frame> {
        Frame::read(&mut self.stream)
    }

    /// How long a read waits from now on.
    pub(super) fn set_patience(&mut self, patience: Duration) -> io::Result<()> {
        self.stream.sock.set_read_timeout(Some(patience.max(Duration::from_millis(1))))
    }

    /// The status in a HEADERS frame.
    pub(super) fn status(&mut self, frame: &Frame) -> Option<String> {
        let fields = self.decoder.decode(frame.header_block()).ok()?;
        fields.into_iter().find(|(name, _)| name == ":status").map(|(_, status)| status)
    }

    /// What becomes of the connection, frame by frame until `until` says that it is enough: `status 400`, `rst 7`,
    /// `goaway 11`, `closed`, `silent`.
    pub(super) fn outcome(&mut self) -> String {
        loop {
            let frame = match self.receive() {
                Ok(frame) => frame,
                Err(error) => return ending(&error),
            };
            match frame.kind {
                Kind::Headers => {
                    return self
                        .status(&frame)
                        .map_or("no status".to_owned(), |status| format!("status {status}"));
                }
                Kind::RstStream => return format!("rst {}", frame.error_code().unwrap_or_default()),
                Kind::GoAway => return format!("goaway {}", frame.error_code().unwrap_or_default()),
                _ => {}
            }
        }
    }
}

/// An end of a connection in a word.
pub(super) fn ending(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "silent".to_owned(),
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => "closed".to_owned(),
        io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        _ if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => format!("tls: {error}"),
        _ => error.to_string(),
    }
}
