//! Peers that are slow or stuck, and heads without end.

use super::*;

fn hasty() -> Limits {
    Limits {
        head_within: Duration::from_millis(60),
        idle: Duration::from_millis(60),
        stuck: Duration::from_millis(60),
        rest_within: Duration::from_millis(60),
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_is_408() {
    play(async {
        let scene = Scene::with(hasty());
        scene.answers(Protocol::Http1, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let mut client = scene.client();
        let slowly = async {
            for octet in b"GET / HTTP/1.1\r\nHost: a\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if client.write_all(&[*octet]).await.is_err() {
                    break;
                }
            }
            read_all(&mut client).await
        };
        let answer = slowly.await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert_eq!(scene.ending().await, Ending::ClientTimeout);
        assert_eq!(scene.world.dials.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn who_says_nothing_is_let_go_without_a_word() {
    play(async {
        let scene = Scene::with(hasty());
        scene.answers(Protocol::Http1, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(scene.exchange("").await, "");
        let answer = scene.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(answer, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(scene.ending().await, Ending::Forwarded);
        assert!(scene.world.records.borrow().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go() {
    play(async {
        for http2 in [false, true] {
            let scene = Scene::with(hasty());
            scene.forward(Protocol::Http1, &[at(1)], |_| {});
            scene.serve(at(1), |mut stream| async move {
                read_head(&mut stream).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await.unwrap();
                while stream.write_all(&[7; 32 << 10]).await.is_ok() {}
            });
            let (mut requests, mut client) = (None, None);
            if http2 {
                let requests = requests.insert(scene.http2().await);
                let response = requests.send_request(get("/"), true).unwrap().0;
                let response = soon(response).await.unwrap();
                assert_eq!(scene.ending().await, Ending::ClientStuck);
                assert!(collect(response.into_body()).await.is_err());
            } else {
                let client = client.insert(scene.client());
                client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
                assert_eq!(scene.ending().await, Ending::ClientStuck);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408_and_a_stream_may_pause() {
    play(async {
        let scene = Scene::with(hasty());
        scene.forward(Protocol::Http1, &[at(1)], |_| {});
        scene.serve(at(1), |mut stream| async move {
            let head = read_head(&mut stream).await.unwrap();
            if head.contains("Transfer-Encoding") {
                read_head(&mut stream).await.unwrap();
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            } else {
                read_all(&mut stream).await;
            }
        });
        let answer = scene.exchange("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello").await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert_eq!(scene.ending().await, Ending::ClientTimeout);

        let mut client = scene.client();
        let head = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
        client.write_all(b"0\r\n\r\n").await.unwrap();
        assert!(read_all(&mut client).await.starts_with("HTTP/1.1 204 "));
    })
    .await;
}

#[tokio::test]
async fn a_server_that_takes_nothing_is_504() {
    play(async {
        let scene = Scene::with(hasty());
        scene.forward(Protocol::Http1, &[at(1)], |_| {});
        scene.serve(at(1), |mut stream| async move {
            read_head(&mut stream).await;
            std::future::pending().await
        });
        let (mut reading, mut writing) = tokio::io::split(scene.client());
        spawn_local(async move {
            let head = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8000\r\n";
            let chunk = [&[7; 0x8000], &b"\r\n8000\r\n"[..]].concat();
            let _ = writing.write_all(head.as_bytes()).await;
            while writing.write_all(&chunk).await.is_ok() {}
        });
        let mut answer = Vec::new();
        soon(reading.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 504 "));
        assert_eq!(scene.ending().await, Ending::TimedOut);
    })
    .await;
}

#[tokio::test]
async fn heads_have_a_bound() {
    play(async {
        let scene = Scene::new();
        scene.answers(Protocol::Http1, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let field = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(70 << 10));
        let fields = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(200));
        let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(70 << 10));
        let path = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(9 << 10));
        for (request, status) in [(field, 431), (fields, 431), (target, 414), (path, 414)] {
            let (mut reading, mut writing) = tokio::io::split(scene.client());
            spawn_local(async move {
                let _ = writing.write_all(request.as_bytes()).await;
            });
            let mut answer = Vec::new();
            soon(reading.read_to_end(&mut answer)).await.unwrap();
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            assert_eq!(scene.ending().await, Ending::HeadTooLarge);
        }
        // An answer has the same bound.
        let scene = Scene::new();
        let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "a".repeat(70 << 10));
        scene.answers(Protocol::Http1, Box::leak(large.into_boxed_str()));
        let answer = scene.exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert_eq!(scene.ending().await, Ending::UpstreamProtocol);
    })
    .await;
}

#[tokio::test]
async fn one_pod_has_a_bound_of_its_own() {
    play(async {
        let scene = Scene::with(Limits { requests_of_pod: 2, ..Limits::default() });
        scene.forward(Protocol::Http1, &[at(1)], |_| {});
        scene.serve(at(1), |mut stream| async move {
            read_head(&mut stream).await;
            std::future::pending().await
        });
        let client = |pod: &str| {
            let (near, far) = duplex(PIPE);
            let connection = Connection { pod: pod.into(), ..scene.connection(Speaks::Http) };
            let engine = Rc::clone(&scene.engine);
            spawn_local(async move {
                engine.serve(Box::new(far), connection).await;
            });
            near
        };
        let mut greedy = [client("greedy"), client("greedy"), client("greedy")];
        for client in &mut greedy {
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let answer = read_all(&mut greedy[2]).await;
        assert!(
            answer.starts_with("HTTP/1.1 503 ") && answer.contains("x-mesh-reason: Overflow"),
            "{answer}"
        );
        scene.answers(Protocol::Http1, "HTTP/1.1 204 No Content\r\n\r\n");
        let mut modest = client("modest");
        modest.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(read_all(&mut modest).await.starts_with("HTTP/1.1 204 "));
        drop(greedy);
        while !scene.engine.of_pods.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
