//! rustls asks here; [`verify`] answers.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme};

use super::verify::{End, Expected, verify};
use super::{Trust, provider};

/// Verifies peers against the bundle in force at the moment of the handshake.
#[derive(Debug)]
pub(super) struct Verifier {
    trust: Arc<Trust>,
    expected: Expected,
}

impl Verifier {
    /// Believes whom `trust` believes, if it is who is `expected`.
    pub(super) fn new(trust: Arc<Trust>, expected: Expected) -> Self {
        Self { trust, expected }
    }

    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        end: End,
    ) -> Result<(), Error> {
        let now = time(now);
        let bundle = self.trust.current();
        verify(&bundle, certificate, intermediates, now, end, &self.expected).map_err(Error::from)
    }
}

/// What both of rustls's traits ask for in the same words: which signatures are good.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &CertificateDer<'_>,
            _signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            // Never reached: the configurations allow TLS 1.3 only.
            Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = provider().signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signed, &algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            provider().signature_verification_algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(certificate, intermediates, now, End::Server).map(|()| ServerCertVerified::assertion())
    }

    signatures!();
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A client has one certificate to show, whatever the hint.
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(certificate, intermediates, now, End::Client).map(|()| ClientCertVerified::assertion())
    }

    signatures!();
}

fn time(at: UnixTime) -> SystemTime {
    UNIX_EPOCH + std::time::Duration::from_secs(at.as_secs())
}
