//! Where a request ends (RFC 9112, 6).

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Version};

use super::BadHead;

/// `content-length`: at most one line, and that a number. RFC 9110, 8.6 would let equal ones pass; no
/// client sends them.
///
/// # Errors
/// When it is anything else.
pub fn length(headers: &HeaderMap) -> Result<Option<u64>, BadHead> {
    one_length(headers.get_all(CONTENT_LENGTH).iter().map(HeaderValue::as_bytes))
}

pub(super) fn one_length<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<Option<u64>, BadHead> {
    let Some(value) = values.next() else { return Ok(None) };
    // `parse` takes a sign.
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    match number {
        Some(number) if digits && values.next().is_none() => Ok(Some(number)),
        _ => Err(BadHead::Length),
    }
}

/// `transfer-encoding` of HTTP/1: `chunked` alone, without `content-length` beside it, not in
/// HTTP/1.0.
///
/// # Errors
/// When it is anything else. RFC 9112, 6.1 lets a server go on with a `content-length` beside it; that
/// is how requests are smuggled.
pub fn encoding(version: Version, headers: &HeaderMap) -> Result<(), BadHead> {
    let values = headers.get_all(TRANSFER_ENCODING);
    let chunked = is_chunked(values.iter().map(HeaderValue::as_bytes))?;
    match chunked {
        true if version == Version::HTTP_10 => Err(BadHead::Encoding),
        true if headers.contains_key(CONTENT_LENGTH) => Err(BadHead::LengthAndEncoding),
        _ => Ok(()),
    }
}

/// Whether there is a `transfer-encoding`, which then is `chunked`.
pub(super) fn is_chunked<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<bool, BadHead> {
    let codings: Vec<Vec<u8>> = values
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(|coding| trim(coding).to_ascii_lowercase())
        .collect();
    match codings.as_slice() {
        [] => Ok(false),
        [one] if one == b"chunked" => Ok(true),
        // `chunked` twice, or before the end, says nothing about the end (RFC 9112, 6.1).
        [before @ .., last]
            if last == b"chunked"
                && !before.iter().any(|coding| coding == b"chunked" || coding.is_empty()) =>
        {
            Err(BadHead::UnknownEncoding)
        }
        _ => Err(BadHead::Encoding),
    }
}

/// Without optional white space (RFC 9110, 5.6.3): space and tab only. What else parsers may trim
/// (`\x0b`, `\x0c`) is not there for them to disagree on.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
