//! What may not be is refused with the documented status, and told with its reason.

use std::net::Ipv6Addr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use mesh_ebpf::abi::{FlowRecord, Origin, Reason};
use mesh_ebpf::policy::{Direction, rule};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Scene, destination, is_reset, plenty, run, scene, workload};
use crate::relay::compile::{compile, denies_all};
use crate::relay::resource::{Action, DirectionPolicy, Entry, Mtls, Rule, Tier, Workload};
use crate::relay::tls::testing::{Authority, HOUR, Wanted};
use crate::relay::tls::{client_config, server_name};
use crate::relay::tunnel::limits::Files;
use crate::relay::tunnel::report::Stage;
use crate::relay::world::Settled;

const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

/// The application sees a reset, and both sides say why.
async fn refused(scene: &mut Scene, near: Reason, far: Option<Reason>) {
    let mut client = scene.dial().await;
    assert!(is_reset(&client.read(&mut [0]).await), "{near:?}");
    let report = scene.source.ended().await;
    assert_eq!(report.reason, near, "{}", report.detail);
    if let Some(far) = far {
        let report = scene.destination.ended().await;
        assert_eq!(report.reason, far, "{}", report.detail);
    }
}

fn allows(groups: impl IntoIterator<Item = u64>) -> crate::handover::PolicySet {
    let rule = Rule {
        tier: Tier::Access,
        action: Action::Allow,
        audit: false,
        policy: "AccessPolicy/bank/vault".into(),
        name: "tellers".into(),
        peers: vec![Entry::Groups(groups.into_iter().collect())],
        ports: Vec::new(),
        mtls: Mtls::Preferred,
        requests: mesh_l7::access::rule::Requests::All,
    };
    let policy = DirectionPolicy { rules: vec![rule], isolated: true, ..DirectionPolicy::default() };
    compile(Direction::Ingress, &policy).unwrap()
}

#[test]
fn policy_decides_by_the_proven_name() {
    scene(async |mut scene| {
        scene.police(Some(&allows([7])));
        let (mut client, mut server) = scene.pair().await;
        client.write_all(b"x").await.unwrap();
        server.read_exact(&mut [0]).await.unwrap();
        drop((client, server));
        scene.reasons().await;
        scene.police(Some(&allows([9])));
        let mut client = scene.dial().await;
        assert!(is_reset(&client.read(&mut [0]).await));
        let (near, far) = (scene.source.ended().await, scene.destination.ended().await);
        assert_eq!((near.reason, far.reason), (Reason::PeerDenied, Reason::NoRuleAllows));
        assert_eq!(far.rule, rule::ISOLATED);
        assert!(near.detail.contains("AccessPolicy/bank/vault"), "a proven caller is told: {}", near.detail);
        scene.police(Some(&denies_all()));
        refused(&mut scene, Reason::PeerDenied, Some(Reason::PolicyMissing)).await;
    });
}

#[test]
fn an_application_that_refuses_is_told_apart() {
    scene(async |mut scene| {
        scene.dials(9999);
        refused(&mut scene, Reason::UpstreamRefused, Some(Reason::UpstreamRefused)).await;
        scene.source.worker.sockets.routes.borrow_mut().clear();
        scene.source.worker.pool.retire_all();
        refused(&mut scene, Reason::TunnelRefused, None).await;
    });
}

#[test]
fn whoever_is_not_expected_gets_no_bytes() {
    scene(async |mut scene| {
        let other = workload("other", destination(), 8);
        scene.source.worker.world.learn("vault", &other);
        refused(&mut scene, Reason::NameMismatch, Some(Reason::NameMismatch)).await;
        scene.source.worker.world.forget("vault");
        refused(&mut scene, Reason::EndpointGone, None).await;
    });
}

#[test]
fn certificates_that_do_not_count_are_named() {
    scene(async |mut scene| {
        let foreign = Authority::new("cluster.local");
        scene.source.worker.identities.give(foreign.certificate("teller"));
        refused(&mut scene, Reason::CertificateUntrusted, Some(Reason::CertificateUntrusted)).await;
        let now = SystemTime::now();
        let teller = Wanted::new(&scene.authority.id("teller").to_string());
        let early = Wanted { not_before: now + HOUR, not_after: now + 2 * HOUR, ..teller };
        scene.source.worker.identities.give(scene.authority.issue(&early));
        refused(&mut scene, Reason::CertificateExpired, Some(Reason::CertificateNotYetValid)).await;
        scene.source.worker.identities.unwant(&scene.authority.id("teller"), "test");
        refused(&mut scene, Reason::NoCertificate, None).await;
    });
}

#[test]
fn a_flow_that_nobody_published_is_reset() {
    scene(async |mut scene| {
        scene.source.worker.sockets.record.set(None);
        refused(&mut scene, Reason::FlowUnknown, None).await;
        scene.dials(80);
        let record = scene.source.worker.sockets.record.get().unwrap();
        for foreign in [
            FlowRecord { netns: 1, ..record },
            FlowRecord { uid: record.uid + 1, ..record },
            FlowRecord { flags: 0, ..record },
            FlowRecord { origin: Origin::Agent as u8, ..record },
        ] {
            scene.source.worker.sockets.record.set(Some(foreign));
            refused(&mut scene, Reason::FlowUnknown, None).await;
        }
    });
}

#[test]
fn an_address_that_went_to_another_pod_since_the_connect_is_refused() {
    scene(async |mut scene| {
        let mut successor = workload("vault", destination(), 9);
        successor.uid = "its successor's".into();
        scene.source.worker.world.learn("vault", &successor);
        let mut client = scene.dial().await;
        assert!(is_reset(&client.read(&mut [0]).await));
        let near = scene.source.ended().await;
        assert_eq!(near.reason, Reason::EndpointGone);
        assert!(near.detail.contains("another pod's by now"), "{}", near.detail);
    });
}

#[test]
fn what_speaks_no_hbone_is_told_so() {
    scene(async |mut scene| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        scene.route_tunnel(listener.local_addr().unwrap());
        spawn_local(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                socket.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        refused(&mut scene, Reason::PeerNotHbone, None).await;
    });
}

/// The teller's handshake with the vault.
pub(super) async fn greeted(scene: &Scene, socket: TcpStream) -> TlsStream<TcpStream> {
    let expected = [scene.authority.id("vault")].into();
    let certificate = scene.authority.certificate("teller");
    let config = client_config(&certificate, &scene.source.worker.trust, expected);
    TlsConnector::from(config).connect(server_name(destination()), socket).await.unwrap()
}

/// A client of the tunnel that shares no code with ours: TLS and h2 alone.
async fn foreign_client(scene: &Scene) -> h2::client::SendRequest<Bytes> {
    let stream = greeted(scene, TcpStream::connect(scene.tunnel).await.unwrap()).await;
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    spawn_local(connection);
    requests.ready().await.unwrap()
}

async fn status_of(scene: &Scene, method: Method, uri: &str) -> StatusCode {
    let mut requests = foreign_client(scene).await;
    let request = Request::builder().method(method).uri(uri).body(()).unwrap();
    let (answer, _body) = requests.send_request(request, false).unwrap();
    answer.await.unwrap().status()
}

#[test]
fn requests_that_are_malformed_or_for_others_get_400() {
    scene(async |mut scene| {
        for uri in
            ["10.0.0.9:8080", "127.0.0.1:8080", "[::1]:8080", "169.254.1.1:80", "0.0.0.0:80", "vault:80"]
        {
            assert_eq!(status_of(&scene, Method::CONNECT, uri).await, StatusCode::BAD_REQUEST, "{uri}");
            assert_eq!(scene.destination.ended().await.reason, Reason::BadRequest);
        }
        for method in [Method::GET, Method::POST] {
            let status = status_of(&scene, method, "http://10.0.0.2:8080/").await;
            assert_eq!(status, StatusCode::BAD_REQUEST);
            assert_eq!(scene.destination.ended().await.reason, Reason::BadRequest);
        }
        let status = status_of(&scene, Method::CONNECT, "10.0.0.2:9").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "nothing listens there");
        assert_eq!(status_of(&scene, Method::CONNECT, "10.0.0.2:8080").await, StatusCode::OK);
    });
}

#[test]
fn the_client_that_is_shown_has_the_tunnels_address() {
    scene(async |scene| {
        for (forwarded, port) in
            [("for=\"10.0.0.1:4711\"", Some(4711)), ("for=\"10.9.9.9:4711\"", None), ("???", None)]
        {
            let mut requests = foreign_client(&scene).await;
            let request = Request::connect("10.0.0.2:8080").header("forwarded", forwarded).body(()).unwrap();
            let (answer, _body) = requests.send_request(request, false).unwrap();
            assert_eq!(answer.await.unwrap().status(), StatusCode::OK);
            let client = scene.destination.worker.sockets.clients.borrow_mut().pop().unwrap();
            assert_eq!(client.ip(), super::source());
            assert_eq!(client.port() == 4711, port.is_some(), "{forwarded}");
        }
    });
}

#[test]
fn a_half_client_hello_is_cut_off_and_counted() {
    scene(async |mut scene| {
        let mut socket = TcpStream::connect(scene.tunnel).await.unwrap();
        socket.write_all(&[22, 3, 1, 2, 0, 1, 0]).await.unwrap();
        let report = scene.destination.ended().await;
        assert_eq!(report.reason, Reason::TlsFailed, "{}", report.detail);
        assert!(report.detail.contains("did not end within 5 seconds"), "{}", report.detail);
        assert_eq!(scene.destination.count(|counts| &counts.handshakes_under_way), 0);
    });
}

#[test]
fn relay_refuses_before_it_is_out_of_files() {
    // Every descriptor of the process is above a limit of 4.
    run(async || {
        let mut scene = Scene::with_files(Files::at_most(4, 1), plenty()).await;
        refused(&mut scene, Reason::RelayExhausted, None).await;
        assert_eq!(scene.source.count(|counts| &counts.shed), 1);
        assert_eq!(scene.destination.count(|counts| &counts.handshakes), 0, "nothing left the node");
    });
    run(async || {
        let mut scene = Scene::with_files(plenty(), Files::at_most(4, 1)).await;
        let mut client = scene.dial().await;
        assert!(is_reset(&client.read(&mut [0]).await));
        let report = scene.destination.ended().await;
        assert_eq!((report.reason, report.stage), (Reason::RelayExhausted, Stage::Refused));
        assert_eq!(scene.destination.count(|counts| &counts.shed), 1);
    });
}

#[test]
fn a_delivery_into_the_last_files_is_refused_and_counted() {
    run(async || {
        let mut scene = Scene::with_files(plenty(), Files::at_most(1000, 1)).await;
        scene.destination.worker.sockets.deliveries_from.set(Some(960));
        let far = Some(Reason::RelayExhausted);
        refused(&mut scene, Reason::RelayExhausted, far).await;
        assert_eq!(scene.destination.count(|counts| &counts.shed), 1);
        assert_eq!(scene.source.count(|counts| &counts.shed), 0, "it was the other relay's bound");
        scene.destination.worker.sockets.deliveries_from.set(None);
        scene.pair().await;
    });
}

#[test]
fn a_client_of_another_address_family_is_not_made_up() {
    scene(async |mut scene| {
        let dual = Workload { addresses: vec![destination(), V6.into()], ..workload("vault", V6.into(), 8) };
        scene
            .destination
            .worker
            .world
            .settle("uid-vault", Some(Settled { workload: &dual, ingress: None, egress: None, rules: None }));
        let status = status_of(&scene, Method::CONNECT, &format!("[{V6}]:8080")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let report = scene.destination.ended().await;
        assert_eq!(report.reason, Reason::BadRequest);
        assert!(report.detail.contains("address family"), "{}", report.detail);
        assert!(scene.destination.worker.sockets.clients.borrow().is_empty(), "nothing was connected");
    });
}
