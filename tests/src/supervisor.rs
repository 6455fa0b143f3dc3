//! The supervisor: a process that owns one testbed. It plays API server, scheduler and endpoints controller, runs the
//! mesh's own processes, and takes everything down when it ends, however it ends.

mod cluster;
mod endpoints;
pub(crate) mod fabric;
pub(crate) mod leftovers;
pub(crate) mod lock;
mod mesh;
mod overlay;
mod run;
mod services;
mod watch;
mod worker;

pub use leftovers::Error as LeftoversError;
pub use run::{Error, Options, run};
