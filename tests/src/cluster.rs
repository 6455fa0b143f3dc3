//! A real Kubernetes on this machine, for what only one can show: installation, API objects, kubelet and kube-proxy as
//! they are. Every part of it is in namespaces and control groups of its own, so that nothing is left behind.
//!
//! ```text
//!   this machine ── mesh-cluster (veth) ──┐
//!   ┌─ machine `control` ─────────────────┴──┐      ┌─ machine `node-1` ────────────────┐
//!   │ etcd, kube-apiserver,                  ├─ br0 ┤ containerd, kubelet, kube-proxy   │  `node-2` ...
//!   │ kube-controller-manager, kube-scheduler│      │ pods by the CNI plugin ptp        │
//!   └────────────────────────────────────────┘      └───────────────────────────────────┘
//! ```

mod architecture;
mod certificates;
mod command;
mod containerfile;
mod control;
mod definitions;
mod error;
mod image;
mod kubectl;
mod leftovers;
mod load;
mod machine;
mod network;
mod node;
pub mod outside;
mod place;
mod progress;
mod running;
pub mod trial;
mod up;

pub use architecture::Architecture;
pub use command::main;
pub use containerfile::{Sources, read as read_containerfile};
pub use definitions::define;
pub use error::Error;
pub use image::{Image, pack};
pub use kubectl::Kubectl;
pub use place::{Place, kubeconfig};
pub use running::{ClusterPod, Running};
