//! What a caller is told of a denial (SEMANTICS 5.8), in the field [`DENIED_BY`]; the engine gives it
//! its form, 403 or gRPC's PERMISSION_DENIED.

use http::{HeaderName, HeaderValue};

use super::{Decider, Policy};

/// The field that says which policy and rule denied a request, or an identifier for them.
pub const DENIED_BY: HeaderName = HeaderName::from_static("x-mesh-denied-by");

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller<'a> {
    /// A proven one, who is told policy and rule.
    Proven,
    /// Anyone else, who is told an identifier that `meshctl explain-denial` resolves.
    Unproven(&'a str),
}

/// The value of [`DENIED_BY`].
#[must_use]
pub fn denied_by(policy: &Policy, by: Decider, caller: Caller<'_>) -> HeaderValue {
    let text = match (caller, policy.names(by), by) {
        (Caller::Unproven(id), ..) => id.to_owned(),
        (Caller::Proven, Some((policy, rule)), _) => format!("{policy} {rule}"),
        (Caller::Proven, None, Decider::Floor) => "MeshConfig (mTLS is required)".to_owned(),
        (Caller::Proven, None, Decider::NotHttp) => "(only HTTP is allowed)".to_owned(),
        (Caller::Proven, None, _) => "MeshConfig (default)".to_owned(),
    };
    // Names of objects are ASCII; what is not is left out.
    let printable: String = text.chars().filter(|character| matches!(character, ' '..='~')).collect();
    HeaderValue::try_from(printable).expect("printable ASCII is a value")
}
