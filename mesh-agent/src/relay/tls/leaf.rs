//! What is read of a certificate.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh_api::NodeTag;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use super::{PeerName, TlsFault};

/// The parts of a certificate that decide whose it is and when it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// The one URI among its subject alternative names.
    pub uri: String,
    /// It counts from here.
    pub not_before: SystemTime,
    /// It counts up to here.
    pub not_after: SystemTime,
    /// Serial number, as it is in the certificate.
    pub serial: Vec<u8>,
    /// Its issuer and its subject are the same.
    pub self_issued: bool,
}

impl Leaf {
    /// Reads a certificate.
    ///
    /// # Errors
    /// When it is none, or has not exactly one URI name.
    pub(crate) fn parse(der: &CertificateDer<'_>) -> Result<Self, TlsFault> {
        Unnamed::parse(der)?.named()
    }

    /// The joining of a node that it was issued to.
    pub(crate) fn tag(&self) -> Option<NodeTag> {
        NodeTag::of_serial(&self.serial)
    }

    /// Whose it is, as a workload's.
    ///
    /// # Errors
    /// When its name is not a workload's.
    pub(super) fn peer_name(&self) -> Result<PeerName, TlsFault> {
        let id = self.uri.parse().map_err(|_| TlsFault::NotAWorkload { got: self.uri.clone() })?;
        Ok(PeerName { id, tag: self.tag(), not_after: self.not_after, serial: self.serial.clone() })
    }
}

/// A certificate whose names have not been looked at: before its chain is verified they are whatever
/// somebody likes to write.
pub(super) struct Unnamed<'a> {
    certificate: X509Certificate<'a>,
    /// It counts from here.
    pub(super) not_before: SystemTime,
    /// It counts up to here.
    pub(super) not_after: SystemTime,
}

impl<'a> Unnamed<'a> {
    /// Reads a certificate.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn parse(der: &'a CertificateDer<'_>) -> Result<Self, TlsFault> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|error| TlsFault::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(TlsFault::Malformed(format!("{} bytes after its end", rest.len())));
        }
        let validity = certificate.validity();
        let (not_before, not_after) =
            (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()));
        Ok(Self { certificate, not_before, not_after })
    }

    /// The joining of a node that it was issued to.
    pub(super) fn tag(&self) -> Option<NodeTag> {
        NodeTag::of_serial(self.certificate.raw_serial())
    }

    /// The same with its name.
    ///
    /// # Errors
    /// When it has not exactly one URI name.
    pub(super) fn named(&self) -> Result<Leaf, TlsFault> {
        let certificate = &self.certificate;
        Ok(Leaf {
            uri: the_uri(certificate)?,
            not_before: self.not_before,
            not_after: self.not_after,
            serial: certificate.raw_serial().to_vec(),
            self_issued: certificate.issuer().as_raw() == certificate.subject().as_raw(),
        })
    }
}

/// Names of a certificate that has more than one which an error shows.
const SHOWN: usize = 2;
/// Characters of each.
const SHOWN_LENGTH: usize = 100;

/// An X.509-SVID has exactly one URI name (section 2).
fn the_uri(certificate: &X509Certificate<'_>) -> Result<String, TlsFault> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| TlsFault::Malformed(error.to_string()))?
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default();
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let first: Vec<&str> = uris.by_ref().take(SHOWN).collect();
    if let [uri] = first.as_slice() {
        return Ok((*uri).to_owned());
    }
    let shown = first.iter().map(|uri| uri.chars().take(SHOWN_LENGTH).collect());
    Err(TlsFault::Names { count: first.len() + uris.count(), shown: shown.collect() })
}

/// The subject key identifier of a certificate, if it has one.
pub(crate) fn subject_key_id(der: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}

/// Seconds since 1970 as a time; before it counts as 1970.
fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
