//! The certificate authority: who may have which certificate, and what vouches for it.
//!
//! A P-256 root signs an issuer, the issuer signs certificates of nodes
//! (`spiffe://<trust domain>/mesh/node/<name>`) and of pods' service accounts. Both can be given
//! instead, as files or as a Secret in cert-manager's layout.
//!
//! | module | what it decides or does |
//! |---|---|
//! | [`tokens`], [`join`] | a node's first certificate is for a one-time token out of a file |
//! | [`account`], [`review`] | or, in Kubernetes, for the token of its agent's pod |
//! | [`asking`], [`rate`], [`bucket`] | how often whoever asks may ask |
//! | [`nodes`] | which joining of a node counts, and which are revoked |
//! | [`placement`], [`issuing`] | a pod's certificate is for the node that it runs on, and no other |
//! | [`wanted`], [`given`], [`generate`], [`material`] | what signs |
//! | [`rotation`] | when roots and issuers are replaced, step by step |
//! | [`trust`], [`lease`] | what everybody is to believe; whether a connected node still counts |
//! | [`state`], [`keep`], [`ledger`] | what must outlive a restart, and where |
//! | [`lives`] | what another process may have signed |
//!
//! Decisions are given the time and do no I/O; [`authority`] holds them together and writes down
//! each of their outcomes before anybody learns of it.

mod account;
mod asking;
mod authority;
mod bucket;
mod files;
mod generate;
mod given;
mod issuing;
mod join;
mod keep;
mod leaf;
mod lease;
mod ledger;
mod lives;
mod material;
mod nodes;
mod origin;
mod peer;
mod placement;
mod random;
mod rate;
mod report;
mod review;
mod rotation;
mod run;
mod service;
mod state;
mod time;
mod tokens;
mod trust;
mod wanted;

#[cfg(test)]
pub(crate) mod tests;

pub use account::{AUDIENCE, Account, AccountError};
pub use asking::TooOften;
pub use authority::{Authority, CaError, Demand, Directories};
pub(crate) use given::KEYS;
pub use issuing::IssueError;
pub use join::JoinFile;
pub use keep::{Keep, KeepError};
pub(crate) use lease::Lease;
pub use ledger::Issued;
pub use peer::{Peer, PeerError};
pub use placement::{Placement, Placements};
pub use report::{CaReport, IdentitiesReport, JoinReport, RevokedNode};
pub use review::{Agents, ReviewError, TokenReviewer};
pub use rotation::Phase;
pub use run::run;
pub use service::Identity;
pub use time::Timestamp;
pub use trust::Trust;
