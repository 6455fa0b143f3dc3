//! The cluster's DNS as every node answers it, on the address of Service `kube-system/kube-dns`
//! (github.com/kubernetes/dns, specification 1.1.0).

mod server;
mod zone;

pub(super) use server::{Error, Server};
pub(super) use zone::Zone;
