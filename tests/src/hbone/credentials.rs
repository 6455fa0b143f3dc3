//! What a peer shows and what it believes: PEM files on the command line, TLS configurations from them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::{ParsedCertificate, WebPkiClientVerifier},
    version::TLS13,
};

/// The protocol that HBONE is spoken in (RFC 9113, 3.1).
pub(super) const H2: &str = "h2";

/// Options about certificates.
#[derive(Debug, Clone, clap::Args)]
pub struct Credentials {
    /// The own certificate with what it was issued by, PEM; none is shown without it
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    /// The key of it, PEM
    #[arg(long)]
    key: Option<PathBuf>,
    /// What the peer's certificate must come from, PEM; any is believed without it
    #[arg(long)]
    roots: Option<PathBuf>,
    /// Protocols to offer or to accept, in order
    #[arg(long, default_value = H2)]
    alpn: Vec<String>,
    /// Offer no protocol
    #[arg(long)]
    no_alpn: bool,
}

/// Files or configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// A PEM file.
    #[error("cannot read {}: {source}", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// TLS refuses them.
    #[error("TLS cannot use the certificates: {0}")]
    Tls(#[from] Error),
    /// The verifier cannot be made.
    #[error("no verifier can be made of the roots: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// A server needs what it has not been given.
    #[error("a server needs --cert, --key and --roots")]
    Missing,
}

impl Credentials {
    /// The certificate, key and roots that an [`Authority`](super::Authority) wrote: `STEM.crt`, `STEM.key`, `STEM.ca`.
    #[must_use]
    pub fn of(stem: &Path) -> Self {
        let file = |extension| Some(stem.with_extension(extension));
        Self {
            cert: file("crt"),
            key: file("key"),
            roots: file("ca"),
            alpn: vec![H2.to_owned()],
            no_alpn: false,
        }
    }

    /// No certificate of its own, and belief in these roots.
    #[must_use]
    pub fn nobody(roots: PathBuf) -> Self {
        Self { cert: None, key: None, roots: Some(roots), alpn: vec![H2.to_owned()], no_alpn: false }
    }

    pub(crate) fn provider() -> Arc<CryptoProvider> {
        Arc::new(aws_lc_rs::default_provider())
    }

    fn chain(&self) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, Unusable> {
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else { return Ok(None) };
        let chain = certificates(cert)?;
        let key = PrivateKeyDer::from_pem_file(key)
            .map_err(|source| Unusable::Pem { path: key.clone(), source })?;
        Ok(Some((chain, key)))
    }

    fn roots(&self) -> Result<Option<RootCertStore>, Unusable> {
        let Some(path) = &self.roots else { return Ok(None) };
        let mut roots = RootCertStore::empty();
        for root in certificates(path)? {
            roots.add(root)?;
        }
        Ok(Some(roots))
    }

    fn protocols(&self) -> Vec<Vec<u8>> {
        if self.no_alpn {
            Vec::new()
        } else {
            self.alpn.iter().map(|name| name.clone().into_bytes()).collect()
        }
    }

    /// The configuration of a client.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn client(&self) -> Result<Arc<ClientConfig>, Unusable> {
        let verifier = Arc::new(AnyName { provider: Self::provider(), roots: self.roots()? });
        let builder = ClientConfig::builder_with_provider(Self::provider())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match self.chain()? {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.protocols();
        config.enable_sni = false;
        Ok(Arc::new(config))
    }

    /// The configuration of a server.
    pub(super) fn server(&self) -> Result<Arc<ServerConfig>, Unusable> {
        let (Some(roots), Some((chain, key))) = (self.roots()?, self.chain()?) else {
            return Err(Unusable::Missing);
        };
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Self::provider()).build()?;
        let mut config = ServerConfig::builder_with_provider(Self::provider())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = self.protocols();
        Ok(Arc::new(config))
    }
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let failed = |source| Unusable::Pem { path: path.clone(), source };
    CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
}

/// Takes every certificate that its own key speaks for.
pub(crate) fn anybody() -> Arc<dyn ServerCertVerifier> {
    Arc::new(AnyName { provider: Credentials::provider(), roots: None })
}

/// Where a certificate comes from matters to this client; whose it is, it reports.
#[derive(Debug)]
struct AnyName {
    provider: Arc<CryptoProvider>,
    roots: Option<RootCertStore>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 was not offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
