//! Tunnels are shared, bounded, replaced when they should be.

use mesh_ebpf::abi::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{scene, until};

#[test]
fn connections_share_a_tunnel() {
    scene(async |mut scene| {
        for _ in 0..10 {
            drop(scene.pair().await);
            scene.reasons().await;
        }
        assert_eq!(scene.source.count(|counts| &counts.handshakes), 1);
        assert_eq!(scene.source.count(|counts| &counts.pool_hits), 9);
        assert_eq!(scene.source.worker.pool.len(), 1);
    });
}

#[test]
fn a_tunnel_carries_so_many_streams_and_then_there_is_another() {
    scene(async |scene| {
        let mut clients = Vec::new();
        for _ in 0..100 {
            clients.push(scene.dial().await);
        }
        let mut servers = Vec::new();
        for _ in 0..100 {
            servers.push(scene.application.accept().await.unwrap().0);
        }
        assert_eq!(scene.source.count(|counts| &counts.handshakes), 2);
        assert_eq!(scene.destination.count(|counts| &counts.tunnels_in), 2);
        for server in &mut servers {
            server.write_all(b"x").await.unwrap();
        }
        for client in &mut clients {
            client.read_exact(&mut [0]).await.unwrap();
        }
        drop((clients, servers));
        let open = scene.source.worker.clone();
        until("every stream closed", || open.open.streams() == 0).await;
    });
}

#[test]
fn a_new_certificate_means_a_new_tunnel_and_nothing_breaks() {
    scene(async |scene| {
        let (mut client, mut server) = scene.pair().await;
        scene.source.worker.identities.give(scene.authority.certificate("teller"));
        let (second, _keep) = scene.pair().await;
        assert_eq!(scene.source.count(|counts| &counts.handshakes), 2);
        client.write_all(b"x").await.unwrap();
        server.read_exact(&mut [0]).await.unwrap();
        assert_eq!(scene.destination.count(|counts| &counts.tunnels_in), 2);
        drop((client, server));
        let destination = scene.destination.worker.reporter.counts().clone();
        let tunnels = move || destination.tunnels_in.load(std::sync::atomic::Ordering::Relaxed);
        until("the old tunnel is gone with its last stream", || tunnels() == 1).await;
        drop(second);
    });
}

#[test]
fn a_goaway_lets_open_connections_finish_and_those_that_are_on_their_way() {
    scene(async |mut scene| {
        let (mut client, mut server) = scene.pair().await;
        scene.destination.worker.draining.close(Reason::Draining);
        // The other end is leaving, and this one has not heard it yet.
        let (mut late, mut late_server) = scene.pair().await;
        late.write_all(b"x").await.unwrap();
        late_server.read_exact(&mut [0]).await.unwrap();
        drop((late, late_server));
        client.write_all(b"still").await.unwrap();
        let mut heard = [0; 5];
        server.read_exact(&mut heard).await.unwrap();
        server.write_all(b"here").await.unwrap();
        drop(server);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"here");
        drop(client);
        let mut reasons = [scene.source.ended().await.reason, scene.source.ended().await.reason];
        reasons.sort();
        assert_eq!(reasons, [Reason::Finished, Reason::Finished]);
    });
}
