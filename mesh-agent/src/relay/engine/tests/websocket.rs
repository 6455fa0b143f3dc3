//! WebSocket over both versions.

use super::*;
use crate::relay::engine::decide::Refusal;
use http::Method;
use tokio::sync::Notify;

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: cart\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Echoes octets after a handshake over HTTP/1.1.
async fn echo_over_http1(mut stream: DuplexStream) {
    let head = read_head(&mut stream).await.unwrap().to_lowercase();
    for field in [
        "get /chat http/1.1",
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-version: 13",
        "sec-websocket-key: ",
    ] {
        assert!(head.contains(field), "{field}: {head}");
    }
    // What follows at once must not be lost.
    stream.write_all(format!("{SWITCHED}hello").as_bytes()).await.unwrap();
    let (mut reading, mut writing) = tokio::io::split(stream);
    let _ = tokio::io::copy(&mut reading, &mut writing).await;
    let _ = writing.shutdown().await;
}

fn extended_connect() -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = "http://cart/chat".parse().unwrap();
    request.headers_mut().insert("sec-websocket-version", http::HeaderValue::from_static("13"));
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    request
}

#[tokio::test]
async fn an_upgrade_becomes_a_stream() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::AsReceived, &[at(1)], |_| {});
        scene.serve(at(1), echo_over_http1);
        let mut client = scene.client();
        client.write_all(format!("{UPGRADE}early").as_bytes()).await.unwrap();
        let head = soon(read_head(&mut client)).await.unwrap();
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        assert!(head.to_lowercase().contains("connection: upgrade\r\n"), "{head}");
        assert_eq!(read_exactly(&mut client, 10).await, "helloearly");
        for _ in 0..3 {
            client.write_all(b"ping").await.unwrap();
            assert_eq!(read_exactly(&mut client, 4).await, "ping");
        }
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut client).await, "");
        let record = scene.record().await;
        assert_eq!((record.ending, record.status.unwrap().as_u16()), (Ending::Switched, 101));
        assert_eq!((record.received, record.sent), (17, 22));
        assert_eq!(scene.engine.pool.kept(), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn it_comes_over_http2_for_a_server_of_http1() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1)], |_| {});
        scene.serve(at(1), echo_over_http1);
        let mut requests = scene.http2().await;
        let (response, mut sending) = requests.send_request(extended_connect(), false).unwrap();
        let response = soon(response).await.unwrap();
        assert_eq!((response.status().as_u16(), response.headers().len()), (200, 0));
        let mut body = response.into_body();
        assert_eq!(soon(body.data()).await.unwrap().unwrap(), "hello");
        sending.send_data(Bytes::from_static(b"ping"), false).unwrap();
        assert_eq!(soon(body.data()).await.unwrap().unwrap(), "ping");
        sending.send_data(Bytes::new(), true).unwrap();
        assert_eq!(soon(collect(body)).await.unwrap().0, b"");
        assert_eq!(scene.ending().await, Ending::Switched);
    })
    .await;
}

#[tokio::test]
async fn it_goes_on_over_http2_where_the_server_takes_it() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http2, &[at(1)], |_| {});
        scene.serve(at(1), |stream| {
            http2_server(stream, |request, mut respond| async move {
                assert_eq!((request.method(), request.uri().path()), (&Method::CONNECT, "/chat"));
                assert_eq!(request.extensions().get::<h2::ext::Protocol>().unwrap().as_str(), "websocket");
                let mut stream = respond.send_response(ok(), false).unwrap();
                let mut body = request.into_body();
                while let Some(data) = body.data().await {
                    stream.send_data(data.unwrap(), false).unwrap();
                }
                stream.send_data(Bytes::new(), true).unwrap();
            })
        });
        let mut requests = scene.http2().await;
        let (response, mut sending) = requests.send_request(extended_connect(), false).unwrap();
        let mut body = soon(response).await.unwrap().into_body();
        for _ in 0..3 {
            sending.send_data(Bytes::from_static(b"ping"), false).unwrap();
            assert_eq!(soon(body.data()).await.unwrap().unwrap(), "ping");
        }
        sending.send_data(Bytes::new(), true).unwrap();
        assert_eq!(soon(collect(body)).await.unwrap().0, b"");
        assert_eq!(scene.ending().await, Ending::Switched);
    })
    .await;
}

#[tokio::test]
async fn a_server_may_decline() {
    play(async {
        let scene = Scene::new();
        scene.answers(Protocol::Http1, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        let mut client = scene.client();
        client.write_all(UPGRADE.as_bytes()).await.unwrap();
        let head = soon(read_head(&mut client)).await.unwrap();
        assert_eq!(head, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n");
        assert_eq!(read_exactly(&mut client, 2).await, "no");
        assert_eq!(scene.ending().await, Ending::Forwarded);
        // The connection is one of HTTP still.
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(read_all(&mut client).await.ends_with("no"));
    })
    .await;
}

#[tokio::test]
async fn what_is_no_handshake_is_answered() {
    play(async {
        let scene = Scene::new();
        scene.answers(Protocol::Http1, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let answer = scene.exchange(UPGRADE.replace("Version: 13", "Version: 8")).await;
        assert!(
            answer.starts_with("HTTP/1.1 426 ") && answer.contains("sec-websocket-version: 13"),
            "{answer}"
        );
        let answer = scene.exchange(UPGRADE.replace("GET", "POST")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert_eq!(scene.world.dials.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_reset_or_a_change_of_policy_ends_it() {
    play(async {
        let scene = Scene::new();
        let changed = Rc::new(Notify::new());
        let when = Rc::clone(&changed);
        scene.forward(Protocol::Http1, &[at(1)], move |forward| {
            let when = Rc::clone(&when);
            let revoked = async move {
                when.notified().await;
                Refusal::new(http::StatusCode::FORBIDDEN, Ending::Revoked, "the policy has changed")
            };
            forward.revoked = Some(revoked.boxed_local());
        });
        scene.serve(at(1), echo_over_http1);
        let mut requests = scene.http2().await;
        let (response, _sending) = requests.send_request(extended_connect(), false).unwrap();
        let mut body = soon(response).await.unwrap().into_body();
        assert_eq!(soon(body.data()).await.unwrap().unwrap(), "hello");
        changed.notify_waiters();
        assert!(soon(body.data()).await.unwrap().is_err());
        assert_eq!(scene.ending().await, Ending::Revoked);

        let (response, mut sending) = requests.send_request(extended_connect(), false).unwrap();
        soon(response).await.unwrap();
        sending.send_reset(h2::Reason::CANCEL);
        assert_eq!(scene.ending().await, Ending::ClientGone);
    })
    .await;
}
