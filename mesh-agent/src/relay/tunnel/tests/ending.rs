//! What may not stay open is closed: by a change of policy, a revocation, the pod's end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_api::NodeTag;
use mesh_ebpf::abi::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{is_reset, scene, until};
use crate::relay::compile::denies_all;
use crate::relay::tls::testing::{Authority, Wanted};

#[test]
fn a_policy_that_now_denies_closes_what_it_let_in() {
    scene(async |mut scene| {
        let (mut client, mut server) = scene.pair().await;
        scene.police(Some(&denies_all()));
        scene.destination.worker.judge_again();
        assert!(is_reset(&client.read(&mut [0]).await));
        let end = server.read(&mut [0]).await;
        assert!(is_reset(&end), "{end:?}");
        assert_eq!(scene.reasons().await, (Reason::Reset, Reason::PolicyChanged));
    });
}

#[test]
fn the_tunnels_of_a_removed_node_are_closed() {
    scene(async |mut scene| {
        let (mut client, mut server) = scene.pair().await;
        let bundle = scene.authority.bundle_revoking([NodeTag::new("n1", 1)]);
        scene.destination.worker.doubt(&bundle);
        assert!(is_reset(&client.read(&mut [0]).await));
        let end = server.read(&mut [0]).await;
        assert!(is_reset(&end), "{end:?}");
        assert_eq!(scene.reasons().await, (Reason::PeerFailed, Reason::CertificateRevoked));
        let same = scene.authority.bundle();
        let (client, server) = scene.pair().await;
        scene.destination.worker.doubt(&same);
        scene.source.worker.doubt(&same);
        drop((client, server));
        assert_eq!(scene.reasons().await, (Reason::Finished, Reason::Finished));
    });
}

#[test]
fn a_removed_nodes_tunnels_are_closed_also_where_their_root_is_gone() {
    // A tunnel outlives its certificate and its root: neither may hide that its node was removed.
    let removed = Authority::new("cluster.local").bundle_revoking([NodeTag::new("n1", 1)]);
    scene(async |mut scene| {
        let (mut client, _server) = scene.pair().await;
        scene.destination.worker.doubt(&removed);
        assert!(is_reset(&client.read(&mut [0]).await));
        assert_eq!(scene.reasons().await, (Reason::PeerFailed, Reason::CertificateRevoked));
    });
    scene(async |mut scene| {
        let (mut client, _server) = scene.pair().await;
        scene.destination.worker.doubt(&Authority::new("other.example").bundle());
        assert!(is_reset(&client.read(&mut [0]).await));
        assert_eq!(scene.reasons().await, (Reason::PeerFailed, Reason::TrustDomainMismatch));
    });
}

#[test]
fn what_a_rotation_leaves_behind_may_finish() {
    scene(async |mut scene| {
        let (mut client, mut server) = scene.pair().await;
        // The root is gone: the tunnel takes no new streams, on either side.
        let rotated = Authority::new("cluster.local").bundle();
        scene.source.worker.doubt(&rotated);
        scene.destination.worker.doubt(&rotated);
        let (second, _keep) = scene.pair().await;
        assert_eq!(scene.source.count(|counts| &counts.handshakes), 2);
        client.write_all(b"x").await.unwrap();
        server.read_exact(&mut [0]).await.unwrap();
        drop((client, server));
        assert_eq!(scene.reasons().await, (Reason::Finished, Reason::Finished));
        let counts = scene.destination.worker.reporter.counts().clone();
        let up = move || counts.tunnels_in.load(std::sync::atomic::Ordering::Relaxed);
        until("the old tunnel ends with its last stream", || up() == 1).await;
        drop(second);
    });
}

#[test]
fn a_tunnel_takes_no_streams_once_its_peers_certificate_is_nearly_over() {
    scene(async |mut scene| {
        let wanted = Wanted {
            not_after: SystemTime::now() + Duration::from_secs(2),
            ..Wanted::new(&scene.authority.id("vault").to_string())
        };
        scene.destination.worker.identities.give(scene.authority.issue(&wanted));
        let (mut client, mut server) = scene.pair().await;
        scene.destination.worker.identities.give(scene.authority.certificate("vault"));
        tokio::time::sleep(Duration::from_millis(2100)).await;
        let (second, _keep) = scene.pair().await;
        assert_eq!(scene.source.count(|counts| &counts.handshakes), 2);
        client.write_all(b"x").await.unwrap();
        server.read_exact(&mut [0]).await.unwrap();
        drop((client, server));
        assert_eq!(scene.reasons().await, (Reason::Finished, Reason::Finished));
        drop(second);
    });
}

#[test]
fn a_pods_end_is_the_end_of_its_connections() {
    scene(async |mut scene| {
        let (mut client, _server) = scene.pair().await;
        scene.destination.worker.forget(&Arc::from("uid-other"));
        scene.destination.worker.forget(&Arc::from("uid-vault"));
        assert!(is_reset(&client.read(&mut [0]).await));
        assert_eq!(scene.destination.ended().await.reason, Reason::EndpointGone);
        let (mut client, _server) = scene.pair().await;
        scene.source.worker.forget(&Arc::from("uid-teller"));
        assert!(is_reset(&client.read(&mut [0]).await));
    });
}
