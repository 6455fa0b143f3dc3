//! Generates the discovery and resource types from `proto/`, without a `protoc` binary.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(
        [
            "proto/discovery.proto",
            "proto/identity.proto",
            "proto/reports.proto",
            "proto/resources.proto",
            "proto/routes.proto",
        ],
        ["proto"],
    )?;
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    config.type_name_domain(["."], "type.googleapis.com");
    // Ordered maps make equal resources encode to equal bytes, which versions rely on.
    config.btree_map(["."]);
    tonic_prost_build::configure().build_transport(true).compile_fds_with_config(files, config)?;
    Ok(())
}
