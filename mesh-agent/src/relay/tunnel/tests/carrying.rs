//! Bytes arrive, whole, both ways, and so do ends.

use std::sync::Arc;
use std::time::Duration;

use mesh_ebpf::abi::Reason;
use sha2::{Digest, Sha256};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::{PORT, Scene, destination, is_reset, scene, source};
use crate::relay::tunnel::report::{PeerIdentity, Side, Stage};
use crate::relay::tunnel::session::{SEND_BUFFER, STREAM_WINDOW, STREAMS};

/// Sends bytes that do not repeat soon and finishes; gives the sum of what came back.
async fn exchange(mut socket: TcpStream, seed: u8, bytes: usize) -> ([u8; 32], [u8; 32], TcpStream) {
    let sent: Vec<u8> = (0..bytes).map(|at| (at / 251 + at * 7) as u8 ^ seed).collect();
    let sum = Sha256::digest(&sent).into();
    let mut received = Vec::new();
    {
        let (mut read, mut write) = socket.split();
        let send = async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let receive = async { read.read_to_end(&mut received).await.unwrap() };
        tokio::join!(send, receive);
    }
    (sum, Sha256::digest(&received).into(), socket)
}

#[test]
fn megabytes_go_both_ways_at_once() {
    scene(async |mut scene| {
        let (client, server) = scene.pair().await;
        let server = spawn_local(exchange(server, 0x55, 9 << 20));
        let (client_sent, client_got, client) = exchange(client, 0xaa, 11 << 20).await;
        let (server_sent, server_got, _server) = server.await.unwrap();
        assert_eq!((client_sent, server_sent), (server_got, client_got));
        let port = client.local_addr().unwrap().port();
        let (near, far) = (scene.source.ended().await, scene.destination.ended().await);
        assert_eq!((near.reason, far.reason), (Reason::Finished, Reason::Finished));
        for report in [&near, &far] {
            assert_eq!((report.sent, report.received), (11 << 20, 9 << 20), "{:?}", report.side);
            assert_eq!(report.stage, Stage::Closed);
            assert_eq!(report.source, Some((source(), port).into()), "the true client on both sides");
            assert_eq!(report.destination, Some((destination(), PORT).into()));
        }
        assert_eq!((near.side, far.side), (Side::Source, Side::Destination));
        let (teller, vault) = (scene.authority.id("teller"), scene.authority.id("vault"));
        assert_eq!(near.peer, PeerIdentity::Proven(Arc::new(vault.clone())));
        assert_eq!(far.peer, PeerIdentity::Proven(Arc::new(teller)));
        assert_eq!(far.own.as_deref(), Some(&vault));
        let clients = scene.destination.worker.sockets.clients.borrow();
        assert_eq!(*clients, [(source(), port).into()]);
    });
}

#[test]
fn either_side_may_finish_first() {
    scene(async |scene| {
        for server_first in [false, true] {
            let (client, server) = scene.pair().await;
            let (mut first, mut second) = if server_first { (server, client) } else { (client, server) };
            first.write_all(b"hello").await.unwrap();
            first.shutdown().await.unwrap();
            let mut heard = Vec::new();
            second.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"hello");
            second.write_all(b"still here").await.unwrap();
            drop(second);
            heard.clear();
            first.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"still here");
        }
    });
}

#[test]
fn a_reset_on_one_side_is_a_reset_on_the_other() {
    scene(async |mut scene| {
        for server_resets in [false, true] {
            let (client, server) = scene.pair().await;
            let (mut first, mut second) = if server_resets { (server, client) } else { (client, server) };
            let mut byte = [0];
            second.write_all(b"x").await.unwrap();
            first.read_exact(&mut byte).await.unwrap();
            SockRef::from(&first).set_linger(Some(Duration::ZERO)).unwrap();
            drop(first);
            assert!(is_reset(&second.read(&mut byte).await), "by the server: {server_resets}");
            assert_eq!(scene.reasons().await, (Reason::Reset, Reason::Reset));
        }
    });
}

#[test]
fn a_reset_is_heard_while_nothing_can_be_written() {
    scene(async |mut scene| {
        let (mut client, server) = scene.pair().await;
        let block = vec![0; 64 << 10];
        // Fill everything in between, then wait for room that never comes.
        while tokio::time::timeout(Duration::from_millis(300), client.write_all(&block)).await.is_ok() {}
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        assert_eq!(scene.source.ended().await.reason, Reason::Reset);
        assert_eq!(scene.destination.ended().await.reason, Reason::Reset);
        drop(server);
    });
}

#[test]
fn the_server_may_speak_first() {
    scene(async |scene| {
        let (mut client, mut server) = scene.pair().await;
        server.write_all(b"220 ready").await.unwrap();
        let mut greeting = [0; 9];
        client.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"220 ready");
    });
}

/// What both relays hold of what a server sent: read from it, and not written to the client.
fn held(scene: &Scene) -> u64 {
    scene.destination.count(|counts| &counts.bytes_received)
        - scene.source.count(|counts| &counts.bytes_received)
}

/// Writes until nothing more is taken for a while.
async fn stall(feeder: &mut TcpStream) {
    let block = vec![1; 64 << 10];
    while timeout(Duration::from_millis(300), feeder.write(&block)).await.is_ok() {}
}

#[test]
fn what_nobody_reads_waits_in_its_window_and_no_more() {
    scene(async |scene| {
        let (_stuck, mut feeder) = scene.pair().await;
        stall(&mut feeder).await;
        // The kernel's buffers before and behind the relays are the applications' own.
        let bound = u64::from(STREAM_WINDOW) + SEND_BUFFER as u64;
        assert!((1..=bound).contains(&held(&scene)), "{} of {bound}", held(&scene));
        assert!(bound < 1 << 20);
    });
}

#[test]
fn a_slow_reader_does_not_stop_its_neighbour() {
    scene(async |scene| {
        // One tunnel; nobody reads all but one of the connections it may have.
        let mut stuck = Vec::new();
        for _ in 1..STREAMS {
            stuck.push(scene.pair().await);
        }
        futures::future::join_all(stuck.iter_mut().map(|(_, feeder)| stall(feeder))).await;
        let (fast, server) = scene.pair().await;
        let server = spawn_local(exchange(server, 1, 8 << 20));
        let (client_sent, client_got, _client) = exchange(fast, 2, 8 << 20).await;
        let (server_sent, server_got, _server) = server.await.unwrap();
        assert_eq!((client_sent, server_sent), (server_got, client_got));
        assert_eq!(scene.source.count(|counts| &counts.handshakes), 1, "they share a tunnel");
        drop(stuck);
    });
}

#[test]
fn single_bytes_that_nobody_reads_do_not_end_the_tunnel() {
    scene(async |scene| {
        let (mut stuck, mut feeder) = scene.pair().await;
        let (mut client, mut server) = scene.pair().await;
        feeder.set_nodelay(true).unwrap();
        // Up to the point where the client's socket takes no more.
        let mut sent = 0;
        while held(&scene) == 0 {
            sent += feeder.write(&[1; 16 << 10]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // h2 gives a tunnel up for some 33,000 frames of one byte that wait.
        for _ in 0..40_000 {
            feeder.write_all(&[2]).await.unwrap();
            sent += 1;
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        }
        server.write_all(b"x").await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
        drop(feeder);
        let mut received = 0;
        let mut buffer = vec![0; 64 << 10];
        loop {
            match stuck.read(&mut buffer).await.unwrap() {
                0 => break,
                read => received += read,
            }
        }
        assert_eq!(received, sent, "every byte comes, late");
    });
}
