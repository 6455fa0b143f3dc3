//! One node of the cluster, a process of its own in the node's network namespace and its `kubelet` control group: it
//! gives pods their sandbox and network, runs and probes their containers, answers DNS and translates Service
//! addresses. The supervisor tells it, whole, what is wanted; it reports what became of it.

mod cni;
mod dns;
mod kubelet;
pub(crate) mod overlay;
mod proxy;
mod serve;
mod state;

pub use serve::run;
pub use state::{Cni, Config, Desired, Endpoint, PodAssignment, PortState, Report, ServiceState};
