//! What changes under streams that are open: policy, routes, endpoints.

use super::*;
use crate::relay::engine::decide::Refusal;
use http::StatusCode;
use tokio::sync::Notify;

#[tokio::test]
async fn a_change_of_policy_ends_what_is_open() {
    play(async {
        let scene = Scene::new();
        let changed = Rc::new(Notify::new());
        let when = Rc::clone(&changed);
        scene.forward(Protocol::AsReceived, &[at(1)], move |forward| {
            let when = Rc::clone(&when);
            let revoked = async move {
                when.notified().await;
                Refusal::new(StatusCode::FORBIDDEN, Ending::Revoked, "the policy has changed")
            };
            forward.revoked = Some(revoked.boxed_local());
        });
        scene.serve(at(1), |stream| {
            http2_server(stream, |request, mut respond| async move {
                if request.uri().path() == "/open" {
                    let mut stream = respond.send_response(ok(), false).unwrap();
                    stream.send_data(Bytes::from_static(b"hi"), false).unwrap();
                    let _ = std::future::poll_fn(|context| stream.poll_reset(context)).await;
                } else {
                    let _ = std::future::poll_fn(|context| respond.poll_reset(context)).await;
                }
            })
        });
        let mut requests = scene.http2().await;
        // Before the answer it is one.
        let (response, _) = requests.send_request(get("/wait"), true).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        changed.notify_waiters();
        assert_eq!(soon(response).await.unwrap().status(), 403);
        // After it, a stream of gRPC ends with a status, and any other is reset.
        for grpc in [true, false] {
            let mut request = get("/open");
            if grpc {
                request
                    .headers_mut()
                    .insert("content-type", http::HeaderValue::from_static("application/grpc"));
            }
            let (response, _stream) = requests.send_request(request, false).unwrap();
            let mut body = soon(response).await.unwrap().into_body();
            assert_eq!(soon(body.data()).await.unwrap().unwrap(), "hi");
            changed.notify_waiters();
            if grpc {
                assert_eq!(soon(collect(body)).await.unwrap().1.unwrap()["grpc-status"], "7");
            } else {
                assert!(soon(collect(body)).await.is_err());
            }
            assert_eq!(scene.ending().await, Ending::Revoked);
        }
    })
    .await;
}

#[tokio::test]
async fn a_change_of_route_holds_for_the_next_request_and_not_for_open_ones() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::AsReceived, &[at(1)], |_| {});
        for (endpoint, name) in [(at(1), "old"), (at(2), "new")] {
            scene.serve(endpoint, move |stream| {
                http2_server(stream, move |request, mut respond| async move {
                    let mut stream = respond.send_response(ok(), false).unwrap();
                    let mut body = request.into_body();
                    while body.data().await.is_some() {
                        stream.send_data(Bytes::from_static(name.as_bytes()), false).unwrap();
                    }
                    stream.send_data(Bytes::new(), true).unwrap();
                })
            });
        }
        let mut requests = scene.http2().await;
        let mut streams = Vec::new();
        for name in ["old", "new"] {
            let (response, sending) = requests.send_request(get("/"), false).unwrap();
            let body = soon(response).await.unwrap().into_body();
            streams.push((name, sending, body));
            // From here on the other backend, on the same connection.
            scene.forward(Protocol::AsReceived, &[at(2)], |_| {});
        }
        for _ in 0..3 {
            for (name, sending, body) in &mut streams {
                sending.send_data(Bytes::from_static(b"?"), false).unwrap();
                assert_eq!(soon(body.data()).await.unwrap().unwrap(), *name);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_loss_of_an_endpoint_ends_its_streams_and_no_other() {
    play(async {
        let scene = Scene::new();
        let lost = Rc::new(Notify::new());
        for endpoint in [at(1), at(2)] {
            let lost = Rc::clone(&lost);
            scene.serve(endpoint, move |stream| {
                let lost = Rc::clone(&lost);
                async move {
                    let serving = http2_server(stream, |request, mut respond| async move {
                        let mut stream = respond.send_response(ok(), false).unwrap();
                        let Ok((content, _)) = collect(request.into_body()).await else { return };
                        stream.send_data(content.into(), true).unwrap();
                    });
                    tokio::select! {
                        () = serving => {}
                        () = lost.notified(), if endpoint == at(1) => {}
                    }
                }
            });
        }
        let mut requests = scene.http2().await;
        let mut streams = Vec::new();
        for endpoint in [at(1), at(2)] {
            scene.forward(Protocol::AsReceived, &[endpoint], |_| {});
            let request =
                Request::post("http://a/b").header("content-type", "application/grpc").body(()).unwrap();
            let (response, sending) = requests.send_request(request, false).unwrap();
            streams.push((sending, soon(response).await.unwrap().into_body()));
        }
        lost.notify_waiters();
        let (mut kept, body) = streams.pop().unwrap();
        let (_sending, of_lost) = streams.pop().unwrap();
        assert_eq!(soon(collect(of_lost)).await.unwrap().1.unwrap()["grpc-status"], "14");
        assert_eq!(scene.ending().await, Ending::UpstreamReset);
        kept.send_data(Bytes::from_static(b"hello"), true).unwrap();
        assert_eq!(soon(collect(body)).await.unwrap().0, b"hello");
        assert_eq!(scene.ending().await, Ending::Forwarded);
    })
    .await;
}
