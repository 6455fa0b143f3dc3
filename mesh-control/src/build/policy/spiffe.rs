//! Patterns of SPIFFE IDs in rules.

use mesh_api::SpiffeId;

/// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`, where `*` may stand for a whole
/// namespace or a whole service account, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SpiffePattern {
    pub(super) trust_domain: String,
    namespace: Option<String>,
    service_account: Option<String>,
}

impl SpiffePattern {
    /// Reads a pattern; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        // With the wildcards filled in, a pattern is an ordinary identity.
        let segments: Vec<&str> = text.split('/').collect();
        let (namespace, account) = match segments.as_slice() {
            [_, _, _, "ns", namespace, "sa", account] => (*namespace, *account),
            _ => return Err(misplaced(text)),
        };
        let plain = |segment: &str| if segment == "*" { "any".to_owned() } else { segment.to_owned() };
        let filled = format!("{}/ns/{}/sa/{}", segments[..3].join("/"), plain(namespace), plain(account));
        let id: SpiffeId = filled.parse().map_err(|_| misplaced(text))?;
        if filled.contains('*') {
            return Err(misplaced(text));
        }
        let named = |segment: &str| (segment != "*").then(|| segment.to_owned());
        Ok(Self {
            trust_domain: id.trust_domain().to_owned(),
            namespace: named(namespace),
            service_account: named(account),
        })
    }

    /// The one identity of this mesh that it stands for, if it is one: namespace and account.
    pub(super) fn exact(&self, trust_domain: &str) -> Option<(&str, &str)> {
        let own = self.trust_domain == trust_domain;
        self.namespace.as_deref().zip(self.service_account.as_deref()).filter(|_| own)
    }

    /// Whether a workload of this mesh has such an identity.
    pub(super) fn matches(&self, trust_domain: &str, namespace: &str, service_account: &str) -> bool {
        self.trust_domain == trust_domain
            && self.namespace.as_deref().is_none_or(|own| own == namespace)
            && self.service_account.as_deref().is_none_or(|own| own == service_account)
    }
}

fn misplaced(text: &str) -> String {
    format!(
        "`{text}` is not a SPIFFE pattern; write spiffe://<trust domain>/ns/<namespace>/sa/<service account>, with * for a whole namespace or service account if need be"
    )
}
