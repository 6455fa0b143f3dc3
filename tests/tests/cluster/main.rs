//! That the cluster of `cargo xtask cluster` is a real one: its pods, Services and names work across nodes in both
//! families, and nothing of it stays. Run by `cargo xtask cluster check`, which builds Kubernetes first.

mod here;
mod install;
mod leaders;
mod left;
mod lifecycle;
mod objects;
mod rights;
mod scene;
mod told;
mod traffic;
