//! What may not stay open is closed: by a change of policy, a revocation, the pod's end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_api::NodeTag;
use mesh_ebpf::abi::Reason;
use tokio::io::AsyncReadExt;

use super::{is_reset, scene};
use crate::relay::compile::denies_all;
use crate::relay::tls::testing::Wanted;

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
fn a_tunnel_ends_with_its_peers_certificate() {
    scene(async |mut scene| {
        let wanted = Wanted {
            not_after: SystemTime::now() + Duration::from_secs(3),
            ..Wanted::new(&scene.authority.id("teller").to_string())
        };
        scene.source.worker.identities.give(scene.authority.issue(&wanted));
        let (mut client, _server) = scene.pair().await;
        scene.source.worker.identities.give(scene.authority.certificate("teller"));
        assert!(is_reset(&client.read(&mut [0]).await));
        assert_eq!(scene.destination.ended().await.reason, Reason::CertificateExpired);
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
