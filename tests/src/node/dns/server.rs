//! The sockets: UDP, and TCP for what does not fit. One thread a socket; the load is a test's.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use hickory_proto::op::{Message, OpCode, ResponseCode};

use super::Zone;

const PORT: u16 = 53;

/// The largest answer over UDP for a client that has not asked for more (RFC 1035, 2.3.4).
const PLAIN_UDP_LIMIT: usize = 512;

/// How long a silent TCP client is kept.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);

/// DNS cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve DNS on {address}: {source}")]
pub(in crate::node) struct Error {
    address: SocketAddr,
    source: io::Error,
}

/// A running server, whose zone can be replaced.
#[derive(Debug, Clone, Default)]
pub(in crate::node) struct Server {
    zone: Arc<Mutex<Arc<Zone>>>,
}

impl Server {
    /// Answers on these addresses for as long as the process lives.
    ///
    /// # Errors
    /// If an address cannot be bound.
    pub(in crate::node) fn start(addresses: &[IpAddr]) -> Result<Self, Error> {
        let server = Self::default();
        for address in addresses {
            let address = SocketAddr::new(*address, PORT);
            let failed = |source| Error { address, source };
            let (udp, tcp) =
                (UdpSocket::bind(address).map_err(failed)?, TcpListener::bind(address).map_err(failed)?);
            let shared = server.clone();
            thread::spawn(move || shared.serve_udp(&udp));
            let shared = server.clone();
            thread::spawn(move || shared.serve_tcp(&tcp));
        }
        Ok(server)
    }

    /// Answers from this zone from now on.
    pub(in crate::node) fn replace(&self, zone: Zone) {
        *self.zone.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(zone);
    }

    fn serve_udp(&self, socket: &UdpSocket) {
        let mut query = [0; 4096];
        loop {
            let Ok((length, client)) = socket.recv_from(&mut query) else { continue };
            if let Some(answer) = self.answer(&query[..length], true) {
                // A client that is gone needs no answer.
                let _ = socket.send_to(&answer, client);
            }
        }
    }

    fn serve_tcp(&self, listener: &TcpListener) {
        for stream in listener.incoming().flatten() {
            let server = self.clone();
            // A client that breaks off is its own affair.
            thread::spawn(move || server.talk(stream).ok());
        }
    }

    /// Length-prefixed messages (RFC 1035, 4.2.2).
    fn talk(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(TCP_TIMEOUT))?;
        loop {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut query = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut query)?;
            let Some(answer) = self.answer(&query, false) else { return Ok(()) };
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            let mut message = length.to_be_bytes().to_vec();
            message.extend_from_slice(&answer);
            stream.write_all(&message)?;
        }
    }

    fn answer(&self, query: &[u8], udp: bool) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).ok()?;
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.metadata.recursion_desired = query.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.metadata.authoritative = true;
        match query.queries.first() {
            Some(question) if query.metadata.op_code == OpCode::Query => {
                answer.add_query(question.clone());
                let zone = Arc::clone(&self.zone.lock().unwrap_or_else(PoisonError::into_inner));
                let (code, records) = zone.answer(question.name(), question.query_type());
                answer.metadata.response_code = code;
                answer.add_answers(records);
            }
            _ => answer.metadata.response_code = ResponseCode::NotImp,
        }
        let bytes = answer.to_vec().ok()?;
        let limit = query.edns.as_ref().map_or(PLAIN_UDP_LIMIT, |edns| edns.max_payload().into());
        if udp && bytes.len() > limit { answer.truncate().to_vec().ok() } else { Some(bytes) }
    }
}
