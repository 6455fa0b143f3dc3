//! Attempts, timeouts, copies and balance.

use super::*;
use crate::relay::engine::decide::Mirror;
use mesh_l7::retry::Retry;
use mesh_l7::timeouts::Timeouts;

fn retry(codes: &[u16], attempts: u32) -> Option<Arc<Retry>> {
    Some(Arc::new(Retry::new(codes, Some(attempts), Some(Duration::from_millis(1))).unwrap()))
}

fn timeouts(request: Option<u64>, attempt: Option<u64>) -> Timeouts {
    Timeouts::new(request.map(Duration::from_millis), attempt.map(Duration::from_millis))
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

impl Scene {
    /// Answers of one endpoint, the last for ever.
    fn answers_in_turn(
        &self,
        endpoint: SocketAddr,
        answers: &'static [&'static str],
    ) -> Rc<RefCell<Vec<String>>> {
        let asked: Rc<RefCell<Vec<String>>> = Rc::default();
        let note = Rc::clone(&asked);
        self.serve(endpoint, move |mut stream| {
            let note = Rc::clone(&note);
            async move {
                while let Some(mut request) = read_head(&mut stream).await {
                    if let Some(length) = request.split("Content-Length: ").nth(1) {
                        let length = length.split("\r\n").next().unwrap().parse().unwrap();
                        request += &read_exactly(&mut stream, length).await;
                    }
                    note.borrow_mut().push(request);
                    let turn = note.borrow().len().min(answers.len());
                    match answers[turn - 1] {
                        "" => return,
                        answer => stream.write_all(answer.as_bytes()).await.unwrap(),
                    }
                }
            }
        });
        asked
    }
}

/// Takes everything and says nothing.
async fn silent(mut stream: DuplexStream) {
    read_head(&mut stream).await;
    std::future::pending().await
}

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_failing_backend_is_hidden() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1)], |forward| forward.retry = retry(&[503], 3));
        let asked = scene.answers_in_turn(at(1), &[BUSY, BUSY, OK]);
        let answer = scene.exchange(POST).await;
        assert!(answer.ends_with("ok"), "{answer}");
        let record = scene.record().await;
        assert_eq!((record.attempts, record.ending, record.received), (3, Ending::Forwarded, 5));
        assert!(asked.borrow().iter().all(|request| request.ends_with("\r\n\r\nhello")));
        assert_eq!(asked.borrow().len(), 3);
        // When no attempt is left, the client gets the last answer itself.
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1)], |forward| forward.retry = retry(&[503], 1));
        scene.answers_in_turn(at(1), &[BUSY]);
        let answer = scene.exchange(POST).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && !answer.contains("x-mesh-reason"), "{answer}");
        assert_eq!(scene.record().await.attempts, 2);
    })
    .await;
}

#[tokio::test]
async fn another_endpoint_is_tried() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1), at(2)], |forward| forward.retry = retry(&[], 1));
        scene.answers_in_turn(at(2), &[OK]);
        for _ in 0..20 {
            let answer = scene.exchange(POST).await;
            assert!(answer.ends_with("ok"), "{answer}");
        }
        assert!(scene.world.records.borrow().iter().all(|record| record.endpoint == Some(at(2))));
    })
    .await;
}

#[tokio::test]
async fn without_a_policy_nothing_is_tried_again() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1)], |_| {});
        let asked = scene.answers_in_turn(at(1), &["", OK]);
        let answer = scene.exchange(GET).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert_eq!(scene.ending().await, Ending::UpstreamReset);
        assert_eq!(asked.borrow().len(), 1);
        scene.forward(Protocol::Http1, &[], |_| {});
        let answer = scene.exchange(GET).await;
        assert!(
            answer.starts_with("HTTP/1.1 503 ") && answer.contains("no endpoint of shop/cart:80"),
            "{answer}"
        );
        assert_eq!(scene.ending().await, Ending::NoEndpoint);
    })
    .await;
}

#[tokio::test]
async fn a_post_that_may_have_been_done_is_not_done_again() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1)], |forward| forward.retry = retry(&[503], 3));
        let asked = scene.answers_in_turn(at(1), &["", OK]);
        let answer = scene.exchange(POST).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert_eq!(asked.borrow().len(), 1);
        let answer = scene.exchange(GET).await;
        assert!(answer.ends_with("ok"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_no_attempt() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1)], |_| {});
        // Answers once and closes as the next request comes.
        scene.serve(at(1), |mut stream| async move {
            read_head(&mut stream).await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
            stream.read_u8().await.ok();
        });
        let mut client = scene.client();
        for _ in 0..3 {
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            let answer = read_exactly(&mut client, OK.len()).await;
            assert_eq!(answer, OK);
            let record = scene.record().await;
            assert_eq!((record.attempts, record.ending), (1, Ending::Forwarded));
        }
        assert_eq!(scene.world.dials.get(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_body_past_the_bound_has_one_attempt() {
    play(async {
        let scene = Scene::with(Limits { replay_octets: 4, ..Limits::default() });
        scene.forward(Protocol::Http1, &[at(1)], |forward| forward.retry = retry(&[503], 3));
        let asked = scene.answers_in_turn(at(1), &[BUSY, OK]);
        let answer = scene.exchange(POST).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert_eq!(asked.borrow().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_takes_too_long_is_504() {
    play(async {
        let scene = Scene::new();
        scene.serve(at(1), silent);
        for (shape, attempts) in [
            (timeouts(Some(30), None), 1),
            (timeouts(None, Some(30)), 3),
            (timeouts(Some(500), Some(300)), 2),
        ] {
            scene.forward(Protocol::Http1, &[at(1)], move |forward| {
                forward.timeouts = shape;
                forward.retry = retry(&[504], 2);
            });
            let answer = scene.exchange(GET).await;
            assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
            let record = scene.record().await;
            assert_eq!((record.ending, record.attempts), (Ending::TimedOut, attempts), "{shape:?}");
        }
        let mut requests = scene.http2().await;
        let request =
            Request::post("http://a/b").header("content-type", "application/grpc").body(()).unwrap();
        let answer = soon(requests.send_request(request, true).unwrap().0).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "4");
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_not_ended() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1)], |forward| forward.timeouts = timeouts(Some(50), None));
        scene.serve(at(1), |mut stream| async move {
            read_head(&mut stream).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
                .await
                .unwrap();
            std::future::pending().await
        });
        let answer = scene.exchange(GET).await;
        assert!(answer.ends_with("2\r\nhi\r\n"), "{answer}");
        assert_eq!(scene.ending().await, Ending::TimedOut);
    })
    .await;
}

#[tokio::test]
async fn copies_go_to_another_backend_and_cost_nothing() {
    play(async {
        let scene = Scene::new();
        let copied: Rc<RefCell<Vec<String>>> = Rc::default();
        scene.forward(Protocol::Http1, &[at(1)], |forward| {
            let shadow = backend(Protocol::Http1, &[at(2)]);
            let nobody = backend(Protocol::Http1, &[at(3)]);
            forward.mirrors = vec![Mirror { backend: shadow }, Mirror { backend: nobody }];
        });
        scene.answers_in_turn(at(1), &[OK]);
        let note = Rc::clone(&copied);
        scene.serve(at(2), move |mut stream| {
            let note = Rc::clone(&note);
            async move {
                let head = read_head(&mut stream).await.unwrap();
                let body = read_exactly(&mut stream, 5).await;
                note.borrow_mut().push(head + &body);
                stream.write_all(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                std::future::pending().await
            }
        });
        let answer = scene.exchange(POST).await;
        assert!(answer.ends_with("ok"), "{answer}");
        assert!(scene.record().await.mirrored);
        soon(async {
            while copied.borrow().is_empty() || scene.engine.mirrors.get() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        assert_eq!(copied.borrow()[0], "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    })
    .await;
}

#[tokio::test]
async fn copies_are_bounded() {
    play(async {
        let scene =
            Scene::with(Limits { mirrors: 2, mirror_within: Duration::from_millis(50), ..Limits::default() });
        scene.forward(Protocol::Http1, &[at(1)], |forward| {
            forward.mirrors = vec![Mirror { backend: backend(Protocol::Http1, &[at(2)]) }];
        });
        scene.answers_in_turn(at(1), &[OK]);
        scene.serve(at(2), silent);
        for turn in 0..4 {
            scene.exchange(GET).await;
            assert_eq!(scene.record().await.mirrored, turn < 2);
        }
        soon(async {
            while scene.engine.mirrors.get() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn requests_are_spread_over_the_endpoints() {
    play(async {
        let scene = Scene::new();
        let endpoints = [at(1), at(2), at(3)];
        scene.forward(Protocol::Http1, &endpoints, |_| {});
        for endpoint in endpoints {
            scene.answers_in_turn(endpoint, &[OK]);
        }
        // On one connection: each request is balanced by itself.
        let mut client = scene.client();
        for _ in 0..90 {
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            read_exactly(&mut client, OK.len()).await;
        }
        let records = scene.world.records.borrow();
        for endpoint in endpoints {
            let share = records.iter().filter(|record| record.endpoint == Some(endpoint)).count();
            assert!((10..50).contains(&share), "{endpoint}: {share}");
        }
        assert_eq!(scene.world.dials.get(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_bound_on_connections_is_told() {
    play(async {
        let scene = Scene::with(Limits { http1_per_endpoint: 1, ..Limits::default() });
        scene.forward(Protocol::Http1, &[at(1)], |_| {});
        scene.serve(at(1), silent);
        let mut client = scene.client();
        client.write_all(GET.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        let answer = scene.exchange(GET).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Overflow"), "{answer}");
        drop(client);
    })
    .await;
}
