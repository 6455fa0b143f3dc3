//! Large bodies, slow readers, and what waits meanwhile.

use super::*;

const LARGE: usize = 100 << 20;
/// What may wait in the engine and in the pipes on both sides of it, whatever the body's length:
/// buffers of reads and writes, and HTTP/2's windows.
const WAITING: usize = 3 << 20;

/// Octets that went one way.
#[derive(Clone, Default)]
struct Count(Rc<Cell<usize>>);

impl Count {
    fn add(&self, octets: usize) {
        self.0.set(self.0.get() + octets);
    }

    fn get(&self) -> usize {
        self.0.get()
    }

    /// Waits until nothing has moved for a while.
    async fn settled(&self) -> usize {
        let mut last = self.get();
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if last == self.get() {
                return last;
            }
            last = self.get();
        }
    }
}

/// A server of HTTP/1 that sends `LARGE` octets.
fn download(scene: &Scene, sent: &Count) {
    let sent = sent.clone();
    scene.serve(at(1), move |mut stream| {
        let sent = sent.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let piece = [7; 32 << 10];
            while sent.get() < LARGE {
                let Ok(()) = stream.write_all(&piece).await else { return };
                sent.add(piece.len());
            }
        }
    });
}

/// A server of HTTP/1 that reads `LARGE` octets, the first of them when `gate` opens.
fn upload(scene: &Scene, received: &Count, gate: &Rc<tokio::sync::Notify>) {
    let (received, gate) = (received.clone(), Rc::clone(gate));
    scene.serve(at(1), move |mut stream| {
        let (received, gate) = (received.clone(), Rc::clone(&gate));
        async move {
            read_head(&mut stream).await.unwrap();
            gate.notified().await;
            let mut piece = vec![0; 64 << 10];
            while received.get() < LARGE {
                received.add(stream.read(&mut piece).await.unwrap());
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        }
    });
}

#[tokio::test]
async fn a_slow_reader_stops_a_download() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1)], |_| {});
        let sent = Count::default();
        download(&scene, &sent);
        let mut client = scene.client();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        read_head(&mut client).await.unwrap();
        assert!(sent.settled().await < WAITING, "{}", sent.get());
        let (mut piece, mut read) = (vec![0; 64 << 10], 0);
        while read < LARGE {
            read += client.read(&mut piece).await.unwrap();
        }
        let record = scene.record().await;
        assert_eq!((record.sent, record.ending), (LARGE as u64, Ending::Forwarded));
    })
    .await;
}

#[tokio::test]
async fn a_slow_reader_stops_a_download_over_http2_and_no_other_stream() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1)], |_| {});
        let sent = Count::default();
        download(&scene, &sent);
        let mut requests = scene.http2().await;
        let slow = soon(requests.send_request(get("/slow"), true).unwrap().0).await.unwrap();
        let stopped = sent.settled().await;
        assert!(stopped < WAITING, "{stopped}");
        scene.answers(Protocol::Http1, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let quick = soon(requests.send_request(get("/"), true).unwrap().0).await.unwrap();
        assert_eq!(soon(collect(quick.into_body())).await.unwrap().0, b"ok");
        assert_eq!(sent.get(), stopped);
        let (content, _) = collect(slow.into_body()).await.unwrap();
        assert_eq!(content.len(), LARGE);
    })
    .await;
}

#[tokio::test]
async fn a_slow_server_stops_an_upload() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1)], |_| {});
        let (sent, received, gate) = (Count::default(), Count::default(), Rc::default());
        upload(&scene, &received, &gate);
        let (mut reading, mut writing) = tokio::io::split(scene.client());
        let count = sent.clone();
        spawn_local(async move {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n");
            writing.write_all(head.as_bytes()).await.unwrap();
            while count.get() < LARGE {
                writing.write_all(&[7; 0x8000]).await.unwrap();
                count.add(0x8000);
            }
            std::future::pending::<()>().await;
        });
        assert!(sent.settled().await < WAITING, "{}", sent.get());
        gate.notify_one();
        let mut answer = [0; 15];
        reading.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        assert_eq!(scene.record().await.received, LARGE as u64);
    })
    .await;
}

#[tokio::test]
async fn a_slow_server_stops_an_upload_over_http2() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1)], |_| {});
        let (sent, received, gate) = (Count::default(), Count::default(), Rc::default());
        upload(&scene, &received, &gate);
        let mut requests = scene.http2().await;
        let request = Request::post("http://cart/").header("content-length", LARGE).body(()).unwrap();
        let (response, mut stream) = requests.send_request(request, false).unwrap();
        let count = sent.clone();
        spawn_local(async move {
            while count.get() < LARGE {
                stream.reserve_capacity(32 << 10);
                let capacity = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
                let octets = capacity.unwrap().unwrap().min(LARGE - count.get());
                stream.send_data(Bytes::from(vec![7; octets]), false).unwrap();
                count.add(octets);
            }
            stream.send_data(Bytes::new(), true).unwrap();
        });
        assert!(sent.settled().await < WAITING, "{}", sent.get());
        gate.notify_one();
        assert_eq!(soon(response).await.unwrap().status(), 200);
        assert_eq!(scene.record().await.received, LARGE as u64);
    })
    .await;
}

#[tokio::test]
async fn both_sides_of_a_stream_talk_at_once() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::AsReceived, &[at(1)], |_| {});
        scene.serve(at(1), |stream| {
            http2_server(stream, |request, mut respond| async move {
                let mut stream = respond.send_response(ok(), false).unwrap();
                let mut body = request.into_body();
                while let Some(data) = body.data().await {
                    let data = data.unwrap();
                    body.flow_control().release_capacity(data.len()).unwrap();
                    stream.send_data(data, false).unwrap();
                }
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                stream.send_trailers(trailers).unwrap();
            })
        });
        let mut requests = scene.http2().await;
        let (response, mut sending) = requests.send_request(get("/chat"), false).unwrap();
        let mut body = soon(response).await.unwrap().into_body();
        for turn in 0..200_u32 {
            sending.send_data(Bytes::from(turn.to_string()), false).unwrap();
            let data = soon(body.data()).await.unwrap().unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            assert_eq!(data, turn.to_string());
        }
        sending.send_data(Bytes::new(), true).unwrap();
        assert_eq!(soon(collect(body)).await.unwrap().1.unwrap()["grpc-status"], "0");
        assert_eq!(scene.record().await.grpc_status, Some(0));
    })
    .await;
}
