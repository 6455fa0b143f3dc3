//! The class of pods that every policy treats alike.

use std::fmt;

use sha2::{Digest, Sha256};

/// Identifies a pod's class: its namespace, its service account and its labels.
///
/// It is a hash, so the controller and every agent compute the same value without agreeing on a
/// registry first, and it survives restarts. Never 0: the kernel maps use 0 for "unknown".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(u64);

impl GroupId {
    /// The group of a pod. `labels` may come in any order; keys must be unique.
    ///
    /// The canonical form is `namespace NUL account` followed by `NUL key=value` for each label
    /// in key order. No part can hold a NUL byte in Kubernetes, so no two classes share a form.
    pub fn of<'a>(
        namespace: &str,
        service_account: &str,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut labels: Vec<_> = labels.into_iter().collect();
        labels.sort_unstable();
        let mut hash = Sha256::new();
        hash.update(namespace);
        hash.update([0]);
        hash.update(service_account);
        for (key, value) in labels {
            hash.update([0]);
            hash.update(key);
            hash.update("=");
            hash.update(value);
        }
        let digest = hash.finalize();
        let first = digest.iter().take(8).fold(0_u64, |id, byte| id << 8 | u64::from(*byte));
        Self(first.max(1))
    }

    /// The group of whoever proves this identity from an address that is no pod's of it: what names
    /// identities alone names it, what asks for pods or labels does not (SEMANTICS 2.5).
    #[must_use]
    pub fn of_identity(namespace: &str, service_account: &str) -> Self {
        // No label has an empty key, so no pod's group has this form.
        Self::of(namespace, service_account, [("", "")])
    }

    /// The value as discovery and the kernel maps carry it; never 0.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::GroupId;

    #[test]
    fn label_order_does_not_matter_but_every_part_does() {
        let id = GroupId::of("bank", "teller", [("app", "vault"), ("tier", "gold")]);
        assert_eq!(id, GroupId::of("bank", "teller", [("tier", "gold"), ("app", "vault")]));
        assert_ne!(id, GroupId::of("bank", "teller", [("app", "vault")]));
        assert_ne!(id, GroupId::of("bank", "audit", [("app", "vault"), ("tier", "gold")]));
        assert_ne!(GroupId::of("a", "b", []), GroupId::of("ab", "", []));
    }

    #[test]
    fn the_value_is_fixed_for_ever() {
        // Controller and agents of different versions must agree.
        assert_eq!(GroupId::of("bank", "teller", [("app", "vault")]).to_string(), "9f8a3e73d6af757c");
    }
}
