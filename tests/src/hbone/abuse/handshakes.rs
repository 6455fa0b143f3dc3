//! Handshakes that are not what they should be.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
};

use rustls::{ClientConnection, pki_types::ServerName};

use super::{PATIENCE, Round};
use crate::hbone::raw::{Raw, ending};

/// A handshake without a protocol, and then HTTP/2 all the same.
pub(super) fn no_alpn(round: &Round<'_>) -> io::Result<String> {
    let mut raw = Raw::connect(round.args.to, round.config, PATIENCE)?;
    raw.begin(&[])?;
    raw.tunnel(1, &round.args.authority.to_string())?;
    Ok(raw.outcome())
}

/// What a handshake begins with.
pub(super) fn client_hello(round: &Round<'_>) -> io::Result<Vec<u8>> {
    let name = ServerName::IpAddress(round.args.to.ip().into());
    let mut connection = ClientConnection::new(Arc::clone(round.config), name).map_err(io::Error::other)?;
    let mut hello = Vec::new();
    connection.write_tls(&mut hello)?;
    Ok(hello)
}

/// The first half of it; then it is waited for the end.
pub(super) fn half_client_hello(round: &Round<'_>) -> io::Result<String> {
    let hello = client_hello(round)?;
    let mut stream = TcpStream::connect_timeout(&round.args.to, PATIENCE)?;
    stream.write_all(&hello[..hello.len() / 2])?;
    stream
        .set_read_timeout(Some(round.end.saturating_duration_since(std::time::Instant::now()) + PATIENCE))?;
    let mut answer = [0; 64];
    Ok(match stream.read(&mut answer) {
        // An alert is an answer too.
        Ok(_) => "closed".to_owned(),
        Err(error) => ending(&error),
    })
}
