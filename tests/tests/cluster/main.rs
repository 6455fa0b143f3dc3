//! What takes a Kubernetes that comes and goes with each test. Run by `cargo xtask cluster check`, which builds Kubernetes
//! first; what takes a cluster that stays, with the mesh installed, is the program `kubernetes`.
//!
//! | where | what | on |
//! |---|---|---|
//! | `traffic`, `left` | the cluster of `cargo xtask cluster` is a real one, and nothing of it stays | a cluster |
//! | `lifecycle` | the mesh comes to tainted nodes, is upgraded and goes without a trace; kube-proxy in iptables mode | a cluster |
//! | `install` | the chart's objects, its roles and admission policies | an API server |
//! | `rights` | the controller needs every right that it has | API servers |
//! | `objects` | bad objects by the hundred | an API server |
//! | `leaders`, `told` | the controllers themselves | an API server |
//!
//! `scene` is a cluster, `server` an API server without nodes, `here` one of them or what `KUBECONFIG` names. There is one
//! cluster on a machine: who has one keeps the others of this program waiting. API servers are as many as there are tests.

mod here;
mod install;
mod leaders;
mod left;
mod lifecycle;
mod objects;
mod rights;
mod scene;
mod server;
mod told;
mod traffic;
