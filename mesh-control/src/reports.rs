//! What agents tell of the pods of their nodes, and what that means for each pod that is, or is to be,
//! in the mesh.
//!
//! [`service`] is the gRPC service: a node tells of its own pods, over the connection that it proved its
//! name on. [`store`] keeps what was told, [`standing`] decides what a pod's condition says.

mod service;
mod standing;
mod store;
#[cfg(test)]
mod tests;

pub use service::ReportService;
pub use store::{Reports, Standings};
