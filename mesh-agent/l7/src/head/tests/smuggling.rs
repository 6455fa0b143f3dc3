//! The bytes of heads that two servers may read differently, from the literature on request smuggling
//! (C. Linhart et al., "HTTP Request Smuggling", 2005; J. Kettle, "HTTP Desync Attacks", 2019) and the
//! grammar of RFC 9112.

use crate::head::BadHead;
use crate::head::raw::{check, end};
use proptest::prelude::*;

fn post(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: vault\r\n{fields}\r\n")
}

#[test]
fn whole_heads_pass() {
    for head in [
        "GET / HTTP/1.1\r\nHost: vault\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: vault\r\n\r\n",
        "GET /?a=b%20c HTTP/1.1\r\nHost:vault\r\nX-Empty:\r\nX-Tab:\ta\tb\t\r\nX-Text: \u{e9}\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: vault\r\n\r\n",
        "GET http://vault/ HTTP/1.1\r\nHost: vault\r\n\r\n",
        &post("Content-Length: 5\r\n"),
        &post("Transfer-Encoding: chunked\r\n"),
        &post("tRANSFER-eNCODING:\tChunked \r\n"),
    ] {
        assert_eq!(check(head.as_bytes()), Ok(()), "{head:?}");
        assert_eq!(end(head.as_bytes()), Some(head.len()), "{head:?}");
    }
}

#[test]
fn lengths_and_encodings_do_not_conflict() {
    for (fields, expected) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", BadHead::LengthAndEncoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", BadHead::LengthAndEncoding),
        ("Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n", BadHead::LengthAndEncoding),
        ("Transfer-Encoding:\r\nContent-Length: 5\r\n", BadHead::LengthAndEncoding),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", BadHead::Length),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", BadHead::Length),
        ("Content-Length: 5, 5\r\n", BadHead::Length),
        ("Content-Length: +5\r\n", BadHead::Length),
        ("Content-Length: 5 6\r\n", BadHead::Length),
        ("Content-Length: 0x5\r\n", BadHead::Length),
        ("Content-Length: 5;\r\n", BadHead::Length),
        ("Content-Length:\r\n", BadHead::Length),
        ("Content-Length: 99999999999999999999\r\n", BadHead::Length),
        ("Transfer-Encoding: identity\r\n", BadHead::Encoding),
        ("Transfer-Encoding: chunked, identity\r\n", BadHead::Encoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", BadHead::Encoding),
        ("Transfer-Encoding: chunked, chunked\r\n", BadHead::Encoding),
        ("Transfer-Encoding: \"chunked\"\r\n", BadHead::Encoding),
        ("Transfer-Encoding: chunk\r\n", BadHead::Encoding),
        ("Transfer-Encoding: gzip, chunked\r\n", BadHead::UnknownEncoding),
        ("Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n", BadHead::UnknownEncoding),
        ("Host: other\r\n", BadHead::SeveralHosts(2)),
    ] {
        assert_eq!(check(post(fields).as_bytes()), Err(expected), "{fields:?}");
    }
    let http10 = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(check(http10.as_bytes()), Err(BadHead::Encoding));
}

#[test]
fn fields_are_written_one_way() {
    for field in [
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "\tTransfer-Encoding: chunked\r\n",
        "X: a\r\n Transfer-Encoding: chunked\r\n",
        "X: a\r\n\tb\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding: chunked\n",
        "X: a\nTransfer-Encoding: chunked\r\n",
        "X: a\rTransfer-Encoding: chunked\r\n",
        "X: a\r\r\n",
        "X: a\0b\r\n",
        "X\0: a\r\n",
        "X: \u{1}a\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n",
        "Transfer-Encoding: chunked\u{c}\r\n",
        "X: a\u{7f}\r\n",
        "Transfer-Encoding chunked\r\n",
        ": chunked\r\n",
        "Trans fer: chunked\r\n",
        "Transfer-Encod\u{ef}ng: chunked\r\n",
        "(X): a\r\n",
    ] {
        let error = check(post(field).as_bytes()).unwrap_err();
        assert!(matches!(error, BadHead::Line { line: 3.., .. }), "{field:?}: {error}");
        assert_eq!(error.status(), 400);
    }
}

#[test]
fn request_lines_are_written_one_way() {
    for line in [
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/\tHTTP/1.1",
        "GET / x HTTP/1.1",
        "GET / HTTP/1.1 HTTP/1.1",
        "GET /",
        "GET",
        "G(T / HTTP/1.1",
        " / HTTP/1.1",
        "GET  HTTP/1.1",
        "GET /#a HTTP/1.1",
        "GET /\u{7f} HTTP/1.1",
        "GET /\t HTTP/1.1",
        "GET / HTTP/0.9",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / HTTP/11",
        "GET / http/1.1",
        "GET / HTTP/1.10",
        "GET / HTTP/1.1\rX",
    ] {
        let head = format!("{line}\r\nHost: vault\r\n\r\n");
        let error = check(head.as_bytes()).unwrap_err();
        assert!(matches!(error, BadHead::Line { line: 1, .. }), "{line:?}: {error}");
    }
    for head in ["", "\r\n", "GET / HTTP/1.1\nHost: vault\n\n", "GET / HTTP/1.1"] {
        assert!(check(head.as_bytes()).is_err(), "{head:?}");
    }
}

#[test]
fn heads_have_bounds() {
    let many = "X: y\r\n".repeat(crate::head::FIELD_LIMIT + 1);
    assert_eq!(check(post(&many).as_bytes()).unwrap_err().status(), 431);
    let large = format!("X: {}\r\n", "y".repeat(crate::head::SIZE_LIMIT));
    assert_eq!(check(post(&large).as_bytes()).unwrap_err().status(), 431);
}

#[test]
fn a_head_ends_at_its_empty_line() {
    for (bytes, expected) in [
        ("", None),
        ("\r\n", None),
        ("GET / HTTP/1.1\r\n", None),
        ("GET / HTTP/1.1\r\n\r", None),
        ("GET / HTTP/1.1\r\n\r\nbody", Some(18)),
        ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", Some(22)),
        // So that a head that ends in lone line feeds is found, and then refused.
        ("GET / HTTP/1.1\n\nbody", Some(16)),
    ] {
        assert_eq!(end(bytes.as_bytes()), expected, "{bytes:?}");
    }
}

proptest! {
    /// What passes has one reading: cut into lines and at colons in the simplest way it gives the same
    /// framing.
    #[test]
    fn what_passes_has_one_reading(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "\r\n", "\r\n", "\n", "\r", " ", "\t", ":", "Content-Length", "Transfer-Encoding", "Host",
            "chunked", "5", ",", "X", "\0", "\u{b}", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n",
        ]), 0..12),
    ) {
        let head = post(&pieces.concat());
        let head = &head[..end(head.as_bytes()).unwrap_or(head.len())];
        if check(head.as_bytes()).is_ok() {
            let names: Vec<String> = head
                .split("\r\n")
                .skip(1)
                .filter_map(|line| line.split_once(':'))
                .map(|(name, _)| name.to_ascii_lowercase())
                .collect();
            let framing = names.iter().filter(|name| ["content-length", "transfer-encoding"].contains(&name.as_str()));
            prop_assert!(framing.count() <= 1, "{:?}", head);
            prop_assert!(!head.replace("\r\n", "").contains(['\r', '\n', '\0']));
        }
    }

    #[test]
    fn any_bytes_do(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        crate::fuzzing::heads(&bytes);
    }
}
