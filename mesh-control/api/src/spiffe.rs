//! SPIFFE identities of workloads.
//!
//! The form is `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`, the one that Istio
//! and Linkerd also read (SPIFFE-ID specification, section 2).

use std::{fmt, str::FromStr};

/// The identity of a workload: trust domain, namespace and service account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    trust_domain: String,
    namespace: String,
    service_account: String,
}

/// Why a text is not a workload's SPIFFE ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdError {
    /// It does not have the form of a workload's identity.
    #[error(
        "`{0}` is not a workload identity; write spiffe://<trust domain>/ns/<namespace>/sa/<service account>"
    )]
    Form(String),
    /// The trust domain has a character that SPIFFE does not allow there.
    #[error("trust domain `{0}` is not valid; use lower-case letters, digits, `.`, `-` and `_`, at most 255")]
    TrustDomain(String),
}

impl SpiffeId {
    /// Builds the identity of a service account.
    ///
    /// # Errors
    /// When the trust domain is not one, or a part is empty or holds a `/`.
    pub fn new(trust_domain: &str, namespace: &str, service_account: &str) -> Result<Self, SpiffeIdError> {
        if !is_trust_domain(trust_domain) {
            return Err(SpiffeIdError::TrustDomain(trust_domain.to_owned()));
        }
        let is_segment = |part: &str| !part.is_empty() && !part.contains('/');
        let id = Self {
            trust_domain: trust_domain.to_owned(),
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
        };
        if is_segment(namespace) && is_segment(service_account) {
            Ok(id)
        } else {
            Err(SpiffeIdError::Form(id.to_string()))
        }
    }

    /// The trust domain, such as `cluster.local`.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The namespace of the service account.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name of the service account.
    #[must_use]
    pub fn service_account(&self) -> &str {
        &self.service_account
    }
}

/// Whether `text` is a trust domain name (SPIFFE-ID specification, section 2.1).
#[must_use]
pub(crate) fn is_trust_domain(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    (1..=255).contains(&text.len()) && text.bytes().all(allowed)
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/ns/{}/sa/{}", self.trust_domain, self.namespace, self.service_account)
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || SpiffeIdError::Form(text.to_owned());
        let path = text.strip_prefix("spiffe://").ok_or_else(form)?;
        let parts: Vec<_> = path.split('/').collect();
        match parts.as_slice() {
            [trust_domain, "ns", namespace, "sa", account] => Self::new(trust_domain, namespace, account),
            _ => Err(form()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{SpiffeId, SpiffeIdError};

    #[test]
    fn writes_what_it_reads() {
        let text = "spiffe://cluster.local/ns/bank/sa/teller";
        let id: SpiffeId = text.parse().unwrap();
        assert_eq!((id.namespace(), id.service_account()), ("bank", "teller"));
        assert_eq!(id.to_string(), text);
    }

    #[test]
    fn refuses_other_forms() {
        for text in [
            "",
            "cluster.local/ns/a/sa/b",
            "spiffe://td/ns/a/sa/",
            "spiffe://td/ns/a/sa/b/c",
            "spiffe://td/sa/a/ns/b",
        ] {
            assert!(matches!(text.parse::<SpiffeId>(), Err(SpiffeIdError::Form(_))), "{text}");
        }
        assert!(matches!("spiffe://A/ns/a/sa/b".parse::<SpiffeId>(), Err(SpiffeIdError::TrustDomain(_))));
    }
}
