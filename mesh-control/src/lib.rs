//! The controller of the mesh, as a library: the binary `mesh-control` is a thin shell over it.
//!
//! A change travels through four rooms: [`source`] notices it and hands over [`objects`];
//! [`build`] is the pure function from objects to per-node resources and status conditions;
//! [`ads`] sends each node what changed for it; [`status`] writes down how it went.
//! [`reports`] is what nodes say of their pods.
//! [`ca`] gives nodes and pods their certificates, and [`serve`] is where agents connect.
//! [`cluster`] is what the controller does at a Kubernetes API server besides, [`health`] what it tells kubelet.
//! [`pipeline`] is the thread that moves it along, [`admin`] the socket that shows it. The binary
//! `meshctl` is [`cli`], which asks that socket and those of the nodes, judges with [`check`] what it sees of a
//! cluster, and renders with [`install`] what is applied to one.

pub mod admin;
pub mod ads;
pub mod analyze;
pub mod build;
pub mod ca;
pub mod check;
pub mod cli;
pub mod cluster;
pub mod health;
pub mod install;
pub mod objects;
pub mod pipeline;
pub mod reports;
pub mod serve;
pub mod source;
pub mod status;
pub mod taint;
