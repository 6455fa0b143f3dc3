//! HTTP/1.1 on both sides.

use super::*;

#[tokio::test]
async fn requests_follow_each_other_on_both_connections() {
    play(async {
        let scene = Scene::new();
        scene.answers(Protocol::Http1, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Who: Cart\r\n\r\nhi");
        let mut client = scene.client();
        for _ in 0..3 {
            client.write_all(b"GET /a HTTP/1.1\r\nHost: cart\r\n\r\n").await.unwrap();
            let head = soon(read_head(&mut client)).await.unwrap();
            assert_eq!(head, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Who: Cart\r\n\r\n");
            assert_eq!(read_exactly(&mut client, 2).await, "hi");
            let record = scene.record().await;
            assert_eq!((record.ending, record.attempts, record.sent), (Ending::Forwarded, 1, 2));
            assert_eq!((record.path.as_str(), record.authority.as_str()), ("/a", "cart"));
            assert_eq!((record.status.unwrap().as_u16(), record.endpoint), (200, Some(at(1))));
            assert_eq!(record.version, http::Version::HTTP_11);
            assert!(record.at.elapsed().unwrap() < Duration::from_secs(10));
            assert_eq!(record.labels.route.as_deref(), Some("HTTPRoute/shop/cart"));
        }
        assert_eq!(scene.world.dials.get(), 1);
        assert_eq!(scene.engine.pool.kept(), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1)], |_| {});
        scene.serve(at(1), |mut stream| async move {
            while let Some(head) = read_head(&mut stream).await {
                let path = head.split(' ').nth(1).unwrap();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let requests = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /4 HTTP/1.1\r\n";
        let answers = scene.exchange(requests).await;
        let bodies: Vec<_> = answers.split("\r\n\r\n").skip(1).map(|body| &body[..2]).collect();
        assert_eq!(bodies, ["/1", "/2", "/3"]);
        assert!(answers.contains("connection: close"));
    })
    .await;
}

#[tokio::test]
async fn chunks_and_trailers_go_both_ways() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1)], |_| {});
        scene.serve(at(1), |mut stream| async move {
            let head = read_head(&mut stream).await.unwrap();
            assert!(head.contains("Transfer-Encoding: chunked") && head.contains("Trailer: X-Sum"), "{head}");
            let body = read_head(&mut stream).await.unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\nX-Back: 1\r\n\r\n", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let answer = scene
            .exchange("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nConnection: close\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n")
            .await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
        let sent = "3\r\nabc\r\n2\r\nde\r\n0\r\nx-sum: 5\r\n\r\n";
        assert_eq!(body, format!("{:x}\r\n{sent}\r\n0\r\nx-back: 1\r\n\r\n", sent.len()));
        let record = scene.record().await;
        assert_eq!((record.received, record.sent), (5, sent.len() as u64));
    })
    .await;
}

#[tokio::test]
async fn interim_responses_are_passed_on() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1)], |_| {});
        scene.serve(at(1), |mut stream| async move {
            let head = read_head(&mut stream).await.unwrap();
            assert!(head.contains("Expect: 100-continue"), "{head}");
            let early = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
            stream.write_all(early.as_bytes()).await.unwrap();
            assert_eq!(read_exactly(&mut stream, 5).await, "hello");
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        });
        let mut client = scene.client();
        let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
        assert_eq!(read_exactly(&mut client, interim.len()).await, interim);
        client.write_all(b"hello").await.unwrap();
        let last = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(read_exactly(&mut client, last.len()).await, last);
    })
    .await;
}

#[tokio::test]
async fn a_final_answer_instead_of_100_closes() {
    play(async {
        let scene = Scene::new();
        scene.answers(Protocol::Http1, "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
        let answer = scene
            .exchange("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            .await;
        assert!(answer.starts_with("HTTP/1.1 417"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn some_answers_have_no_body() {
    play(async {
        for (method, answer) in [
            ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
            ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\n\r\n"),
            ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ] {
            let scene = Scene::new();
            scene.answers(Protocol::Http1, answer);
            let mut client = scene.client();
            for _ in 0..2 {
                client.write_all(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
                assert_eq!(read_exactly(&mut client, answer.len()).await, answer);
            }
            assert_eq!(scene.world.dials.get(), 1, "{method} {answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_up_to_the_connections_end_is_chunked() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1)], |_| {});
        scene.serve(at(1), |mut stream| async move {
            read_head(&mut stream).await.unwrap();
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello").await.unwrap();
        });
        let answer = scene.exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert_eq!(answer, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        // A client of HTTP/1.0 knows no chunks.
        let answer = scene.exchange("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
        assert_eq!(answer, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello");
        assert_eq!(scene.engine.pool.kept(), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn http10_keeps_a_connection_only_if_it_asks() {
    play(async {
        let scene = Scene::new();
        scene.answers(Protocol::Http1, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        let answer = scene.exchange("GET / HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(answer.matches("hi").count(), 1);
        let answer =
            scene.exchange("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(answer.matches("hi").count(), 2);
        assert_eq!(answer.matches("connection: keep-alive").count(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_is_left_of_a_small_body_is_read() {
    play(async {
        let scene = Scene::new();
        scene.decide(|_| {
            let answer = Response::builder().status(302).header("location", "/b").body(Bytes::new()).unwrap();
            Decision::Respond(Labels::default(), Box::new(answer))
        });
        let mut client = scene.client();
        for _ in 0..2 {
            client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").await.unwrap();
            let head = soon(read_head(&mut client)).await.unwrap();
            assert_eq!(head, "HTTP/1.1 302 Found\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n");
            assert_eq!(scene.ending().await, Ending::Answered);
        }
        // Too much of it is not.
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        let (mut reading, mut writing) = tokio::io::split(client);
        spawn_local(async move { while writing.write_all(&[b'a'; 8192]).await.is_ok() {} });
        let mut answer = Vec::new();
        soon(reading.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 302 Found"));
    })
    .await;
}

#[tokio::test]
async fn a_server_that_answers_early_is_heard() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1)], |_| {});
        scene.serve(at(1), |mut stream| async move {
            read_head(&mut stream).await.unwrap();
            let answer =
                "HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmuch";
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let mut client = scene.client();
        client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n").await.unwrap();
        let (mut reading, mut writing) = tokio::io::split(client);
        spawn_local(async move { while writing.write_all(&[b'a'; 8192]).await.is_ok() {} });
        let mut answer = Vec::new();
        soon(reading.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 413") && answer.ends_with("much"), "{answer}");
        assert_eq!(scene.ending().await, Ending::Forwarded);
    })
    .await;
}

#[tokio::test]
async fn an_answer_is_changed_by_its_route() {
    play(async {
        let scene = Scene::new();
        let backend = backend(Protocol::Http1, &[at(1)]);
        scene.answers(Protocol::Http1, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: 1\r\n\r\n");
        scene.decide(move |asked| {
            *asked.head.uri_mut() = "/rewritten?q".parse().unwrap();
            let mut forward = forward_to(&backend);
            forward.answer = Some(Rc::new(|answer: &mut Response<()>| {
                answer.headers_mut().remove("x-a");
                answer.headers_mut().insert("x-b", http::HeaderValue::from_static("2"));
            }));
            Decision::Forward(Box::new(forward))
        });
        scene.serve(at(1), |mut stream| async move {
            let head = read_head(&mut stream).await.unwrap();
            assert!(head.starts_with("GET /rewritten?q HTTP/1.1\r\n"), "{head}");
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: 1\r\n\r\n").await.unwrap();
        });
        let answer = scene.exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert_eq!(answer, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx-b: 2\r\nconnection: close\r\n\r\n");
    })
    .await;
}
