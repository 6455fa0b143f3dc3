//! Every fault, against handshakes in this process.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_api::{NodeTag, SpiffeId};
use mesh_ebpf::abi::Reason;
use rcgen::ExtendedKeyUsagePurpose;
use rustls::{ClientConfig, ProtocolVersion, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::testing::{Authority, HOUR, Wanted};
use super::verify::{CLOCK_SKEW, End, verify};
use super::{Bundle, Expected, PeerName, TlsFault, Trust};
use super::{client_config, control_config, fault_of, peer_of, server_config, server_name};
use crate::relay::identity::Certificate;

const TD: &str = "cluster.local";

/// What each end has to say of a handshake: who the peer is, or what went wrong.
struct Outcome {
    client: Result<PeerName, TlsFault>,
    server: Result<PeerName, TlsFault>,
    version: Option<ProtocolVersion>,
    group: Option<rustls::NamedGroup>,
}

/// Shakes hands, and then lets each side read once: a refusal of the client's certificate comes to
/// the client with its first read.
async fn shake(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Outcome {
    let (near, far) = duplex(64 << 10);
    let connecting = async move {
        let name = server_name("127.0.0.1".parse().unwrap());
        let mut stream = TlsConnector::from(client).connect(name, near).await?;
        let (version, group) = {
            let connection = stream.get_ref().1;
            (
                connection.protocol_version(),
                connection.negotiated_key_exchange_group().map(|group| group.name()),
            )
        };
        stream.write_all(b"x").await?;
        stream.read_u8().await?;
        io::Result::Ok((peer_of(stream.get_ref().1), version, group))
    };
    let accepting = async move {
        let mut stream = TlsAcceptor::from(server).accept(far).await?;
        stream.write_all(b"x").await?;
        stream.read_u8().await?;
        let peer = peer_of(stream.get_ref().1);
        stream.shutdown().await?;
        io::Result::Ok(peer)
    };
    let (client, server) = tokio::join!(connecting, accepting);
    let (version, group) = client.as_ref().map_or((None, None), |(_, version, group)| (*version, *group));
    Outcome {
        client: client.map_err(|error| fault_of(&error)).and_then(|(peer, ..)| peer),
        server: server.map_err(|error| fault_of(&error)).and_then(|peer| peer),
        version,
        group,
    }
}

/// `client` opens a tunnel to `server`, which it takes for one of `expected`; each believes `trust`.
async fn tunnel(
    client: &Certificate,
    server: &Certificate,
    trust: &Arc<Trust>,
    expected: &[SpiffeId],
) -> Outcome {
    let expected: BTreeSet<SpiffeId> = expected.iter().cloned().collect();
    shake(client_config(client, trust, expected), server_config(server, trust)).await
}

#[tokio::test]
async fn both_names_are_proven_over_tls13_with_a_post_quantum_exchange() {
    let authority = Authority::new(TD);
    let (teller, vault) = (authority.certificate("teller"), authority.certificate("vault"));
    let outcome = tunnel(&teller, &vault, &authority.trust(), &[authority.id("vault")]).await;
    let (client, server) = (outcome.client.unwrap(), outcome.server.unwrap());
    assert_eq!(client.id, authority.id("vault"));
    assert_eq!(server.id, authority.id("teller"));
    assert_eq!(server.tag, Some(NodeTag::new("n1", 1)));
    assert_eq!(server.serial, teller.serial);
    assert_eq!(outcome.version, Some(ProtocolVersion::TLSv1_3));
    assert_eq!(outcome.group, Some(rustls::NamedGroup::X25519MLKEM768));
}

/// The server shows something that is wrong: what the client says, and what the server is told.
async fn wrong_server(wrong: impl FnOnce(&Authority) -> Certificate) -> (TlsFault, TlsFault) {
    let authority = Authority::new(TD);
    let server = wrong(&authority);
    let teller = authority.certificate("teller");
    let outcome = tunnel(&teller, &server, &authority.trust(), &[authority.id("vault")]).await;
    (outcome.client.unwrap_err(), outcome.server.unwrap_err())
}

/// The same for the client.
async fn wrong_client(wrong: impl FnOnce(&Authority) -> Certificate) -> (TlsFault, TlsFault) {
    let authority = Authority::new(TD);
    let client = wrong(&authority);
    let vault = authority.certificate("vault");
    let outcome = tunnel(&client, &vault, &authority.trust(), &[authority.id("vault")]).await;
    (outcome.server.unwrap_err(), outcome.client.unwrap_err())
}

type Wrong = fn(&Authority) -> Certificate;

fn wanted(authority: &Authority) -> Wanted {
    Wanted::new(&authority.id("vault").to_string())
}

/// A certificate that is wrong, the reason at the end that sees it, a part of its text, and the
/// reason at the end that is told.
const WRONG: &[(Wrong, Reason, &str, Reason)] = &[
    (
        |_| Authority::new(TD).certificate("vault"),
        Reason::CertificateUntrusted,
        "does not chain to a root",
        Reason::CertificateUntrusted,
    ),
    (
        |authority| authority.self_signed(&wanted(authority)),
        Reason::CertificateUntrusted,
        "self-signed",
        Reason::CertificateUntrusted,
    ),
    (
        |authority| {
            let now = SystemTime::now();
            authority.issue(&Wanted {
                not_before: now - 2 * HOUR,
                not_after: now - HOUR,
                ..wanted(authority)
            })
        },
        Reason::CertificateExpired,
        "expired at 20",
        Reason::CertificateExpired,
    ),
    (
        |authority| {
            let now = SystemTime::now();
            authority.issue(&Wanted {
                not_before: now + HOUR,
                not_after: now + 2 * HOUR,
                ..wanted(authority)
            })
        },
        Reason::CertificateNotYetValid,
        "clock skew",
        Reason::CertificateExpired,
    ),
    (
        |authority| authority.issue(&Wanted::new("spiffe://other.example/ns/bank/sa/vault")),
        Reason::TrustDomainMismatch,
        "the peer is spiffe://other.example/ns/bank/sa/vault, of another trust domain than cluster.local",
        Reason::NameMismatch,
    ),
    (
        |authority| {
            let uris = vec![authority.id("vault").to_string(), authority.id("teller").to_string()];
            authority.issue(&Wanted { uris, ..wanted(authority) })
        },
        Reason::NameMismatch,
        "has 2 URI names (spiffe://cluster.local/ns/bank/sa/vault, spiffe://cluster.local/ns/bank/sa/teller)",
        Reason::NameMismatch,
    ),
    (
        |authority| authority.issue(&Wanted::new("spiffe://cluster.local/mesh/node/n1")),
        Reason::NameMismatch,
        "`spiffe://cluster.local/mesh/node/n1` is not a workload's",
        Reason::NameMismatch,
    ),
    (
        |authority| authority.issue(&Wanted::new("spiffe://cluster.local/mesh/control")),
        Reason::NameMismatch,
        "is not a workload's",
        Reason::NameMismatch,
    ),
    (
        |authority| authority.issue(&Wanted { is_ca: true, ..wanted(authority) }),
        Reason::CertificateUntrusted,
        "CaUsedAsEndEntity",
        Reason::NameMismatch,
    ),
    (
        |authority| {
            let usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
            authority.issue(&Wanted { usages, ..wanted(authority) })
        },
        Reason::CertificateUntrusted,
        "must not be used like this",
        Reason::NameMismatch,
    ),
];

#[tokio::test]
async fn every_wrong_certificate_has_its_reason_at_both_ends() {
    for (index, (wrong, reason, part, told)) in WRONG.iter().enumerate() {
        for (seen, heard) in [wrong_server(wrong).await, wrong_client(wrong).await] {
            assert_eq!(seen.reason(), *reason, "{index}: {seen}");
            assert!(seen.to_string().contains(part), "{index}: {seen}");
            assert_eq!(heard.reason(), *told, "{index}: {heard}");
            assert!(
                heard.to_string().contains("the peer refused this side's certificate"),
                "{index}: {heard}"
            );
        }
    }
}

/// Whoever reaches the port can show what they like: it must not fill log and memory.
#[tokio::test]
async fn names_are_read_after_the_chain_and_their_text_is_bounded() {
    let authority = Authority::new(TD);
    let long = |index: usize| format!("spiffe://{TD}/ns/bank/sa/{index}{}", "x".repeat(1900));
    let many = Wanted { uris: (0..30).map(long).collect(), ..wanted(&authority) };
    let vault = authority.certificate("vault");
    for (client, part) in
        [(authority.self_signed(&many), "does not chain"), (authority.issue(&many), "has 30 URI names")]
    {
        let outcome = tunnel(&client, &vault, &authority.trust(), std::slice::from_ref(&vault.id)).await;
        let text = outcome.server.unwrap_err().to_string();
        assert!(text.contains(part) && text.len() < 400, "{}: {text}", text.len());
    }
}

#[tokio::test]
async fn another_pods_name_is_refused_with_both_names() {
    let authority = Authority::new(TD);
    let (teller, clerk) = (authority.certificate("teller"), authority.certificate("clerk"));
    let expected = [authority.id("vault"), authority.id("safe")];
    let outcome = tunnel(&teller, &clerk, &authority.trust(), &expected).await;
    let fault = outcome.client.unwrap_err();
    assert_eq!(fault.reason(), Reason::NameMismatch);
    let text = fault.to_string();
    assert!(text.contains("proved to be spiffe://cluster.local/ns/bank/sa/clerk"), "{text}");
    assert!(
        text.contains(
            "expected spiffe://cluster.local/ns/bank/sa/safe or spiffe://cluster.local/ns/bank/sa/vault"
        ),
        "{text}"
    );
}

#[tokio::test]
async fn a_removed_node_is_refused_from_the_next_handshake_on() {
    let authority = Authority::new(TD);
    let (teller, vault) = (authority.certificate("teller"), authority.certificate("vault"));
    let vault_elsewhere = authority
        .issue(&Wanted { tag: NodeTag::new("n2", 1), ..Wanted::new(&authority.id("vault").to_string()) });
    let trust = authority.trust();
    let expected = [authority.id("vault")];
    assert!(tunnel(&teller, &vault_elsewhere, &trust, &expected).await.client.is_ok());
    trust.replace(Arc::new(authority.bundle_revoking([NodeTag::new("n2", 1)])));
    let outcome = tunnel(&teller, &vault_elsewhere, &trust, &expected).await;
    assert_eq!(outcome.client, Err(TlsFault::Revoked));
    assert_eq!(outcome.server.unwrap_err().reason(), Reason::CertificateRevoked);
    assert!(tunnel(&teller, &vault, &trust, &expected).await.client.is_ok());
}

#[tokio::test]
async fn a_client_without_a_certificate_is_told_so() {
    let authority = Authority::new(TD);
    let vault = authority.certificate("vault");
    // As the controller's client is before it has joined, but to a workload.
    let anyone = super::client(authority.trust(), Expected::AnyWorkload, None);
    let outcome = shake(anyone, server_config(&vault, &authority.trust())).await;
    assert_eq!(outcome.server, Err(TlsFault::NoClientCertificate));
    assert_eq!(outcome.client.unwrap_err().reason(), Reason::NoClientCertificate);
}

#[tokio::test]
async fn without_alpn_there_is_no_tunnel() {
    let authority = Authority::new(TD);
    let (teller, vault) = (authority.certificate("teller"), authority.certificate("vault"));
    let trust = authority.trust();
    let mut config = (*client_config(&teller, &trust, BTreeSet::from([vault.id.clone()]))).clone();
    config.alpn_protocols.clear();
    let outcome = shake(Arc::new(config.clone()), server_config(&vault, &trust)).await;
    assert_eq!(outcome.server.unwrap_err().reason(), Reason::PeerNotHbone);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let outcome = shake(Arc::new(config), server_config(&vault, &trust)).await;
    assert_eq!(outcome.server.unwrap_err().reason(), Reason::PeerNotHbone);
    assert_eq!(outcome.client.unwrap_err().reason(), Reason::PeerNotHbone);
}

#[tokio::test]
async fn what_is_not_tls_is_no_tunnel() {
    let authority = Authority::new(TD);
    let teller = authority.certificate("teller");
    let config = client_config(&teller, &authority.trust(), BTreeSet::from([authority.id("vault")]));
    let (near, mut far) = duplex(4096);
    let answer = async {
        far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        far
    };
    let name = server_name("127.0.0.1".parse().unwrap());
    let (result, far) =
        tokio::join!(TlsConnector::from(Arc::clone(&config)).connect(name.clone(), near), answer);
    assert_eq!(fault_of(&result.err().unwrap()).reason(), Reason::PeerNotHbone);
    drop(far);
    let (near, far) = duplex(4096);
    drop(far);
    let error = TlsConnector::from(config).connect(name, near).await.err().unwrap();
    assert_eq!(fault_of(&error), TlsFault::Closed);
    assert_eq!(fault_of(&error).reason(), Reason::TlsFailed);
}

#[tokio::test]
async fn without_a_bundle_nobody_is_believed() {
    let authority = Authority::new(TD);
    let (teller, vault) = (authority.certificate("teller"), authority.certificate("vault"));
    let outcome = tunnel(&teller, &vault, &Arc::default(), &[authority.id("vault")]).await;
    assert_eq!(outcome.client, Err(TlsFault::NoRoots));
}

#[tokio::test]
async fn both_roots_count_while_they_are_rotated() {
    let (old, new) = (Authority::new(TD), Authority::new(TD));
    let roots = vec![old.root().clone(), new.root().clone()];
    let both = Bundle::new(TD, roots, BTreeSet::new(), Vec::new()).unwrap();
    let trust = Arc::new(Trust::new(Arc::new(both)));
    let outcome =
        tunnel(&old.certificate("teller"), &new.certificate("vault"), &trust, &[old.id("vault")]).await;
    assert!(outcome.client.is_ok() && outcome.server.is_ok());
}

#[tokio::test]
async fn only_the_controller_is_the_controller() {
    let authority = Authority::new(TD);
    let node = authority.issue(&Wanted::new("spiffe://cluster.local/mesh/node/n1"));
    let vault = authority.certificate("vault");
    let config = control_config(Some(&node.key), &authority.trust());
    let outcome = shake(config, server_config(&vault, &authority.trust())).await;
    let text = outcome.client.unwrap_err().to_string();
    assert!(text.contains("expected spiffe://cluster.local/mesh/control"), "{text}");
    let control = authority.issue(&Wanted::new("spiffe://cluster.local/mesh/control"));
    let (leaf, rest) = control.key.cert.split_first().unwrap();
    let now = SystemTime::now();
    assert_eq!(verify(&authority.bundle(), leaf, rest, now, End::Server, &Expected::Controller), Ok(()));
}

#[test]
fn clocks_may_differ_a_little() {
    let authority = Authority::new(TD);
    let certificate = authority.certificate("vault");
    let bundle = authority.bundle();
    let (leaf, rest) = certificate.key.cert.split_first().unwrap();
    let at = |now| verify(&bundle, leaf, rest, now, End::Client, &Expected::AnyWorkload);
    let second = Duration::from_secs(1);
    assert_eq!(at(certificate.not_before - CLOCK_SKEW + second), Ok(()));
    assert!(matches!(at(certificate.not_before - CLOCK_SKEW - second), Err(TlsFault::NotYetValid { .. })));
    assert_eq!(at(certificate.not_after - second), Ok(()));
    assert!(matches!(at(certificate.not_after + second), Err(TlsFault::Expired { .. })));
}
