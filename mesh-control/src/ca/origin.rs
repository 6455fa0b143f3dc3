//! Where an authority comes from, and why one that is given cannot be used.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// Where an authority comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// The controller made it.
    #[default]
    Generated,
    /// Somebody put it into the controller's directory.
    Directory,
    /// A Secret, `<namespace>/<name>`.
    Secret(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Generated => f.write_str("generated"),
            Self::Directory => f.write_str("the controller's directory"),
            Self::Secret(name) => write!(f, "Secret {name}"),
        }
    }
}

/// Why an authority cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GivenError {
    /// The Secret is not there.
    #[error(
        "spec.ca.secretRef names Secret {0}, which the source does not have, or which lacks tls.crt, tls.key and ca.crt; add it, or take secretRef out"
    )]
    NoSecret(String),
    /// One of the three is not there.
    #[error(
        "the certificate authority of {origin} has no {key}; give all of tls.crt (the issuer, then intermediates), tls.key and ca.crt (the root)"
    )]
    Missing {
        /// Where.
        origin: Origin,
        /// What.
        key: &'static str,
    },
    /// One of the three cannot be read.
    #[error("{key} of {origin} cannot be read: {why}; it must be PEM, the key PKCS #8, SEC 1 or PKCS #1")]
    Unreadable {
        /// Where.
        origin: Origin,
        /// What.
        key: &'static str,
        /// What the parser says.
        why: String,
    },
    /// The key is another certificate's.
    #[error(
        "tls.key of {0} is not the key of the first certificate of tls.crt; take both from the same Secret or order"
    )]
    KeyMismatch(Origin),
    /// It may not sign.
    #[error(
        "the first certificate of tls.crt of {origin} ({subject}) {why}; issue it as a CA: with cert-manager, set isCA: true in the Certificate"
    )]
    NotAuthority {
        /// Where.
        origin: Origin,
        /// Whose.
        subject: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A time that is not now.
    #[error(
        "{key} of {origin} ({subject}) is not valid now: it is valid from {from} to {to}; renew it, or set the clock"
    )]
    NotNow {
        /// Where.
        origin: Origin,
        /// In what.
        key: &'static str,
        /// Whose.
        subject: String,
        /// From when.
        from: Timestamp,
        /// To when.
        to: Timestamp,
    },
    /// The chain does not lead to a root.
    #[error(
        "tls.crt of {origin} does not lead to a root of ca.crt: nothing there signed {subject}; put the root of that chain into ca.crt, and intermediates after the issuer into tls.crt"
    )]
    NoPath {
        /// Where.
        origin: Origin,
        /// Whose issuer is missing.
        subject: String,
    },
}
