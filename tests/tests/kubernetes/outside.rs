//! What comes from outside the cluster, with kube-proxy in nftables mode. In iptables mode the test of the mesh's lifecycle
//! looks at the same.

use mesh_tests::cluster::outside;

use crate::scene::{IMAGE, mesh};

#[test]
#[ignore = "needs a Kubernetes: cargo xtask cluster check"]
fn traffic_from_outside_comes_in_where_no_proof_is_asked_for() {
    let mesh = mesh();
    mesh.configure("{defaults: {mtls: Preferred}}");
    let _scene = mesh.empty("outside");
    outside::comes_in_where_no_proof_is_asked_for(&mesh.cluster, IMAGE);
}
