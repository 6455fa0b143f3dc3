//! The controller of the mesh, as a library: the binary `mesh-control` is a thin shell over it.
//!
//! A change travels through four rooms: [`source`] notices it and hands over [`objects`];
//! [`build`] is the pure function from objects to per-node resources and status conditions;
//! [`ads`] sends each node what changed for it; [`status`] writes down how it went.
//! [`ca`] gives nodes and pods their certificates, and [`serve`] is where agents connect.
//! [`pipeline`] is the thread that moves it along, [`admin`] the socket that shows it. The binary
//! `meshctl` is [`cli`], which asks that socket and those of the nodes.

pub mod admin;
pub mod ads;
pub mod build;
pub mod ca;
pub mod cli;
pub mod objects;
pub mod pipeline;
pub mod serve;
pub mod source;
pub mod status;
