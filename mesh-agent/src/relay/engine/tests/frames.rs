//! Clients that break the rules of HTTP/2, or wear them out.

use super::*;
use http::{HeaderValue, Method};

#[tokio::test]
async fn heads_that_are_too_large_or_malformed_are_answered() {
    play(async {
        let scene = Scene::new();
        scene.answers(Protocol::Http1, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let mut requests = scene.http2().await;
        let large = HeaderValue::from_bytes(&vec![b'a'; 70 << 10]).unwrap();
        let mut request = get("/");
        request.headers_mut().insert("x", large);
        assert_eq!(soon(requests.send_request(request, true).unwrap().0).await.unwrap().status(), 431);
        for (uri, name, value, status) in [
            ("http://cart/", "host", "other", 400),
            ("http://cart/a%00", "x", "y", 400),
            ("http://user@cart/", "x", "y", 400),
            ("http://cart/", "expect", "more", 417),
        ] {
            let mut request = Request::get(uri).body(()).unwrap();
            request.headers_mut().insert(name, HeaderValue::from_static(value));
            let response = soon(requests.send_request(request, true).unwrap().0).await.unwrap();
            assert_eq!(response.status(), status, "{uri} {name}");
        }
        let mut request = get("/");
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(h2::ext::Protocol::from_static("other"));
        assert_eq!(soon(requests.send_request(request, true).unwrap().0).await.unwrap().status(), 501);
        assert_eq!(scene.world.dials.get(), 0);
    })
    .await;
}

/// Frames that h2's client would not send.
#[tokio::test]
async fn floods_and_broken_frames_end_the_connection() {
    play(async {
        let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
            let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
            [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
        };
        let continuations = [frame(1, 0, 1, &[0x82]), frame(9, 0, 1, &[]).repeat(1000)].concat();
        let settings = frame(4, 0, 0, &[0, 3, 0, 0, 0, 9]).repeat(100_000);
        for (name, frames) in [
            ("CONTINUATION without end", continuations),
            ("DATA on stream 0", frame(0, 0, 0, b"x")),
            ("HEADERS on an even stream", frame(1, 5, 2, &[0x82, 0x84, 0x86])),
            ("HEADERS inside CONTINUATION", [frame(1, 0, 1, &[0x82]), frame(1, 5, 3, &[0x82])].concat()),
            ("a broken HPACK index", frame(1, 5, 1, &[0xff, 0xff, 0xff, 0xff, 0x0f])),
            ("WINDOW_UPDATE of 0", frame(8, 0, 0, &[0, 0, 0, 0])),
            ("a frame that is too long", frame(6, 0, 0, &[0; 9])),
            ("SETTINGS without end", settings),
        ] {
            let scene = Scene::new();
            scene.answers(Protocol::Http1, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            let (mut reading, mut writing) = tokio::io::split(scene.client());
            let ended = Rc::new(Cell::new(false));
            let note = Rc::clone(&ended);
            spawn_local(async move {
                // A peer that floods does not read: what it is sent waits, and that is bounded, too.
                let start = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
                let _ = writing.write_all(&start).await;
                let _ = writing.write_all(&frames).await;
                note.set(true);
                std::future::pending::<()>().await;
            });
            let mut answer = Vec::new();
            if name == "SETTINGS without end" {
                // Each is answered: whoever does not read the answers is not read either.
                tokio::time::sleep(Duration::from_millis(200)).await;
                assert!(!ended.get(), "{name}");
                continue;
            }
            soon(reading.read_to_end(&mut answer)).await.unwrap();
            let goaway = answer.windows(5).any(|window| window[..3] != [0, 0, 0] && window[3] == 7);
            assert!(goaway, "{name}: {answer:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_never_sends_settings_is_let_go() {
    play(async {
        let limits = Limits { head_within: Duration::from_millis(50), ..Limits::default() };
        let scene = Scene::with(limits);
        let mut client = scene.client();
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n").await.unwrap();
        read_all(&mut client).await;
    })
    .await;
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1)], |_| {});
        scene.serve(at(1), |mut stream| async move {
            let _ = read_all(&mut stream).await;
        });
        let mut requests = scene.http2().await;
        let lost = async {
            loop {
                let (mut streams, dialled) = (Vec::new(), scene.world.dials.get());
                for _ in 0..100 {
                    let Ok(ready) = requests.clone().ready().await else { return };
                    requests = ready;
                    let Ok((_, stream)) = requests.send_request(get("/"), true) else { return };
                    streams.push(stream);
                }
                // Before they are accepted it is h2 that bears with resets; these are sent on.
                while scene.world.dials.get() < dialled + 100 {
                    if requests.clone().ready().await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                streams.iter_mut().for_each(|stream| stream.send_reset(h2::Reason::CANCEL));
            }
        };
        soon(lost).await;
        let told = |record: &Record| record.detail.contains("resets requests");
        soon(async {
            while !scene.world.records.borrow().iter().any(told) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    })
    .await;
}

/// Requests that are malformed (RFC 9113, 8.1.1): each a stream error, and no server sees them.
#[tokio::test]
async fn malformed_requests_are_reset_or_answered() {
    play(async {
        const LITERAL: u8 = 0;
        let frame = |kind: u8, flags: u8, payload: &[u8]| {
            let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
            [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
        };
        let block = |fields: &[(&str, &str)]| {
            let field = |(name, value): &(&str, &str)| {
                let octets = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
                [vec![LITERAL], octets(name), octets(value)].concat()
            };
            fields.iter().flat_map(field).collect::<Vec<u8>>()
        };
        let start = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
        let with = |more: &[(&str, &str)]| frame(1, 5, &block(&[&start[..], more].concat()));
        for (name, frames) in [
            ("no :path", frame(1, 5, &block(&[start[0], start[1], start[3]]))),
            ("an empty :path", frame(1, 5, &block(&[start[0], start[1], (":path", ""), start[3]]))),
            ("no :method", frame(1, 5, &block(&start[1..]))),
            ("two :path", with(&[(":path", "/b")])),
            ("an unknown pseudo-header", with(&[(":x", "y")])),
            (
                "a pseudo-header after a field",
                frame(1, 5, &block(&[start[0], start[1], start[3], ("x", "y"), start[2]])),
            ),
            ("a response's pseudo-header", with(&[(":status", "200")])),
            ("a name in capitals", with(&[("X-A", "b")])),
            ("connection", with(&[("connection", "close")])),
            ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
            ("te", with(&[("te", "gzip")])),
            ("a CR in a value", with(&[("x", "a\rb")])),
            ("two hosts", with(&[("host", "a"), ("host", "a")])),
            ("no authority", frame(1, 5, &block(&start[..3]))),
            (
                "a longer body than said",
                [
                    frame(1, 4, &block(&[&start[..], &[("content-length", "2")]].concat())),
                    frame(0, 1, b"abc"),
                ]
                .concat(),
            ),
            (
                "a shorter body than said",
                [
                    frame(1, 4, &block(&[&start[..], &[("content-length", "9")]].concat())),
                    frame(0, 1, b"abc"),
                ]
                .concat(),
            ),
            (
                "two lengths",
                [
                    frame(
                        1,
                        4,
                        &block(&[&start[..], &[("content-length", "3"), ("content-length", "4")]].concat()),
                    ),
                    frame(0, 1, b"abc"),
                ]
                .concat(),
            ),
        ] {
            let scene = Scene::new();
            scene.forward(Protocol::Http1, &[at(1)], |_| {});
            let whole = Rc::new(Cell::new(false));
            let note = Rc::clone(&whole);
            scene.serve(at(1), move |mut stream| {
                let note = Rc::clone(&note);
                async move {
                    let Some(head) = read_head(&mut stream).await else { return };
                    let said =
                        head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
                    let length = said.map_or(0, |said| said.parse().unwrap());
                    note.set(stream.read_exact(&mut vec![0; length]).await.is_ok());
                }
            });
            let mut client = scene.client();
            let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
            client.write_all(&[preface, frames].concat()).await.unwrap();
            // RST_STREAM, GOAWAY, or HEADERS whose first field is `:status` 400, which HPACK has as index 12.
            let refused = async {
                loop {
                    let mut head = [0; 9];
                    if client.read_exact(&mut head).await.is_err() {
                        return "closed";
                    }
                    let mut payload = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
                    client.read_exact(&mut payload).await.unwrap();
                    match head[3] {
                        3 => return "reset",
                        7 => return "goaway",
                        1 if payload[0] == 0x8c => return "400",
                        1 => return "another answer",
                        _ => {}
                    }
                }
            };
            let how = soon(refused).await;
            assert!(matches!(how, "reset" | "400" | "goaway"), "{name}: {how}");
            assert!(!whole.get(), "{name}");
        }
    })
    .await;
}
