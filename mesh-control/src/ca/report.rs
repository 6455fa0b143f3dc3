//! What the admin socket says of the authority: the forms of its JSON.

use serde::{Deserialize, Serialize};

use super::{ledger::Issued, rotation::Phase, time::Timestamp};

/// The answer to `GET /ca`, and to `POST /ca/rotate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaReport {
    /// The trust domain.
    pub trust_domain: String,
    /// Where the authority comes from: `generated`, `the controller's directory`, `Secret a/b`.
    pub origin: String,
    /// How far a replacement of the root is.
    pub phase: Phase,
    /// Since when.
    pub phase_since: Timestamp,
    /// What that waits for, in words; empty when it waits for nothing.
    pub waiting_for: Vec<String>,
    /// How many roots have signed so far, this one included.
    pub generation: u64,
    /// The subject key identifier of the issuer that signs, in hexadecimal.
    pub issuer_key_id: String,
    /// When the issuer expires.
    pub issuer_expires: Timestamp,
    /// When the root above it expires.
    pub root_expires: Timestamp,
    /// How many roots are believed: two while one is replaced by another.
    pub roots: usize,
    /// How many certificates are live, one for each identity on each node.
    pub live: usize,
    /// Nodes whose certificates are refused.
    pub revoked: Vec<RevokedNode>,
    /// Nodes that are to join and have not used their token.
    pub joining: Vec<String>,
    /// How many tokens of joining agents the API server was not asked about, since too many came, since
    /// this controller started.
    pub tokens_not_asked: u64,
    /// Why the authority that is asked for is not the one that signs, if so.
    pub problem: Option<String>,
}

/// A removed node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedNode {
    /// Its name.
    pub node: String,
    /// When its last certificate expires.
    pub until: Timestamp,
}

/// The answer to `GET /identities`: the last live certificate of each identity on each node, by
/// node and identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentitiesReport {
    /// The controller's time.
    pub now: Timestamp,
    /// The certificates, those of nodes included.
    pub identities: Vec<Issued>,
}

/// The answer to `POST /join?node=N`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinReport {
    /// The node.
    pub node: String,
    /// Its new join file; the token stands there and nowhere else.
    pub file: String,
    /// Until when the token is good.
    pub expires: Timestamp,
}
