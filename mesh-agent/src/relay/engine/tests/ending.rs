//! Ends of connections: orderly and not, of peers and of the engine.

use super::*;
use crate::relay::engine::socket::Socket;
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn a_server_that_ends_within_its_answer_is_not_taken_for_whole() {
    play(async {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        ] {
            let scene = Scene::new();
            scene.forward(Protocol::Http1, &[at(1)], |_| {});
            scene.serve(at(1), move |mut stream| async move {
                read_head(&mut stream).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
            let mut requests = scene.http2().await;
            // The reset may overtake what was not sent yet.
            if let Ok(response) = soon(requests.send_request(get("/"), true).unwrap().0).await {
                assert!(soon(collect(response.into_body())).await.is_err());
            }
            let record = scene.record().await;
            assert_eq!((record.ending, record.sent), (Ending::UpstreamReset, 5), "{}", record.detail);
        }
    })
    .await;
}

/// Over sockets: what was cut off is a reset, what is whole an orderly end.
#[tokio::test]
async fn the_end_of_a_connection_tells_whether_it_was_whole() {
    play(async {
        for (whole, answer) in [
            (true, "HTTP/1.0 200 OK\r\n\r\nhello"),
            (false, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"),
        ] {
            let scene = Scene::new();
            scene.forward(Protocol::Http1, &[at(1)], |_| {});
            scene.serve(at(1), move |mut stream| async move {
                read_head(&mut stream).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let accepted = Socket::new(listener.accept().await.unwrap().0).unwrap();
            let (engine, connection) = (Rc::clone(&scene.engine), scene.connection(Speaks::Http));
            spawn_local(async move {
                engine.serve(Box::new(accepted), connection).await;
            });
            client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
            let mut read = Vec::new();
            let ended = soon(client.read_to_end(&mut read)).await;
            assert_eq!(ended.is_ok(), whole, "{answer}: {ended:?}");
            assert!(String::from_utf8(read).unwrap().ends_with("hello"));
        }
    })
    .await;
}

/// Over sockets: everything arrives, and who gives up is heard on the other side.
#[tokio::test]
async fn large_bodies_and_resets_cross_sockets() {
    play(async {
        const LARGE: usize = 64 << 20;
        let scene = Scene::new();
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        scene.forward(Protocol::Http1, &[address], |_| {});
        let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
        spawn_local(async move {
            while let Ok((mut stream, _)) = server.accept().await {
                let heard = heard.clone();
                spawn_local(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(octet) = stream.read_u8().await else { return };
                        head.push(octet);
                    }
                    stream
                        .write_all(
                            format!(
                                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {LARGE}\r\n\r\n"
                            )
                            .as_bytes(),
                        )
                        .await
                        .unwrap();
                    let (mut reading, mut writing) = stream.split();
                    heard.send(tokio::io::copy(&mut reading, &mut writing).await.is_ok()).unwrap();
                });
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connect = async || {
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let accepted = Socket::new(listener.accept().await.unwrap().0).unwrap();
            let (engine, connection) = (Rc::clone(&scene.engine), scene.connection(Speaks::Http));
            let dial: Rc<dyn Dial> = Rc::new(Sockets);
            spawn_local(async move {
                engine.serve(Box::new(accepted), Connection { dial, ..connection }).await;
            });
            client
        };
        let head =
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\nConnection: close\r\n\r\n");
        let (mut reading, mut writing) = connect().await.into_split();
        let sent = head.clone();
        spawn_local(async move {
            writing.write_all(sent.as_bytes()).await.unwrap();
            for _ in 0..LARGE >> 16 {
                writing.write_all(&[7; 1 << 16]).await.unwrap();
            }
            std::future::pending::<()>().await;
        });
        let (mut total, mut piece) = (0, vec![0; 1 << 16]);
        loop {
            match soon(reading.read(&mut piece)).await.unwrap() {
                0 => break,
                octets => total += octets,
            }
        }
        assert!(total > LARGE, "{total}");
        let record = scene.record().await;
        assert_eq!((record.received, record.sent), (LARGE as u64, LARGE as u64));

        let mut client = connect().await;
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&[7; 1 << 16]).await.unwrap();
        soon(client.read(&mut piece)).await.unwrap();
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        assert_eq!(scene.ending().await, Ending::ClientGone);
        assert!(soon(hears.recv()).await.unwrap(), "the first was whole");
        assert!(!soon(hears.recv()).await.unwrap(), "the second was not, and its server knows");
    })
    .await;
}

/// Endpoints at real addresses.
struct Sockets;

impl Dial for Sockets {
    fn dial(&self, _: &Backend, endpoint: SocketAddr) -> LocalBoxFuture<'static, Result<Io, DialFailure>> {
        async move { Ok(Box::new(Socket::new(TcpStream::connect(endpoint).await.unwrap()).unwrap()) as Io) }
            .boxed_local()
    }
}

#[tokio::test]
async fn a_connection_of_a_client_is_nobody_elses() {
    play(async {
        let scene = Scene::new();
        scene.answers(Protocol::Http1, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let client = || {
            let (near, far) = duplex(PIPE);
            let engine = Rc::clone(&scene.engine);
            let connection = Connection { sharing: Sharing::Nobody, ..scene.connection(Speaks::Http) };
            spawn_local(async move {
                engine.serve(Box::new(far), connection).await;
            });
            near
        };
        let (mut one, mut other) = (client(), client());
        for _ in 0..3 {
            for client in [&mut one, &mut other] {
                client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
                soon(read_head(client)).await.unwrap();
            }
        }
        assert_eq!((scene.world.dials.get(), scene.engine.pool.kept()), (2, (0, 0)));
    })
    .await;
}

#[tokio::test]
async fn connections_that_rest_too_long_are_closed() {
    play(async {
        let scene = Scene::with(Limits { idle_upstream: Duration::from_millis(10), ..Limits::default() });
        scene.answers(Protocol::Http1, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        scene.exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert_eq!(scene.engine.pool.kept(), (1, 0));
        soon(async {
            while scene.engine.pool.kept() != (0, 0) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_ends_lets_what_is_open_finish() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1)], |_| {});
        let gate = Rc::new(tokio::sync::Notify::new());
        let wait = Rc::clone(&gate);
        scene.serve(at(1), move |mut stream| {
            let wait = Rc::clone(&wait);
            async move {
                while read_head(&mut stream).await.is_some() {
                    wait.notified().await;
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
                }
            }
        });
        let mut idle = scene.client();
        let mut busy = scene.client();
        busy.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut requests = scene.http2().await;
        let (response, _) = requests.send_request(get("/"), true).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        scene.engine.drain();
        assert_eq!(read_all(&mut idle).await, "");
        gate.notify_waiters();
        let answer = read_all(&mut busy).await;
        assert!(answer.ends_with("ok") && answer.contains("connection: close"), "{answer}");
        let response = soon(response).await.unwrap();
        assert_eq!(soon(collect(response.into_body())).await.unwrap().0, b"ok");
        // GOAWAY was said.
        soon(async {
            while requests.clone().ready().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        assert_eq!(scene.engine.pool.kept(), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_never_came_is_not_replaced_by_the_next() {
    play(async {
        let scene = Scene::new();
        scene.forward(Protocol::Http1, &[at(1)], |_| {});
        scene.serve(at(1), |mut stream| async move {
            let head = read_head(&mut stream).await.unwrap();
            if head.starts_with("GET /first") {
                std::future::pending().await
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n#2").await.unwrap();
        });
        let mut client = scene.client();
        let both = "GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n";
        client.write_all(both.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut client).await, "");
        assert_eq!(scene.ending().await, Ending::ClientGone);
    })
    .await;
}

/// What a connection costs while nothing, and while something, happens on it.
#[tokio::test]
async fn connections_are_small() {
    play(async {
        let scene = Scene::new();
        let (_near, far) = duplex(PIPE);
        let serving = scene.engine.serve(Box::new(far), scene.connection(Speaks::Http));
        assert!(size_of_val(&serving) <= 4 << 10, "{}", size_of_val(&serving));
    })
    .await;
}
