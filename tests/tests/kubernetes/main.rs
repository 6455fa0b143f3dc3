//! The mesh on a real Kubernetes: what only kubelet, kube-proxy and the API server as they are can show. Run by
//! `cargo xtask cluster check`, which builds Kubernetes and the images first; the mesh is installed once for all tests, on
//! a cluster that stays until the last one. What comes and goes with a test is in the program `cluster`.
//!
//! | where | what |
//! |---|---|
//! | `demo` | the demo's claims, on its manifests as they are |
//! | `workloads` | Jobs, init containers, StatefulSets, headless Services, both families |
//! | `outside` | NodePort, LoadBalancer, hostPort, beside NetworkPolicies |
//! | `truth`, `meshctl` | what conditions, events and `meshctl` say |
//! | `away`, `rollout`, `rush` | nothing fails while the API server restarts, agents are replaced, 200 pods come at once |
//!
//! `scene` is the cluster and a namespace on it, `traffic` steady traffic between its pods; what the two programs share is
//! `mesh_tests::cluster::trial`. Every test has namespaces of its own, and sets MeshConfig for itself.

mod away;
mod demo;
mod meshctl;
mod outside;
mod rollout;
mod rush;
mod scene;
mod traffic;
mod truth;
mod workloads;
