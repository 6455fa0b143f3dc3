//! What the controller, the command line and the agent share.
//!
//! - [`discovery`] and [`resources`]: the delta ADS protocol and the resources it carries,
//!   generated from `proto/`.
//! - [`certificates`]: how agents get theirs, generated likewise; [`NodeId`] and [`NodeTag`]: whose.
//! - [`reports`]: what agents tell of their pods.
//! - [`GroupId`] and [`SpiffeId`]: how a pod's class and its identity are written.
//! - [`labels`]: every label and annotation key of the mesh, once.
//! - [`condition`]: the status conditions that objects get.
//! - [`duration`]: how durations are written.
//! - [`memory`]: keeping keys in memory from being read.
//! - [`admin`]: reaching an admin socket from outside its pod.
//! - `crd` (feature `crd`): the custom resources as their YAML is written.

pub mod admin;
pub mod certificates;
pub mod condition;
#[cfg(feature = "crd")]
pub mod crd;
pub mod discovery;
pub mod duration;
mod group;
pub mod labels;
pub mod memory;
mod node;
pub mod reports;
pub mod resources;
mod spiffe;

pub use group::GroupId;
pub use node::{CONTROLLER_PATH, NodeId, NodeIdError, NodeTag};
pub use spiffe::{SpiffeId, SpiffeIdError};

/// The type URL of a resource message, as `Any` and discovery requests carry it.
///
/// ```
/// use mesh_api::{resources::Workload, type_url};
/// assert_eq!(type_url::<Workload>(), "type.googleapis.com/mesh.internal.v1alpha1.Workload");
/// ```
#[must_use]
pub fn type_url<T: prost::Name>() -> String {
    T::type_url()
}
