//! HTTP/2 on either side, and gRPC.

use super::*;
use crate::relay::engine::decide::Refusal;
use http::{HeaderMap, HeaderValue, StatusCode};

/// Sends a request with a body, and gives back the answer, its content and its trailers.
async fn call(
    requests: &mut h2::client::SendRequest<Bytes>,
    request: Request<()>,
    body: Option<&'static str>,
    trailers: Option<HeaderMap>,
) -> Result<(Response<()>, Vec<u8>, Option<HeaderMap>), h2::Error> {
    let (response, mut stream) = requests.send_request(request, body.is_none())?;
    if let Some(body) = body {
        stream.send_data(Bytes::from_static(body.as_bytes()), trailers.is_none())?;
    }
    if let Some(trailers) = trailers {
        stream.send_trailers(trailers)?;
    }
    let (parts, body) = soon(response).await?.into_parts();
    let (content, trailers) = soon(collect(body)).await?;
    Ok((Response::from_parts(parts, ()), content, trailers))
}

fn grpc() -> Request<()> {
    Request::post("http://cart/shop.Cart/Add").header("content-type", "application/grpc").body(()).unwrap()
}

fn trailers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
}

/// An echo: content and trailers come back.
async fn echo(request: Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    let (content, trailers) = collect(request.into_body()).await.unwrap();
    let mut stream = respond.send_response(ok(), false).unwrap();
    stream.send_data(content.into(), false).unwrap();
    stream.send_trailers(trailers.unwrap_or_default()).unwrap();
}

#[tokio::test]
async fn requests_share_connections_and_keep_their_trailers() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::AsReceived, &[at(1)], |_| {});
        scene.serve(at(1), |stream| http2_server(stream, echo));
        let mut requests = scene.http2().await;
        for _ in 0..3 {
            let sent = trailers(&[("grpc-status", "5"), ("x-sum", "1")]);
            let (response, content, back) =
                call(&mut requests, grpc(), Some("hello"), Some(sent.clone())).await.unwrap();
            assert_eq!(
                (response.status(), content.as_slice(), back),
                (StatusCode::OK, &b"hello"[..], Some(sent))
            );
            let record = scene.record().await;
            assert_eq!((record.grpc_status, record.ending), (Some(5), Ending::Forwarded));
            assert_eq!((record.received, record.sent), (5, 5));
        }
        assert_eq!((scene.world.dials.get(), scene.engine.pool.kept()), (1, (0, 1)));
    })
    .await;
}

#[tokio::test]
async fn either_version_talks_to_the_other() {
    play(async {
        let scene = Scene::new();
        scene.answers(Protocol::Http1, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 2\r\n\r\n");
        let mut requests = scene.http2().await;
        let (response, content, back) = call(&mut requests, get("/a"), None, None).await.unwrap();
        assert_eq!((response.headers().len(), content.as_slice()), (0, &b"hi"[..]));
        assert_eq!(back.unwrap()["x-sum"], "2");

        let scene = Scene::new();
        scene.forward(Protocol::Http2, &[at(1)], |_| {});
        scene.serve(at(1), |stream| {
            http2_server(stream, |request, mut respond| async move {
                assert_eq!(request.uri(), "http://cart/a?b");
                let (content, trailers) = collect(request.into_body()).await.unwrap();
                assert_eq!((content.as_slice(), trailers.unwrap()["x-sum"].as_bytes()), (&b"abc"[..], &b"3"[..]));
                let hints = Response::builder().status(103).header("link", "</a>").body(()).unwrap();
                respond.send_informational(hints).unwrap();
                let mut stream = respond.send_response(ok(), false).unwrap();
                stream.send_data(Bytes::from_static(b"hi"), false).unwrap();
                stream.send_trailers(trailers_of_two()).unwrap();
            })
        });
        let answer = scene
            .exchange("POST /a?b HTTP/1.1\r\nHost: cart\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n")
            .await;
        assert_eq!(
            answer,
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 2\r\n\r\n"
        );
    })
    .await;
}

fn trailers_of_two() -> HeaderMap {
    trailers(&[("x-sum", "2")])
}

#[tokio::test]
async fn interim_responses_come_over_http2_too() {
    play(async {
        let scene = Scene::new();
        scene.answers(
            Protocol::Http1,
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        );
        let mut requests = scene.http2().await;
        let (mut response, _) = requests.send_request(get("/"), true).unwrap();
        let interim = soon(std::future::poll_fn(|context| response.poll_informational(context))).await;
        assert_eq!(interim.unwrap().unwrap().headers()["link"], "</a>");
        assert_eq!(soon(response).await.unwrap().status(), 204);
    })
    .await;
}

#[tokio::test]
async fn refusals_of_grpc_are_trailers_only() {
    play(async {
        let scene = Scene::new();
        scene.decide(|_| {
            let mut refusal = Refusal::new(StatusCode::FORBIDDEN, Ending::Denied, "shop/till may not");
            refusal.denied_by = Some(HeaderValue::from_static("shop/cart tellers"));
            Decision::Refuse(Labels { policy: Some("shop/cart".into()), ..Labels::default() }, refusal)
        });
        let mut requests = scene.http2().await;
        let (response, stream) = requests.send_request(grpc(), false).unwrap();
        let response = soon(response).await.unwrap();
        assert!(response.body().is_end_stream());
        assert_eq!(
            (response.status(), &response.headers()["grpc-status"]),
            (StatusCode::OK, &HeaderValue::from(7))
        );
        assert_eq!(response.headers()["grpc-message"], "shop/till may not");
        assert_eq!(response.headers()["x-mesh-denied-by"], "shop/cart tellers");
        drop(stream);
        let record = scene.record().await;
        assert_eq!((record.ending, record.grpc_status), (Ending::Denied, Some(7)));
        assert_eq!(record.labels.policy.as_deref(), Some("shop/cart"));

        let (response, content, _) = call(&mut requests, get("/"), None, None).await.unwrap();
        assert_eq!(
            (response.status(), content.as_slice()),
            (StatusCode::FORBIDDEN, &b"shop/till may not\n"[..])
        );
    })
    .await;
}

#[tokio::test]
async fn a_lost_backend_is_unavailable_in_either_form() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::AsReceived, &[at(9)], |_| {});
        let mut requests = scene.http2().await;
        let (response, ..) = call(&mut requests, grpc(), Some("x"), None).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(scene.ending().await, Ending::ConnectFailed);
        let (response, ..) = call(&mut requests, get("/"), None, None).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["x-mesh-reason"]),
            (503, &HeaderValue::from_static("ConnectFailed"))
        );
    })
    .await;
}

#[tokio::test]
async fn resets_keep_their_codes() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::AsReceived, &[at(1)], |_| {});
        let heard = Rc::new(Cell::new(None));
        let note = Rc::clone(&heard);
        scene.serve(at(1), move |stream| {
            let note = Rc::clone(&note);
            http2_server(stream, move |request, mut respond| {
                let note = Rc::clone(&note);
                async move {
                    let mut stream = respond.send_response(ok(), false).unwrap();
                    stream.send_data(Bytes::from_static(b"part"), false).unwrap();
                    if request.uri().path() == "/reset" {
                        // A reset overtakes what was not sent yet.
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        return stream.send_reset(h2::Reason::ENHANCE_YOUR_CALM);
                    }
                    let reason = std::future::poll_fn(|context| stream.poll_reset(context)).await;
                    note.set(Some(reason.unwrap()));
                }
            })
        });
        let mut requests = scene.http2().await;
        let error = call(&mut requests, get("/reset"), None, None).await.unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM));
        let record = scene.record().await;
        assert_eq!(
            (record.ending, record.status.map(|status| status.as_u16())),
            (Ending::UpstreamReset, Some(200))
        );

        let (response, mut stream) = requests.send_request(get("/hang"), false).unwrap();
        soon(response).await.unwrap();
        stream.send_reset(h2::Reason::CANCEL);
        assert_eq!(scene.ending().await, Ending::ClientGone);
        soon(async {
            while heard.get().is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        assert_eq!(heard.get(), Some(h2::Reason::CANCEL));
    })
    .await;
}

#[tokio::test]
async fn a_client_that_gives_up_before_the_answer_is_heard_upstream() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1)], |_| {});
        let closed = Rc::new(Cell::new(false));
        let note = Rc::clone(&closed);
        scene.serve(at(1), move |mut stream| {
            let note = Rc::clone(&note);
            async move {
                read_head(&mut stream).await.unwrap();
                assert_eq!(read_all(&mut stream).await, "");
                note.set(true);
            }
        });
        let mut requests = scene.http2().await;
        let (response, _) = requests.send_request(get("/"), true).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(response);
        assert_eq!(scene.ending().await, Ending::ClientGone);
        let mut client = scene.client();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        closed.set(false);
        drop(client);
        assert_eq!(scene.ending().await, Ending::ClientGone);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(closed.get());
    })
    .await;
}

#[tokio::test]
async fn a_server_that_answers_early_is_heard_over_http2() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::AsReceived, &[at(1)], |_| {});
        scene.serve(at(1), |stream| {
            http2_server(stream, |_request, mut respond| async move {
                let mut stream = respond.send_response(ok(), false).unwrap();
                stream.send_data(Bytes::from_static(b"enough"), true).unwrap();
            })
        });
        let mut requests = scene.http2().await;
        let (response, mut stream) = requests.send_request(grpc(), false).unwrap();
        stream.send_data(Bytes::from_static(b"some"), false).unwrap();
        let response = soon(response).await.unwrap();
        assert_eq!(soon(collect(response.into_body())).await.unwrap().0, b"enough");
        // RFC 9113, 8.1: the rest is not wanted, and that is no error.
        let reset = soon(std::future::poll_fn(|context| stream.poll_reset(context))).await;
        assert_eq!(reset.unwrap(), h2::Reason::NO_ERROR);
        assert_eq!(scene.ending().await, Ending::Forwarded);
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_was_refused_is_asked_for_again() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http2, &[at(1)], |forward| {
            forward.retry = Some(Arc::new(
                mesh_l7::retry::Retry::new(&[], Some(2), Some(Duration::from_millis(1))).unwrap(),
            ));
        });
        let asked = Rc::new(Cell::new(0));
        let count = Rc::clone(&asked);
        scene.serve(at(1), move |stream| {
            let count = Rc::clone(&count);
            http2_server(stream, move |request, mut respond| {
                let count = Rc::clone(&count);
                async move {
                    count.set(count.get() + 1);
                    if count.get() < 3 {
                        respond.send_reset(h2::Reason::REFUSED_STREAM);
                    } else {
                        echo(request, respond).await;
                    }
                }
            })
        });
        let mut requests = scene.http2().await;
        let (response, content, _) = call(&mut requests, grpc(), Some("once"), None).await.unwrap();
        assert_eq!((response.status().as_u16(), content.as_slice(), asked.get()), (200, &b"once"[..], 3));
    })
    .await;
}

#[tokio::test]
async fn a_server_that_says_goaway_gets_no_more() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http2, &[at(1)], |_| {});
        scene.serve(at(1), |stream| async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let (request, respond) = connection.accept().await.unwrap().unwrap();
            spawn_local(echo(request, respond));
            connection.graceful_shutdown();
            while let Some(Ok((request, respond))) = connection.accept().await {
                spawn_local(echo(request, respond));
            }
        });
        let mut requests = scene.http2().await;
        for turn in 0..5 {
            let (response, content, _) = call(&mut requests, grpc(), Some("hello"), None).await.unwrap();
            assert_eq!((response.status().as_u16(), content.as_slice()), (200, &b"hello"[..]), "{turn}");
        }
        assert!(scene.world.dials.get() > 1);
    })
    .await;
}

#[tokio::test]
async fn a_thousand_streams_are_open_at_once() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::AsReceived, &[at(1)], |_| {});
        let open = Rc::new(Cell::new(0));
        let gate = Rc::new(tokio::sync::Notify::new());
        let (count, wait) = (Rc::clone(&open), Rc::clone(&gate));
        scene.serve(at(1), move |stream| {
            let (count, wait) = (Rc::clone(&count), Rc::clone(&wait));
            http2_server(stream, move |request, respond| {
                let (count, wait) = (Rc::clone(&count), Rc::clone(&wait));
                async move {
                    let opened = wait.notified();
                    count.set(count.get() + 1);
                    opened.await;
                    echo(request, respond).await;
                }
            })
        });
        let mut requests = scene.http2().await;
        let mut calls = Vec::new();
        for _ in 0..1000 {
            requests = requests.ready().await.unwrap();
            let (response, mut stream) = requests.send_request(grpc(), false).unwrap();
            stream.send_data(Bytes::from_static(b"hello"), true).unwrap();
            calls.push(response);
        }
        soon(async {
            while open.get() < 1000 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        gate.notify_waiters();
        for response in calls {
            let (content, _) = collect(soon(response).await.unwrap().into_body()).await.unwrap();
            assert_eq!(content, b"hello");
        }
        assert!(scene.engine.under_way.is_empty());
    })
    .await;
}
