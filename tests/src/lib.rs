//! The testbed: nodes, pods and Services of a directory of Kubernetes YAML, on the real kernel, and the test programs
//! that run in it.

pub mod addresses;
pub mod capture;
pub mod cgroup;
pub mod cluster;
pub mod command;
pub mod conformance;
pub mod demo;
pub mod echo;
pub mod echo_advanced;
pub mod exposition;
pub mod forge;
pub mod hbone;
pub mod http;
pub mod launch;
pub mod layout;
pub mod manifests;
pub mod node;
pub mod socket;
pub mod supervisor;
pub mod testbed;
pub mod tool;
pub mod trial;
