//! The demo's claims, on the demo's manifests as they are.

use mesh_tests::cluster::trial::{program, run, target};

use crate::scene::mesh;

#[test]
#[ignore = "needs a Kubernetes: cargo xtask cluster check"]
fn every_claim_of_the_demo_holds() {
    mesh();
    let manifests = target().join("../tests/manifests/demo");
    let mut demo = program("mesh-demo");
    let said = run(demo.arg("--config").arg(manifests).arg("--cluster").arg(target()));
    let last = said.lines().last().unwrap_or_default();
    println!("{last}");
    assert!(last.contains(" 0 failed"), "{said}");
}
