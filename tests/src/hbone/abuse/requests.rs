//! Requests that deserve an answer, and not the one they ask for.

use std::io;

use super::Round;
use crate::hbone::{
    frame::{END_HEADERS, Frame, Kind},
    hpack::encode,
};

/// The largest frame that a peer must take (RFC 9113, 4.2).
const FRAME: usize = 16_384;

/// A tunnel to this authority.
pub(super) fn authority(round: &Round<'_>, authority: &str) -> io::Result<String> {
    let mut raw = round.open(&[])?;
    raw.tunnel(1, authority)?;
    Ok(raw.outcome())
}

/// A tunnel to somebody else.
pub(super) fn other_pod(round: &Round<'_>) -> io::Result<String> {
    let other = round.args.other.ok_or_else(|| io::Error::other("OtherPod needs --other"))?;
    authority(round, &other.to_string())
}

/// No tunnel at all.
pub(super) fn other_method(round: &Round<'_>) -> io::Result<String> {
    let authority = round.args.authority.to_string();
    let mut raw = round.open(&[])?;
    raw.request(1, &[(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", &authority)])?;
    Ok(raw.outcome())
}

/// A tunnel with a protocol (RFC 8441), which was not allowed by a setting.
pub(super) fn extended_connect(round: &Round<'_>) -> io::Result<String> {
    let authority = round.args.authority.to_string();
    let mut raw = round.open(&[])?;
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":path", "/"),
        (":authority", authority.as_str()),
    ];
    raw.request(1, &fields)?;
    Ok(raw.outcome())
}

/// A tunnel to the tunnel port, with the beginning of another handshake in it: whatever answers must not be the tunnel.
pub(super) fn nested(round: &Round<'_>) -> io::Result<String> {
    let inside = std::net::SocketAddr::new(round.args.authority.ip(), round.args.to.port());
    let mut raw = round.open(&[])?;
    raw.tunnel(1, &inside.to_string())?;
    let outcome = raw.outcome();
    if outcome != "status 200" {
        return Ok(outcome);
    }
    raw.send(&Frame::new(Kind::Data, 0, 1, super::handshakes::client_hello(round)?))?;
    loop {
        let frame = raw.receive()?;
        if frame.kind == Kind::Data && !frame.payload.is_empty() {
            // A TLS record of type 22 is a ServerHello: the tunnel tunnelled to itself.
            return Ok(if frame.payload[0] == 22 { "nested".to_owned() } else { "answered".to_owned() });
        }
        if matches!(frame.kind, Kind::RstStream | Kind::GoAway) {
            return Ok(format!("ended {}", frame.error_code().unwrap_or_default()));
        }
    }
}

/// A header larger than anybody's limit, in as many frames as it takes.
pub(super) fn oversized(round: &Round<'_>) -> io::Result<String> {
    let (authority, large) = (round.args.authority.to_string(), "x".repeat(64 * 1024));
    let block = encode(&[(":method", "CONNECT"), (":authority", &authority), ("x-large", &large)]);
    let mut raw = round.open(&[])?;
    let count = block.len().div_ceil(FRAME);
    for (number, part) in block.chunks(FRAME).enumerate() {
        let kind = if number == 0 { Kind::Headers } else { Kind::Continuation };
        let flags = if number + 1 == count { END_HEADERS } else { 0 };
        if raw.send(&Frame::new(kind, flags, 1, part)).is_err() {
            // It said why, perhaps, before it closed.
            return Ok(raw.outcome());
        }
    }
    Ok(raw.outcome())
}
