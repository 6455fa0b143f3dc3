//! Delta ADS: each node's agent is sent its resources, and from then on what changes of them.
//!
//! [`store`] holds what every node is to have; [`subscription`] is the protocol of one resource
//! type on one stream, a state machine without I/O; [`stream`] drives one of each type over one gRPC
//! stream, in the order that [`order`] decides; [`acks`] keeps what nodes acknowledged and refused; [`server`] is the gRPC service.
//!
//! At most one response of a type is under way on a stream. What changes meanwhile is kept as a
//! set of names, so a slow agent costs a bounded amount and, when it catches up, gets each
//! resource once in its last version.

mod acks;
mod order;
mod server;
mod store;
mod stream;
mod subscription;
#[cfg(test)]
pub(crate) mod tests;

pub use acks::{Acks, NodeAcks, Refusal};
pub use server::{Ads, ListenError, listen};
pub use store::Store;
