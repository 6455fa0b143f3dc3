//! Certificates made for tests: a root, an issuer below it, and what the issuer signs.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_api::certificates::CertificateReply;
use mesh_api::{NodeTag, SpiffeId};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};

use super::{Bundle, Trust};
use crate::relay::identity::{Certificate, Request};

/// An hour.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// A certificate authority.
pub(crate) struct Authority {
    pub(crate) trust_domain: String,
    root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    issuer_der: CertificateDer<'static>,
    pub(crate) issuer_key_id: Vec<u8>,
}

/// What is asked of an authority; the rest is as it should be.
pub(crate) struct Wanted {
    pub(crate) uris: Vec<String>,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    pub(crate) tag: NodeTag,
    pub(crate) is_ca: bool,
    pub(crate) usages: Vec<ExtendedKeyUsagePurpose>,
}

impl Wanted {
    pub(crate) fn new(uri: &str) -> Self {
        let now = SystemTime::now();
        Self {
            uris: vec![uri.to_owned()],
            not_before: now - HOUR / 60,
            not_after: now + HOUR,
            tag: NodeTag::new("n1", 1),
            is_ca: false,
            usages: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        }
    }

    fn params(&self) -> CertificateParams {
        let uri = |uri: &String| SanType::URI(uri.as_str().try_into().unwrap());
        let mut params = CertificateParams::default();
        params.subject_alt_names = self.uris.iter().map(uri).collect();
        params.not_before = self.not_before.into();
        params.not_after = self.not_after.into();
        params.serial_number = Some(SerialNumber::from_slice(&self.tag.serial([7; 8])));
        params.extended_key_usages.clone_from(&self.usages);
        if self.is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params
    }
}

fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

impl Authority {
    pub(crate) fn new(trust_domain: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = ca("root");
        let root = params.self_signed(&key).unwrap();
        let root_issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let params = ca("issuer");
        let issuer_der = params.signed_by(&key, &root_issuer).unwrap().der().clone();
        let issuer_key_id = params.key_identifier(&key);
        let issuer = Issuer::new(params, key);
        let trust_domain = trust_domain.to_owned();
        Self { trust_domain, root: root.der().clone(), issuer, issuer_der, issuer_key_id }
    }

    /// The same authority after the mesh got another trust domain.
    pub(crate) fn renamed(&self, trust_domain: &str) -> Self {
        let key = KeyPair::try_from(self.issuer.key().serialized_der()).unwrap();
        Self {
            trust_domain: trust_domain.to_owned(),
            root: self.root.clone(),
            issuer: Issuer::new(ca("issuer"), key),
            issuer_der: self.issuer_der.clone(),
            issuer_key_id: self.issuer_key_id.clone(),
        }
    }

    pub(crate) fn id(&self, service_account: &str) -> SpiffeId {
        SpiffeId::new(&self.trust_domain, "bank", service_account).unwrap()
    }

    pub(crate) fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    pub(crate) fn roots_pem(&self) -> String {
        pem::encode(&pem::Pem::new("CERTIFICATE", self.root.to_vec()))
    }

    pub(crate) fn bundle(&self) -> Bundle {
        self.bundle_revoking([])
    }

    pub(crate) fn bundle_revoking(&self, revoked: impl IntoIterator<Item = NodeTag>) -> Bundle {
        let roots = vec![self.root.clone()];
        let revoked = revoked.into_iter().collect();
        Bundle::new(&self.trust_domain, roots, revoked, self.issuer_key_id.clone()).unwrap()
    }

    pub(crate) fn trust(&self) -> Arc<Trust> {
        Arc::new(Trust::new(Arc::new(self.bundle())))
    }

    /// The certificate of a service account of the namespace `bank`.
    pub(crate) fn certificate(&self, service_account: &str) -> Certificate {
        self.issue(&Wanted::new(&self.id(service_account).to_string()))
    }

    /// A certificate as it is wanted, with a key of its own.
    pub(crate) fn issue(&self, wanted: &Wanted) -> Certificate {
        let request = Request::new().unwrap();
        self.complete(&request, wanted, self.sign(&request.csr, wanted).chain)
    }

    /// A certificate that nobody but its own key signed.
    pub(crate) fn self_signed(&self, wanted: &Wanted) -> Certificate {
        let request = Request::new().unwrap();
        let key = KeyPair::try_from(request.key_der()).unwrap();
        let der = wanted.params().self_signed(&key).unwrap().der().to_vec();
        self.complete(&request, wanted, vec![der])
    }

    /// Signs the key of a request.
    pub(crate) fn sign(&self, csr: &[u8], wanted: &Wanted) -> CertificateReply {
        let csr = CertificateSigningRequestDer::from(csr.to_vec());
        let request = CertificateSigningRequestParams::from_der(&csr).unwrap();
        let leaf = wanted.params().signed_by(&request.public_key, &self.issuer).unwrap();
        let chain = vec![leaf.der().to_vec(), self.issuer_der.to_vec()];
        CertificateReply { chain, issuer_key_id: self.issuer_key_id.clone() }
    }

    /// Like [`Request::accept`], also for what it would refuse.
    fn complete(&self, request: &Request, wanted: &Wanted, chain: Vec<Vec<u8>>) -> Certificate {
        let chain: Vec<_> = chain.into_iter().map(CertificateDer::from).collect();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(request.key_der().to_vec());
        let provider = super::provider();
        let key = provider.key_provider.load_private_key(key.into()).unwrap();
        Certificate {
            id: wanted.uris[0].parse().unwrap_or_else(|_| self.id("none")),
            key: Arc::new(rustls::sign::CertifiedKey::new(chain, key)),
            not_before: wanted.not_before,
            not_after: wanted.not_after,
            serial: wanted.tag.serial([7; 8]).to_vec(),
            issuer_key_id: self.issuer_key_id.clone(),
        }
    }
}
