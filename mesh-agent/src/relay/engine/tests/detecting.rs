//! What a connection of unknown protocol is taken for, and when.

use super::*;
use crate::relay::engine::detect::Opaque;
use tokio::time::Instant;

async fn served(scene: &Scene, speaks: Speaks, says: &'static [u8]) -> (Served, DuplexStream, Duration) {
    let (mut near, far) = duplex(PIPE);
    let connection = scene.connection(speaks);
    let start = Instant::now();
    near.write_all(says).await.unwrap();
    let served = soon(scene.engine.serve(Box::new(far), connection)).await;
    (served, near, start.elapsed())
}

#[tokio::test]
async fn what_is_no_http_is_given_back_whole() {
    play(async {
        let scene = Scene::new();
        for (says, expected) in [
            (&b"*1\r\n$4\r\nPING\r\n"[..], Opaque::Other),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Opaque::Other),
            (b"\x16\x03\x01\x02\x00\x01", Opaque::Tls),
            (b"", Opaque::Silent),
            (b"GE", Opaque::Silent),
        ] {
            let (served, mut near, took) = served(&scene, Speaks::Unknown, says).await;
            let Served::Opaque { mut stream, first, what } = served else { panic!("{says:?}") };
            assert_eq!((what, &first[..]), (expected, says));
            assert!(took < Duration::from_millis(if what == Opaque::Silent { 1000 } else { 90 }), "{took:?}");
            // A server that speaks first is heard.
            stream.write_all(b"220 hello").await.unwrap();
            assert_eq!(read_exactly(&mut near, 9).await, "220 hello");
        }
        assert!(scene.world.records.borrow().is_empty());
    })
    .await;
}

#[tokio::test]
async fn http_is_found_octet_by_octet() {
    play(async {
        let scene = Scene::new();
        scene.answers(Protocol::Http1, "HTTP/1.1 204 No Content\r\n\r\n");
        let (mut near, far) = duplex(PIPE);
        let (engine, connection) = (Rc::clone(&scene.engine), scene.connection(Speaks::Unknown));
        let serving =
            spawn_local(async move { matches!(engine.serve(Box::new(far), connection).await, Served::Http) });
        for octet in b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" {
            near.write_all(&[*octet]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert!(read_all(&mut near).await.starts_with("HTTP/1.1 204"));
        assert!(serving.await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn where_http_was_promised_anything_else_is_a_bad_request() {
    play(async {
        let scene = Scene::new();
        for says in [&b"*1\r\n$4\r\nPING\r\n"[..], b"\x16\x03\x01\x02\x00\x01"] {
            let answer = scene.exchange(says).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
            assert_eq!(scene.ending().await, Ending::BadRequest);
        }
    })
    .await;
}
