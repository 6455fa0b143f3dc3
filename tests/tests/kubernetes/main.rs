//! The mesh on a real Kubernetes: what only kubelet, kube-proxy and the API server as they are can show. Run by
//! `cargo xtask cluster check`, which builds Kubernetes and the images first; the mesh is installed once for all tests.

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
