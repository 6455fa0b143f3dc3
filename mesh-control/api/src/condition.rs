//! Status conditions, as Kubernetes objects carry them (`metav1.Condition`).

use serde::{Deserialize, Serialize};

/// One condition of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about, such as [`ACCEPTED`].
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: ConditionStatus,
    /// One word for programs, in CamelCase.
    pub reason: String,
    /// For people: object, field, value and what to do.
    pub message: String,
    /// The `metadata.generation` that this was decided on; 0 where the source has none.
    #[serde(default)]
    pub observed_generation: i64,
}

impl Condition {
    /// A condition that holds.
    pub fn holds(kind: &str, reason: &str, message: impl Into<String>) -> Self {
        Self::new(kind, ConditionStatus::True, reason, message)
    }

    /// A condition that does not hold.
    pub fn failed(kind: &str, reason: &str, message: impl Into<String>) -> Self {
        Self::new(kind, ConditionStatus::False, reason, message)
    }

    /// A condition of which nobody can tell whether it holds.
    pub fn unknown(kind: &str, reason: &str, message: impl Into<String>) -> Self {
        Self::new(kind, ConditionStatus::Unknown, reason, message)
    }

    fn new(kind: &str, status: ConditionStatus, reason: &str, message: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            status,
            reason: reason.to_owned(),
            message: message.into(),
            observed_generation: 0,
        }
    }

    /// The same, decided on this `metadata.generation`.
    #[must_use]
    pub fn at(mut self, generation: i64) -> Self {
        self.observed_generation = generation;
        self
    }
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be told.
    Unknown,
}

/// The object was understood and is in force.
pub const ACCEPTED: &str = "Accepted";
/// Every node that needs the object has acknowledged it at this generation.
pub const PROGRAMMED: &str = "Programmed";
/// Another object of equal rank decides the opposite; both carry it.
pub const CONFLICTED: &str = "Conflicted";
/// Everything the object names was found.
pub const RESOLVED_REFS: &str = "ResolvedRefs";
/// A route has rules that are in force and others that are not (Gateway API).
pub const PARTIALLY_INVALID: &str = "PartiallyInvalid";
/// No other file of the source defines an object of that kind and name.
pub const UNIQUE: &str = "Unique";
/// A rule asks for proof on a UDP port, where only kernel-proven senders can give it.
pub const UDP_UNPROVEN: &str = "UDPUnproven";
/// Something in the object never decides, because something else decides before it.
pub const SHADOWED: &str = "Shadowed";
/// Whether the pod is in the mesh, with the reason where it asked and is not. A pod's status is
/// everybody's, so the type has our prefix.
pub const ENROLLED: &str = "mesh.internal/Enrolled";
/// The certificate authority that `MeshConfig` asks for is the one that signs.
pub const CA_READY: &str = "CAReady";
