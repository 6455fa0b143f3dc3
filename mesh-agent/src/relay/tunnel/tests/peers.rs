//! Peers that allow less than ours do: their SETTINGS are kept to.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use mesh_ebpf::abi::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio_rustls::TlsAcceptor;

use super::{PORT, Scene, destination, is_reset, scene, until};
use crate::relay::tls::server_config;

/// What a foreign peer allows, and what it saw.
#[derive(Debug, Default)]
struct Foreign {
    streams: Option<u32>,
    window: Option<u32>,
    tunnels: Cell<usize>,
    served: Cell<usize>,
}

/// A peer that shares no code with ours but TLS: it answers 200 and sends back what comes.
async fn foreign(scene: &Scene, foreign: Foreign) -> Rc<Foreign> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    scene.route_tunnel(listener.local_addr().unwrap());
    let config = server_config(&scene.authority.certificate("vault"), &scene.destination.worker.trust);
    let foreign = Rc::new(foreign);
    let shared = Rc::clone(&foreign);
    spawn_local(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            spawn_local(serve(Rc::clone(&shared), TlsAcceptor::from(config.clone()), socket));
        }
    });
    foreign
}

async fn serve(foreign: Rc<Foreign>, tls: TlsAcceptor, socket: TcpStream) {
    let stream = tls.accept(socket).await.unwrap();
    let mut builder = h2::server::Builder::new();
    if let Some(streams) = foreign.streams {
        builder.max_concurrent_streams(streams);
    }
    if let Some(window) = foreign.window {
        builder.initial_window_size(window);
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    foreign.tunnels.set(foreign.tunnels.get() + 1);
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let foreign = Rc::clone(&foreign);
        spawn_local(async move {
            foreign.served.set(foreign.served.get() + 1);
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            let mut receive = request.into_body();
            while let Some(Ok(data)) = receive.data().await {
                let _ = receive.flow_control().release_capacity(data.len());
                send.send_data(data, false).unwrap();
            }
            let _ = send.send_data(Bytes::new(), true);
        });
    }
}

async fn echoes(client: &mut TcpStream) {
    client.write_all(b"x").await.unwrap();
    client.read_exact(&mut [0]).await.unwrap();
}

#[test]
fn what_a_tunnel_does_not_take_gets_another() {
    for limit in [1, 3] {
        scene(async |scene| {
            let peer = foreign(&scene, Foreign { streams: Some(limit), ..Foreign::default() }).await;
            let mut clients = Vec::new();
            for _ in 0..9 {
                clients.push(scene.dial().await);
            }
            let start = Instant::now();
            for client in &mut clients {
                echoes(client).await;
            }
            assert!(start.elapsed() < Duration::from_secs(5), "nobody waits for another to end");
            assert_eq!(peer.tunnels.get(), 9_usize.div_ceil(limit as usize));
            drop(clients);
            let worker = Rc::clone(&scene.source.worker);
            until("every stream closed", || worker.open.streams() == 0).await;
            echoes(&mut scene.dial().await).await;
            assert_eq!(peer.tunnels.get(), 9_usize.div_ceil(limit as usize), "they are used again");
        });
    }
}

#[test]
fn a_peer_that_says_nothing_of_streams_takes_them_on_one_tunnel() {
    scene(async |scene| {
        let peer = foreign(&scene, Foreign::default()).await;
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(scene.dial().await);
        }
        for client in &mut clients {
            echoes(client).await;
        }
        assert_eq!(peer.tunnels.get(), 1);
    });
}

#[test]
fn a_peer_that_takes_no_stream_is_told_so_at_once() {
    scene(async |mut scene| {
        let peer = foreign(&scene, Foreign { streams: Some(0), ..Foreign::default() }).await;
        let start = Instant::now();
        let mut clients = Vec::new();
        for _ in 0..5 {
            clients.push(scene.dial().await);
        }
        for client in &mut clients {
            assert!(is_reset(&client.read(&mut [0]).await));
            let report = scene.source.ended().await;
            assert_eq!(report.reason, Reason::PeerFailed, "{}", report.detail);
            assert!(report.detail.contains("allows no streams"), "{}", report.detail);
        }
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        assert!(peer.tunnels.get() <= 5, "{}", peer.tunnels.get());
        assert_eq!(peer.served.get(), 0);
    });
}

#[test]
fn a_peer_that_never_says_is_not_waited_for_long() {
    scene(async |mut scene| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        scene.route_tunnel(listener.local_addr().unwrap());
        let config = server_config(&scene.authority.certificate("vault"), &scene.destination.worker.trust);
        spawn_local(async move {
            let mut held = Vec::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                held.push(TlsAcceptor::from(config.clone()).accept(socket).await.unwrap());
            }
        });
        let _first = scene.dial().await;
        let _second = scene.dial().await;
        let report = scene.source.ended().await;
        assert_eq!(report.reason, Reason::PeerNotHbone, "{}", report.detail);
        assert!(report.detail.contains("no SETTINGS within 5 seconds"), "{}", report.detail);
    });
}

#[test]
fn a_window_of_one_byte_is_enough() {
    scene(async |scene| {
        let _peer = foreign(&scene, Foreign { window: Some(1), ..Foreign::default() }).await;
        let mut client = scene.dial().await;
        let sent: Vec<u8> = (0..3000).map(|at| (at * 7) as u8).collect();
        let (mut read, mut write) = client.split();
        let send = async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        tokio::join!(send, async { read.read_to_end(&mut received).await.unwrap() });
        assert_eq!(received, sent);
    });
}

#[test]
fn a_client_with_a_window_of_one_byte_is_served() {
    scene(async |scene| {
        let socket = TcpStream::connect(scene.tunnel).await.unwrap();
        let stream = super::refusing::greeted(&scene, socket).await;
        let (requests, connection) =
            h2::client::Builder::new().initial_window_size(1).handshake::<_, Bytes>(stream).await.unwrap();
        spawn_local(connection);
        let mut requests = requests.ready().await.unwrap();
        let uri = format!("{}:{PORT}", destination());
        let (answer, _send) = requests.send_request(Request::connect(uri).body(()).unwrap(), false).unwrap();
        let (mut server, _) = scene.application.accept().await.unwrap();
        let mut body = answer.await.unwrap().into_body();
        let sent: Vec<u8> = (0..3000).map(|at| (at * 7) as u8).collect();
        server.write_all(&sent).await.unwrap();
        drop(server);
        let mut received = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            received.extend_from_slice(&data);
        }
        assert_eq!(received, sent);
    });
}
