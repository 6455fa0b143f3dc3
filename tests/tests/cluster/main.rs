//! That the cluster of `cargo xtask cluster` is a real one: its pods, Services and names work across nodes in both
//! families, and nothing of it stays. Run by `cargo xtask cluster check`, which builds Kubernetes first.

mod install;
mod left;
mod scene;
mod traffic;
