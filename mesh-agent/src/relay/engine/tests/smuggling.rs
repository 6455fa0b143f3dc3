//! What has two readings is refused, on the wire and once: nothing that follows it is a request.

use super::*;
use crate::relay::engine::http1::head::{self, Kind, Search};
use crate::relay::engine::message;
use mesh_l7::head::raw;
use proptest::prelude::*;

/// What follows each: the request that is to be smuggled.
const AFTER: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn ambiguous_requests_are_refused_and_end_the_connection() {
    play(async {
        let scene = Scene::new();
        scene.answers(Protocol::Http1, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        for (request, status) in [
            // RFC 9112, 6: where a message ends.
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3a\r\n\r\nabc", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 501),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
            ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
            // RFC 9112, 2.2: where a line ends.
            ("POST / HTTP/1.1\nHost: a\nContent-Length: 3\n\nabc", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nX: a\nContent-Length: 3\r\n\r\nabc", 400),
            ("POST / HTTP/1.1\r\nHost: a\r\nX: a\rContent-Length: 3\r\n\r\nabc", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
            // Whom it is for.
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n", 400),
            ("GET //../admin\\x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /%2e%2e%2f..%5cadmin HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /a%0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("CONNECT b:80 HTTP/1.1\r\nHost: b:80\r\n\r\n", 501),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n", 400),
            ("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.9\r\nHost: a\r\n\r\n", 505),
        ] {
            let answer = scene.exchange(format!("{request}{AFTER}")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
            assert_eq!(answer.matches("x-mesh-reason").count(), 1, "{request:?}: {answer}");
            assert!(answer.contains("connection: close\r\n") && answer.contains("x-mesh-reason: InvalidRequest"));
            let record = scene.record().await;
            assert_eq!((record.status.unwrap().as_u16(), record.ending), (status, Ending::BadRequest));
            assert!(!record.detail.is_empty());
        }
        assert_eq!(scene.world.dials.get(), 0, "no server saw any of it");
    })
    .await;
}

#[tokio::test]
async fn a_bad_chunk_is_refused_and_its_request_not_ended() {
    play(async {
        for chunks in
            ["5\nhello\r\n0\r\n\r\n", "5 \r\nhello\r\n", "-5\r\n", "5\r\nhelloXX0\r\n\r\n", "g\r\n", "\r\n"]
        {
            let scene = Scene::new();
            let whole = Rc::new(Cell::new(false));
            scene.forward(Protocol::Http1, &[at(1)], |_| {});
            let noted = Rc::clone(&whole);
            scene.serve(at(1), move |mut stream| {
                let noted = Rc::clone(&noted);
                async move {
                    noted.set(read_all(&mut stream).await.ends_with("0\r\n\r\n"));
                }
            });
            let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            let answer = scene.exchange(format!("{head}{chunks}{AFTER}")).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{chunks:?}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{chunks:?}: {answer}");
            assert_eq!(scene.ending().await, Ending::BadRequest);
            assert!(!whole.get(), "{chunks:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_ambiguous_answer_is_a_bad_gateway() {
    play(async {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabcd",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabcd",
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            "220 smtp.example ESMTP\r\n",
            "\x15\x03\x01\x00\x02\x02\x46",
        ] {
            let scene = Scene::new();
            scene.answers(Protocol::Http1, answer);
            let got = scene.exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            assert!(got.starts_with("HTTP/1.1 502 "), "{answer:?}: {got}");
            assert_eq!(scene.ending().await, Ending::UpstreamProtocol, "{answer:?}");
            assert_eq!(scene.engine.pool.kept(), (0, 0), "{answer:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_server_sends_unasked_is_nobodys_answer() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1)], |_| {});
        scene.serve(at(1), |mut stream| async move {
            read_head(&mut stream).await.unwrap();
            let two =
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb";
            stream.write_all(two.as_bytes()).await.unwrap();
            std::future::pending().await
        });
        for _ in 0..3 {
            let answer = scene.exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            assert!(answer.ends_with("\r\n\r\na"), "{answer}");
        }
        assert_eq!(scene.world.dials.get(), 3);
    })
    .await;
}

/// Heads near the border of what is one.
fn heads() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        "GET / HTTP/1.1",
        "POST /a?b HTTP/1.1",
        "GET / HTTP/1.0",
        "GET http://a/ HTTP/1.1",
        "GET /#a HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "OPTIONS * HTTP/1.1",
        "get /\x7f HTTP/1.1",
        "G\"T / HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
    ]);
    let field = prop::sample::select(vec![
        "Host: a",
        "host:b",
        "Content-Length: 3",
        "content-length:3 ",
        "Content-Length: 3,3",
        "Content-Length: +3",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked, chunked",
        "transfer-encoding : chunked",
        "Transfer-Encoding:\x0bchunked",
        " X: folded",
        "X: a\0b",
        "X: \x7f",
        "X: \u{e9}",
        "X",
        ": x",
        "X(: x",
        "Connection: close, x",
        "Connection: host",
        "Upgrade: h2c",
    ]);
    let end = prop::sample::select(vec!["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n"]);
    (line, prop::collection::vec((field, end.clone()), 0..6), end).prop_map(|(line, fields, end)| {
        let fields: String = fields.iter().map(|(field, end)| format!("{field}{end}")).collect();
        format!("{line}{end}{fields}\r\n").into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// What gets through httparse and the checks around it, a reader by hand of the RFC's grammar takes,
    /// too; and whoever splits at the first empty line ends where this does.
    #[test]
    fn only_what_the_grammar_has_gets_through(bytes in heads()) {
        let Ok(Some(length)) = Search::default().end(&bytes, Kind::Request, 4096) else { return Ok(()) };
        let whole = Bytes::copy_from_slice(&bytes[..length]);
        let Ok(request) = head::request(&whole) else { return Ok(()) };
        if message::arrive(request).is_ok() {
            prop_assert_eq!(raw::check(&whole), Ok(()));
            prop_assert_eq!(raw::end(&bytes), Some(length));
        }
    }
}
