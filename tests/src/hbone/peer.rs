//! What a peer's certificate says of it.

use rustls::CommonState;
use serde::Serialize;
use x509_parser::{extensions::GeneralName, prelude::FromDer as _};

/// A peer as its certificate names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Peer {
    /// Its URI names; of a peer in a mesh, exactly one.
    pub(super) names: Vec<String>,
    /// The serial number, in hexadecimal.
    pub(super) serial: String,
    /// Since when it is valid, in seconds since 1970.
    pub(super) not_before: i64,
    /// Until when.
    pub(super) not_after: i64,
}

impl Peer {
    /// The peer of a connection; `None` if it showed no certificate that can be read.
    pub(super) fn of(connection: &CommonState) -> Option<Self> {
        let leaf = connection.peer_certificates()?.first()?;
        let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(leaf).ok()?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.clone()).unwrap_or_default();
        let uri = |name: &GeneralName<'_>| {
            if let GeneralName::URI(uri) = name { Some((*uri).to_owned()) } else { None }
        };
        let validity = certificate.validity();
        Some(Self {
            names: names.iter().filter_map(uri).collect(),
            serial: certificate.raw_serial().iter().map(|octet| format!("{octet:02x}")).collect(),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }
}
