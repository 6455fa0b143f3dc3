//! The grammar of an HTTP/1 head read by hand, byte by byte: what the engine's parser is tested
//! against. What that takes, this takes.

use super::framing::{is_chunked, one_length, trim};
use super::{BadHead, FIELD_LIMIT, SIZE_LIMIT};
use crate::detect::is_token;

/// Where a head ends: after its empty line. `None` while that has not come. Empty lines before the
/// request line are part of it (RFC 9112, 2.2).
#[must_use]
pub fn end(bytes: &[u8]) -> Option<usize> {
    let mut blank = true;
    let mut begun = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' if blank && begun => return Some(at + 1),
            b'\n' => blank = true,
            b'\r' => {}
            _ => (blank, begun) = (false, true),
        }
    }
    None
}

/// Checks a whole head, up to [`end`].
///
/// # Errors
/// When it is to be answered [`BadHead::status`] and the connection closed.
pub fn check(head: &[u8]) -> Result<(), BadHead> {
    if head.len() > SIZE_LIMIT {
        return Err(BadHead::Size(head.len()));
    }
    let mut number = 0;
    let mut lines = head.split_inclusive(|&byte| byte == b'\n').map(|line| {
        number += 1;
        let fault = |fault| BadHead::Line { line: number, fault };
        let line = line.strip_suffix(b"\r\n").ok_or_else(|| fault("it does not end in CR and LF"))?;
        match line.iter().find(|byte| matches!(byte, b'\r' | b'\0')) {
            Some(b'\r') => Err(fault("it has a carriage return inside")),
            Some(_) => Err(fault("it has a NUL inside")),
            None => Ok((number, line)),
        }
    });
    // RFC 9112, 2.2: one empty line or more, from clients that end a body with one too many.
    let (number, first) = loop {
        match lines.next() {
            Some(line) => match line? {
                (_, b"") => {}
                found => break found,
            },
            None => return Err(BadHead::Line { line: 1, fault: "there is no request line" }),
        }
    };
    let http10 = request_line(first).map_err(|fault| BadHead::Line { line: number, fault })?;
    let mut fields = Vec::new();
    for line in lines {
        match line? {
            (_, b"") => break,
            (number, line) => {
                fields.push(field(line).map_err(|fault| BadHead::Line { line: number, fault })?);
            }
        }
    }
    if fields.len() > FIELD_LIMIT {
        return Err(BadHead::Fields(fields.len()));
    }
    let of = |name: &'static str| {
        let fields = fields.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
        fields.map(|(_, value)| *value)
    };
    let hosts = of("host").count();
    if hosts > 1 {
        return Err(BadHead::SeveralHosts(hosts));
    }
    // Before the length: with both, it is their being there together that is wrong.
    let encoded = of("transfer-encoding").next().is_some();
    if encoded && of("content-length").next().is_some() {
        return Err(BadHead::LengthAndEncoding);
    }
    one_length(of("content-length"))?;
    match is_chunked(of("transfer-encoding"))? {
        true if http10 => Err(BadHead::Encoding),
        _ => Ok(()),
    }
}

/// `method SP request-target SP HTTP-version` (RFC 9112, 3); whether it is HTTP/1.0.
fn request_line(line: &[u8]) -> Result<bool, &'static str> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("it is not a method, a target and a version with one space between");
    };
    if method.is_empty() || !method.iter().all(|&byte| is_token(byte)) {
        return Err("the method is no token");
    }
    match target.iter().find(|byte| matches!(byte, 0..=b' ' | 0x7f | b'#')) {
        Some(b'#') => return Err("the target has a fragment"),
        Some(_) => return Err("the target has a control character"),
        None if target.is_empty() => return Err("the target is empty"),
        None => {}
    }
    match version {
        b"HTTP/1.1" => Ok(false),
        b"HTTP/1.0" => Ok(true),
        _ => Err("the version is neither HTTP/1.0 nor HTTP/1.1"),
    }
}

/// `field-name ":" OWS field-value OWS` (RFC 9112, 5).
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err("it continues the line before (obs-fold)");
    }
    let colon = line.iter().position(|&byte| byte == b':').ok_or("it has no colon")?;
    let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
    if matches!(name.last(), Some(b' ' | b'\t')) {
        return Err("there is white space before the colon");
    }
    if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
        return Err("the name is no token");
    }
    match value.iter().any(|byte| matches!(byte, 0..=8 | 10..=31 | 0x7f)) {
        true => Err("the value has a control character"),
        false => Ok((name, value)),
    }
}
