//! Finds the compiled kernel programs that the agent embeds.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=MESH_EBPF_OBJECT");
    let object = env::var_os("MESH_EBPF_OBJECT").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/mesh.o"),
        PathBuf::from,
    );
    println!("cargo::rerun-if-changed={}", object.display());
    match object.canonicalize() {
        Ok(object) => println!("cargo::rustc-env=MESH_EBPF_OBJECT={}", object.display()),
        Err(error) => println!(
            "cargo::error=the kernel programs are not there ({}: {error}); run `cargo xtask build-ebpf`",
            object.display()
        ),
    }
}
