//! What the commands need beside cargo: a compiler for BPF, its linker, Debian packages, cargo plugins.

pub(crate) mod cargo_deny;
pub(crate) mod compiler;
pub(crate) mod linker;
pub(crate) mod packages;
