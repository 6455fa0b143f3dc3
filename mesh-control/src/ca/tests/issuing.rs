//! What is signed, for whom, and what is not.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256};
use rustls::{RootCertStore, pki_types::UnixTime, server::WebPkiClientVerifier};
use x509_parser::extensions::{GeneralName, ParsedExtension};

use super::{Stage, csr, csr_of, peer};
use crate::ca::{Peer, PeerError};

#[test]
fn a_token_lets_its_node_join_once() {
    let stage = Stage::new();
    let (n1, n2) = (stage.join_file("n1"), stage.join_file("n2"));
    let refused = |node: &str, token: &str| {
        stage.authority.join(node, token, &csr(), stage.now).unwrap_err().to_string()
    };
    assert!(refused("n1", &n2.token).contains("the token is not the one of node n1"));
    assert!(refused("n1", "").contains("the token is not the one of node n1"));
    assert!(refused("n9", &n1.token).contains("there is no node `n9`"));
    // A request that is refused costs no token.
    assert!(stage.authority.join("n1", &n1.token, b"no csr", stage.now).is_err());
    assert_eq!(stage.join("n1").id.to_string(), "spiffe://cluster.local/mesh/node/n1");
    assert!(!stage.has_join_file("n1") && stage.has_join_file("n2"), "a used file is removed");
    assert!(refused("n1", &n1.token).contains(
        "has been used; if the node has lost its certificate, make a new one with `meshctl ca join NODE`"
    ));
}

#[test]
fn an_expired_token_is_refused_and_a_new_one_is_to_be_had() {
    let mut stage = Stage::new();
    let old = stage.join_file("n1").token;
    stage.step(3600);
    assert!(!stage.has_join_file("n1"), "nobody can use it any more");
    let error = stage.authority.join("n1", &old, &csr(), stage.now).unwrap_err().to_string();
    assert!(
        error.contains("the join token of node n1 expired at 20") && error.contains("`meshctl ca join NODE`"),
        "{error}"
    );
    let report = stage.authority.invite_again("n1", stage.now).unwrap();
    assert!(report.file.ends_with("join/n1"));
    stage.join("n1");
    assert!(stage.authority.invite_again("n9", stage.now).unwrap_err().to_string().contains("no node `n9`"));
}

#[test]
fn a_node_is_given_the_identities_of_its_own_live_enrolled_pods_only() {
    let stage = Stage::new();
    let n1 = stage.join("n1");
    let refused = |uid: &str| stage.issue(&n1, uid).unwrap_err().to_string();
    assert!(stage.issue(&n1, "u-a").is_ok());
    assert_eq!(
        refused("u-b"),
        "pod u-b is not on node n1: a node is given the identities of its own pods only"
    );
    assert!(refused("u-x").contains("pod u-x is not known"));
    stage.place("a", "n1", "web", true, true);
    assert!(refused("u-a").contains("pod shop/a (u-a) has ended"));
    stage.place("a", "n1", "web", false, false);
    assert!(refused("u-a").contains("pod shop/a (u-a) is not enrolled"));
    // Two manifests by hand with one UID: which of them is meant cannot be told.
    stage.place("a", "n1", "web", true, false);
    let twin = crate::ca::Placement {
        uid: "u-a".into(),
        node: "n1".into(),
        service_account: "admin".into(),
        enrolled: true,
        ended: false,
    };
    stage.placements.update([(crate::objects::ObjectName::new("bank", "twin"), Some(twin))]);
    assert!(
        refused("u-a").contains("UID u-a is that of bank/twin, shop/a")
            || refused("u-a").contains("UID u-a is that of shop/a, bank/twin")
    );
}

#[test]
fn of_a_request_only_the_key_and_its_proof_count() {
    let stage = Stage::new();
    let n1 = stage.join("n1");
    let key = KeyPair::generate().unwrap();
    let named = csr_of(&key, &["spiffe://cluster.local/ns/bank/sa/vault"]);
    let signed = stage.authority.issue(&n1, "u-a", &named, stage.now).unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(&signed.chain[0]).unwrap();
    assert_eq!(leaf.public_key().subject_public_key.data.as_ref(), rcgen::PublicKeyData::der_bytes(&key));
    assert_eq!(uris(&leaf), ["spiffe://cluster.local/ns/shop/sa/web"]);
    assert!(leaf.subject().as_raw().len() == 2, "the subject is empty");

    let refused = |csr: &[u8]| stage.authority.issue(&n1, "u-a", csr, stage.now).unwrap_err().to_string();
    let mut forged = named.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert!(refused(&forged).contains("csr: "), "{}", refused(&forged));
    let of = |algorithm| {
        let key = KeyPair::generate_for(algorithm).unwrap();
        CertificateParams::default().serialize_request(&key).unwrap().der().to_vec()
    };
    for csr in [of(&PKCS_RSA_SHA256), of(&PKCS_ECDSA_P384_SHA384)] {
        assert_eq!(refused(&csr), "csr has a key that is not P-256; make an ECDSA P-256 key");
    }
    assert!(refused(&[0x30; 5000]).contains("5000 bytes"));
    assert!(refused(b"").contains("csr: "));
}

fn uris(certificate: &x509_parser::certificate::X509Certificate<'_>) -> Vec<String> {
    let names = certificate.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(names.general_names.iter()),
        _ => None,
    });
    names
        .flatten()
        .map(|name| match name {
            GeneralName::URI(uri) => (*uri).to_owned(),
            other => panic!("{other}"),
        })
        .collect()
}

#[test]
fn a_leaf_is_what_a_verifier_expects() {
    let stage = Stage::new();
    let n1 = stage.join("n1");
    let signed = stage.issue(&n1, "u-a").unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(&signed.chain[0]).unwrap();
    let before = stage.now.unix() - u64::try_from(leaf.validity().not_before.timestamp()).unwrap();
    assert!((60..=300).contains(&before), "{before}");
    assert_eq!(leaf.validity().not_after.timestamp(), i64::try_from(stage.now.unix()).unwrap() + 24 * 3600);
    assert!(!leaf.is_ca() && leaf.basic_constraints().unwrap().is_some());
    let usage = leaf.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.digital_signature() && usage.value.flags == 1);
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && extended.client_auth && !extended.any);
    assert_eq!(mesh_api::NodeTag::of_serial(leaf.raw_serial()), Some(n1.tag), "{:?}", leaf.raw_serial());
    assert_eq!(leaf.signature_algorithm.algorithm.to_string(), "1.2.840.10045.4.3.2", "ecdsa-with-SHA256");

    // The verifier of the agents' TLS library accepts it, and the issuer has no name constraint.
    let (_, issuer) = x509_parser::parse_x509_certificate(&signed.chain[1]).unwrap();
    assert!(issuer.is_ca() && issuer.name_constraints().unwrap().is_none());
    let mut roots = RootCertStore::empty();
    stage.trust().bundle().roots.iter().for_each(|root| roots.add(root.clone().into()).unwrap());
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(stage.now.unix()));
    verifier.verify_client_cert(&signed.chain[0], &signed.chain[1..], time).unwrap();
    // It is no node's.
    assert!(matches!(Peer::of(&signed.chain[0]), Err(PeerError::NotANode(_))));
}

#[test]
fn every_issuance_is_in_the_report_and_a_node_is_bounded() {
    let stage = Stage::new();
    let n1 = stage.join("n1");
    stage.issue(&n1, "u-a").unwrap();
    let identities = stage.authority.identities(stage.now).identities;
    let shown: Vec<_> = identities
        .iter()
        .map(|issued| (issued.node.as_str(), issued.identity.as_str(), issued.pod_uid.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            ("n1", "spiffe://cluster.local/mesh/node/n1", ""),
            ("n1", "spiffe://cluster.local/ns/shop/sa/web", "u-a")
        ]
    );
    let csr = csr();
    let refused =
        (0..600).filter_map(|_| stage.authority.issue(&n1, "u-a", &csr, stage.now).err()).last().unwrap();
    assert!(refused.to_string().contains("node n1 asks for more than"), "{refused}");
    let n2 = stage.join("n2");
    assert!(stage.issue(&n2, "u-b").is_ok(), "others are not touched");
    let renewed = stage.authority.renew(&n2, &csr, stage.now).unwrap();
    assert_eq!(peer(&renewed).tag, n2.tag);
}
