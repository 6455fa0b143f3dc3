//! Who the other side of a connection says it is, by the certificate that TLS has verified.

use mesh_api::{NodeId, NodeTag};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
};

use super::time::Timestamp;

/// A node, by its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Whose it is.
    pub id: NodeId,
    /// Of which joining.
    pub tag: NodeTag,
    /// Until when.
    pub not_after: Timestamp,
}

/// Why a certificate is not a node's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// It cannot be read.
    #[error("the client certificate cannot be read: {0}")]
    Unreadable(String),
    /// It does not have one name.
    #[error(
        "the client certificate has {0} names; a node's has one, spiffe://<trust domain>/mesh/node/<name>"
    )]
    Names(usize),
    /// Its name is another's.
    #[error("the client certificate is of `{0}`, which is no node; connect with the node's own certificate")]
    NotANode(String),
    /// Its serial number is not one that this controller gives.
    #[error(
        "the client certificate of {0} has a serial number that this controller did not give; let the node join anew"
    )]
    Serial(NodeId),
}

impl Peer {
    /// Reads a verified certificate.
    ///
    /// # Errors
    /// When it is not a node's.
    pub fn of(certificate: &[u8]) -> Result<Self, PeerError> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
            .map_err(|error| PeerError::Unreadable(error.to_string()))?;
        let names = names(&parsed);
        let [name] = names.as_slice() else { return Err(PeerError::Names(names.len())) };
        let id: NodeId = name.parse().map_err(|_| PeerError::NotANode(name.clone()))?;
        let tag = NodeTag::of_serial(parsed.raw_serial()).ok_or_else(|| PeerError::Serial(id.clone()))?;
        let not_after = Timestamp::from_unix(parsed.validity().not_after.timestamp());
        Ok(Self { id, tag, not_after })
    }
}

/// Every alternative name, URIs as they are.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extensions = certificate.extensions().iter();
    let alternative = extensions.filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    });
    alternative
        .flatten()
        .map(|name| match name {
            GeneralName::URI(uri) => (*uri).to_owned(),
            other => other.to_string(),
        })
        .collect()
}
