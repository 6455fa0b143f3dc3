//! An authority that is given: as files or as a Secret, good and bad.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, GeneralSubtree, IsCa, KeyPair,
    KeyUsagePurpose, NameConstraints,
};

use super::{Stage, texts};
use crate::{
    ca::{Phase, Timestamp},
    objects::{CaSecret, ObjectName},
};

type Root = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn root(name: &str) -> Root {
    CertifiedIssuer::self_signed(authority(name), KeyPair::generate().unwrap()).unwrap()
}

/// An issuer's certificate and key, in PEM.
fn issuer(params: CertificateParams, root: &Root) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, root).unwrap().pem(), key.serialize_pem())
}

fn give_secret(stage: &mut Stage, chain: &str, key: &str, roots: &str) {
    stage.demand.settings.secret = Some(ObjectName::new("mesh-system", "ca"));
    stage.demand.secret = Some(Arc::new(CaSecret { data: [].into(), string_data: texts(chain, key, roots) }));
    stage.step(1);
}

fn problem(stage: &Stage) -> String {
    stage.authority.report(stage.now).problem.unwrap_or_default()
}

#[test]
fn what_is_wrong_with_a_given_authority_is_said_and_the_last_good_one_signs() {
    let mut stage = Stage::new();
    let before = stage.trust().bundle().clone();
    let root = root("acme root");
    let (good, key) = issuer(authority("acme issuer"), &root);
    let (_, other_key) = issuer(authority("acme issuer"), &root);
    let roots = root.pem();
    let other_root = self::root("other root").pem();
    let not_authority = issuer(
        {
            let mut params = authority("leaf");
            params.is_ca = IsCa::NoCa;
            params
        },
        &root,
    );
    let at = |from: i32, to: i32| {
        let mut params = authority("dated");
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        issuer(params, &root)
    };
    let (expired, future) = (at(2001, 2002), at(3001, 3002));
    let constrained = issuer(
        {
            let mut params = authority("constrained");
            let permitted_subtrees = vec![GeneralSubtree::DnsName("acme.example".to_owned())];
            params.name_constraints =
                Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
            params
        },
        &root,
    );
    for (chain, key, roots, said) in [
        (
            &good,
            &other_key,
            &roots,
            "tls.key of Secret mesh-system/ca is not the key of the first certificate of tls.crt",
        ),
        (&good, &key, &String::new(), "Secret mesh-system/ca has no ca.crt; give all of tls.crt"),
        (&good, &String::new(), &roots, "has no tls.key"),
        (
            &good,
            &key,
            &"nonsense".to_owned(),
            "ca.crt of Secret mesh-system/ca cannot be read: there is no certificate in it",
        ),
        (&good, &"nonsense".to_owned(), &roots, "tls.key of Secret mesh-system/ca cannot be read"),
        (&good, &key, &other_root, "tls.crt of Secret mesh-system/ca does not lead to a root of ca.crt"),
        (&not_authority.0, &not_authority.1, &roots, "(CN=leaf) is not a CA; issue it as a CA"),
        (
            &expired.0,
            &expired.1,
            &roots,
            "(CN=dated) is not valid now: it is valid from 2001-01-01T00:00:00Z to 2002-01-01T00:00:00Z; renew it",
        ),
        (&future.0, &future.1, &roots, "is not valid now: it is valid from 3001"),
        (
            &constrained.0,
            &constrained.1,
            &roots,
            "has a name constraint, under which no SPIFFE ID is accepted",
        ),
    ] {
        give_secret(&mut stage, chain, key, roots);
        assert!(problem(&stage).contains(said), "{said}: {}", problem(&stage));
        assert_eq!(stage.trust().bundle(), &before);
    }
    stage.demand.secret = None;
    stage.step(1);
    assert!(
        problem(&stage)
            .contains("spec.ca.secretRef names Secret mesh-system/ca, which the source does not have")
    );
    let data = texts("no base64!", "x", "x");
    stage.demand.secret = Some(Arc::new(CaSecret { data, string_data: [].into() }));
    stage.step(1);
    assert!(problem(&stage).contains("tls.crt of Secret mesh-system/ca cannot be read: it is not base64"));
    stage.join("n1");
    give_secret(&mut stage, &good, &key, &roots);
    assert_eq!(problem(&stage), "");
}

#[test]
fn a_secret_is_taken_over_step_by_step_and_its_renewal_at_once() {
    let mut stage = Stage::new();
    stage.streams.connected.insert("n1".to_owned());
    let n1 = stage.join("n1");
    let root = root("acme root");
    let (chain, key) = issuer(authority("acme issuer"), &root);
    give_secret(&mut stage, &chain, &key, &root.pem());
    assert_eq!(stage.trust().bundle().roots.len(), 2);
    assert_eq!(stage.authority.report(stage.now).phase, Phase::Distributing);
    stage.step(1);
    assert_eq!(stage.authority.report(stage.now).phase, Phase::Reissuing);
    stage.authority.renew(&n1, &super::csr(), stage.now).unwrap();
    stage.until_stable();
    assert_eq!(stage.trust().bundle().roots, [root.der().to_vec()]);
    let signed = stage.issue(&n1, "u-a").unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(&signed.chain[0]).unwrap();
    assert_eq!(leaf.issuer().to_string(), "CN=acme issuer");
    let error = stage.authority.rotate(stage.now).unwrap_err().to_string();
    assert!(error.contains("comes from Secret mesh-system/ca: put the new one there"), "{error}");

    let (chain, key) = issuer(authority("acme issuer 2"), &root);
    give_secret(&mut stage, &chain, &key, &root.pem());
    assert_eq!(stage.authority.report(stage.now).phase, Phase::Stable);
    let signed = stage.issue(&n1, "u-a").unwrap();
    assert_eq!(signed.issuer_key_id, stage.trust().bundle().issuer_key_id);
    // Restarted it is the same; taken away again it is one of the controller's own.
    let mut stage = stage.restarted();
    assert_eq!(stage.authority.report(stage.now).origin, "Secret mesh-system/ca");
    stage.demand.settings.secret = None;
    stage.step(1);
    assert_eq!(stage.authority.report(stage.now).phase, Phase::Distributing);
    stage.step(1);
    stage.authority.renew(&n1, &super::csr(), stage.now).unwrap();
    stage.issue(&n1, "u-a").unwrap();
    stage.until_stable();
    assert_eq!(stage.authority.report(stage.now).origin, "generated");
}

#[test]
fn files_of_the_directory_are_used_as_given() {
    let root = root("acme root");
    let middle =
        CertifiedIssuer::signed_by(authority("acme middle"), KeyPair::generate().unwrap(), &root).unwrap();
    let key = KeyPair::generate().unwrap();
    let chain = authority("acme issuer").signed_by(&key, &middle).unwrap().pem() + &middle.pem();
    let mut stage = Stage::new();
    let write = |stage: &Stage, name: &str, text: &str| {
        std::fs::write(stage.directory.path().join("ca").join(name), text).unwrap();
    };
    write(&stage, "tls.crt", &chain);
    stage.step(1);
    assert!(
        problem(&stage).contains("tls.key of the controller's directory is not the key"),
        "{}",
        problem(&stage)
    );
    write(&stage, "tls.key", &key.serialize_pem());
    write(&stage, "ca.crt", &root.pem());
    stage.step(1);
    assert_eq!(
        (problem(&stage).as_str(), stage.authority.report(stage.now).phase),
        ("", Phase::Distributing)
    );
    stage.step(1);
    stage.until_stable();
    let n1 = stage.join("n1");
    assert_eq!(stage.issue(&n1, "u-a").unwrap().chain.len(), 3, "the intermediate goes with the leaf");
    let mut stage = stage.restarted();
    assert_eq!(stage.authority.report(stage.now).origin, "the controller's directory");
    std::fs::remove_file(stage.directory.path().join("ca/ca.crt")).unwrap();
    stage.step(1);
    assert!(problem(&stage).contains("the controller's directory has no ca.crt"));
    assert!(stage.issue(&n1, "u-a").is_ok());
    assert!(stage.authority.report(stage.now).issuer_expires > Timestamp::now());
}
