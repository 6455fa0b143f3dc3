//! The directory as users write it: manifests from elsewhere come up as they are, and what is wrong with one object is
//! said of that object while everything else keeps working (SEMANTICS 5.3, DESIGN 6).

#[path = "manifests/broken.rs"]
mod broken;
#[path = "manifests/examples.rs"]
mod examples;
#[path = "manifests/foreign.rs"]
mod foreign;
#[path = "manifests/hello.rs"]
mod hello;

use std::{sync::OnceLock, time::Duration};

use mesh_tests::trial::Trial;

const TIMEOUT: Duration = Duration::from_secs(60);

/// The testbed of this file.
fn cluster() -> &'static Trial {
    static SHARED: OnceLock<Trial> = OnceLock::new();
    let cluster =
        "{apiVersion: v1, kind: Namespace, metadata: {name: default, labels: {mesh.internal/mode: enabled}}}";
    SHARED.get_or_init(|| Trial::start("manifests", cluster))
}
