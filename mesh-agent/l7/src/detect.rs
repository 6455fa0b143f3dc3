//! What a connection's first bytes are, where nothing says what is spoken at its port.
//!
//! The engine asks with all bytes that have come so far, until the answer is final or [`PATIENCE`] is
//! over: a server that speaks first must not wait for a client that does not. Silence, and anything
//! that is no HTTP, is passed on as it is where policy lets it ([`Connection::not_http`]).
//!
//! [`Connection::not_http`]: crate::access::Connection::not_http

use std::time::Duration;

/// How long to wait for bytes that tell, from the connection's start.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// How many bytes are looked at. A request line of an unknown method that is longer is taken for no
/// HTTP; those of the methods in [`METHODS`] are told by their start.
pub const WINDOW: usize = 1024;

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Detected {
    /// HTTP/1.0 or HTTP/1.1 (RFC 9112).
    Http1,
    /// HTTP/2 with prior knowledge (RFC 9113, 3.3).
    Http2,
    /// TLS (RFC 8446, 5.1), whatever is inside.
    Tls,
    /// None of them.
    NotHttp,
    /// It cannot be told yet.
    NeedMore,
}

/// The connection preface of HTTP/2 (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The registered methods that are common (RFC 9110, 9.3; RFC 5789).
pub const METHODS: [&[u8]; 9] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];

/// The longest method of any request.
const METHOD_LIMIT: usize = 32;

/// Tells what `bytes`, the first of a connection, are. A final answer stays the same whatever follows.
#[must_use]
pub fn detect(bytes: &[u8]) -> Detected {
    let whole = bytes.len() >= WINDOW;
    let bytes = &bytes[..bytes.len().min(WINDOW)];
    let found = match bytes.first() {
        None => Detected::NeedMore,
        Some(0x16) => tls(bytes),
        Some(b'P') if PREFACE.starts_with(&bytes[..bytes.len().min(PREFACE.len())]) => {
            if bytes.len() >= PREFACE.len() { Detected::Http2 } else { Detected::NeedMore }
        }
        Some(_) => http1(bytes),
    };
    if whole && found == Detected::NeedMore { Detected::NotHttp } else { found }
}

/// A handshake record with a ClientHello: type 22, version 3.x, a length, message type 1.
fn tls(bytes: &[u8]) -> Detected {
    let as_tls = |at: usize, byte: u8| match at {
        1 => byte == 3,
        2 => byte <= 4,
        5 => byte == 1,
        _ => true,
    };
    match bytes.iter().take(6).enumerate().all(|(at, &byte)| as_tls(at, byte)) {
        false => Detected::NotHttp,
        true if bytes.len() < 6 => Detected::NeedMore,
        true => Detected::Tls,
    }
}

/// `method SP target SP HTTP/1.x`, after empty lines (RFC 9112, 2.2 and 3).
fn http1(bytes: &[u8]) -> Detected {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let bytes = &bytes[start..];
    let method = bytes.iter().take_while(|byte| is_token(**byte)).count();
    if method > METHOD_LIMIT {
        return Detected::NotHttp;
    }
    let Some((&space, target)) = bytes[method..].split_first() else { return Detected::NeedMore };
    if space != b' ' || method == 0 {
        return Detected::NotHttp;
    }
    let known = METHODS.contains(&&bytes[..method]);
    match target.first() {
        None => return Detected::NeedMore,
        // Other protocols have commands of the same names, but no arguments that start so.
        Some(b'/') if known => return Detected::Http1,
        Some(b' ' | b'\r' | b'\n') => return Detected::NotHttp,
        Some(_) => {}
    }
    let line = target.iter().position(|byte| matches!(byte, b'\n' | b'\0'));
    match line {
        Some(end) if target[end] == b'\n' && is_request_line(&target[..end]) => Detected::Http1,
        Some(_) => Detected::NotHttp,
        None => Detected::NeedMore,
    }
}

/// Whether what follows the method, up to the line's end, is a target and HTTP/1's version.
fn is_request_line(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let version = [b" HTTP/1.0", b" HTTP/1.1"];
    version.iter().any(|version| line.len() > version.len() && line.ends_with(*version))
}

/// `tchar` of RFC 9110, 5.6.2.
pub(crate) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::{Detected, METHODS, PREFACE, WINDOW, detect};
    use proptest::prelude::*;

    #[test]
    fn first_bytes_tell() {
        use Detected::{Http1, Http2, NeedMore, NotHttp, Tls};
        for (bytes, expected) in [
            (&b""[..], NeedMore),
            (b"G", NeedMore),
            (b"GET", NeedMore),
            (b"GET ", NeedMore),
            (b"GET /", Http1),
            (b"\r\nGET /", Http1),
            (b"\r\n", NeedMore),
            (b"OPTIONS * HTTP/1.1\r\n", Http1),
            (b"OPTIONS * HT", NeedMore),
            (b"GET http://a/ HTTP/1.1\r\n", Http1),
            (b"CONNECT a:80 HTTP/1.1\r\n", Http1),
            (b"PURGE /x HTTP/1.1\r\n", Http1),
            (b"PURGE /x HTTP/1.0\n", Http1),
            (b"purge /x", NeedMore),
            (b"GET / HTTP/3.0\r\n", Http1),
            (b"PURGE / HTTP/3.0\r\n", NotHttp),
            (b"PRI", NeedMore),
            (b"PRI * HTTP/2.0\r\n\r\n", NeedMore),
            (PREFACE, Http2),
            (b"PRI * HTTP/1.1\r\n", Http1),
            (b"PRI * HTTP/2.0\r\n\r\nXX", NotHttp),
            (b"PUT /", Http1),
            (b"\x16", NeedMore),
            (b"\x16\x03\x01\x02\x00", NeedMore),
            (b"\x16\x03\x01\x02\x00\x01", Tls),
            (b"\x16\x03\x03\x00\x7a\x02", NotHttp),
            (b"\x16\x02", NotHttp),
            // Redis, in both forms; memcached; SMTP; SSH; PostgreSQL; MQTT; MongoDB.
            (b"PING\r\n", NotHttp),
            (b"*1\r\n$4\r\nPING\r\n", NotHttp),
            (b"GET key\r\n", NotHttp),
            (b"get key\r\n", NotHttp),
            (b"EHLO mail.example\r\n", NotHttp),
            (b"SSH-2.0-OpenSSH_9.2\r\n", NotHttp),
            (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", NotHttp),
            (b"\x10\x0c\x00\x04MQTT", NotHttp),
            (b"\x3a\x00\x00\x00", NotHttp),
            (b"GET\t/", NotHttp),
            (b" GET /", NotHttp),
            (b"GET  / HTTP/1.1\r\n", NotHttp),
        ] {
            assert_eq!(detect(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(detect(&[b'A'; 33]), NotHttp);
        assert_eq!(detect(&[b'\r'; WINDOW]), NotHttp);
        assert_eq!(detect(&[&b"PURGE /"[..], &[b'a'; WINDOW]].concat()), NotHttp);
        assert_eq!(detect(&[&b"GET /"[..], &[b'a'; WINDOW]].concat()), Http1);
    }

    fn starts() -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop::sample::select(vec![
            &b"GET"[..],
            b"PRI",
            b" ",
            b"/",
            b"*",
            b"\r\n",
            b"\n",
            b" HTTP/1.1",
            b" HTTP/2.0",
            b"a",
            b"\0",
            b"\x16\x03",
            b"\x01",
            &PREFACE[..18],
            &PREFACE[18..],
            b"PURGE",
        ]);
        let pieces = prop::collection::vec(pieces, 0..8).prop_map(|pieces| pieces.concat());
        prop_oneof![2 => pieces, 1 => prop::collection::vec(any::<u8>(), 0..40)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn an_answer_is_final(bytes in starts(), more in starts()) {
            let first = detect(&bytes);
            if first != Detected::NeedMore {
                prop_assert_eq!(detect(&[bytes, more].concat()), first);
            }
        }

        #[test]
        fn every_request_is_found(
            lines in 0..3usize,
            method in prop_oneof![
                prop::sample::select(METHODS.to_vec()).prop_map(<[u8]>::to_vec),
                "[A-Za-z!#$%&'*+.^_`|~-]{1,32}".prop_map(String::into_bytes),
            ],
            target in "/[!-~]{0,100}",
            version in prop::sample::select(vec!["1.0", "1.1"]),
        ) {
            let line = format!(" {target} HTTP/{version}\r\n");
            let bytes = [b"\r\n".repeat(lines), method, line.into_bytes()].concat();
            prop_assert_eq!(detect(&bytes), Detected::Http1);
        }

        #[test]
        fn any_bytes_do(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            crate::fuzzing::detector(&bytes);
        }
    }
}
