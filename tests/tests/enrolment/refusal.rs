//! 1.4: pods that ask for the mesh and cannot have it are told why, and left alone.

use mesh_tests::testbed::Testbed;

use super::{Unknown, bed, scene};
use scene::{
    NAMESPACE, NODE, SOON,
    counts::eventually,
    manifest::{IDLE, pod_with},
};

/// Waits until the node says that the pod is refused, for a reason with these words in it.
fn refused(bed: &Testbed, pod: &str, words: &str) {
    bed.wait_ready(NAMESPACE, pod, SOON).unwrap();
    bed.wait_mesh_state(NAMESPACE, pod, "Plain", SOON).unwrap();
    eventually(bed, &format!("{pod} to be refused with {words:?}"), SOON, || {
        let status: serde_json::Value = serde_json::from_str(&bed.admin(NODE, "/status").unwrap()).unwrap();
        let problems = status["problems"].as_array().unwrap();
        let ours =
            problems.iter().filter_map(|problem| problem.as_str()).find(|problem| problem.contains(pod));
        let condition = bed.status("Pod", NAMESPACE, pod).unwrap();
        let told =
            condition.as_ref().map(|status| serde_yaml_ng::to_string(status).unwrap()).unwrap_or_default();
        if ours.is_some_and(|problem| problem.contains(words))
            && told.contains(words)
            && told.contains("Enrolled")
        {
            Ok(())
        } else {
            Err(format!("the node: {problems:?}; the controller: {told:?}"))
        }
    });
}

#[test]
fn a_host_network_pod_is_refused_with_the_reason() {
    let bed = bed(Unknown::Open);
    bed.apply(&pod_with(NAMESPACE, "on-the-node", "", ", hostNetwork: true", IDLE)).unwrap();
    refused(&bed, "on-the-node", "hostNetwork");
}

#[test]
fn a_pod_with_another_meshs_sidecar_or_label_is_refused_with_the_reason() {
    let bed = bed(Unknown::Open);
    let sidecar =
        ", initContainers: [{name: istio-proxy, restartPolicy: Always, command: [sleep, infinity]}]";
    bed.apply(&pod_with(NAMESPACE, "with-sidecar", "", sidecar, IDLE)).unwrap();
    refused(&bed, "with-sidecar", "istio-proxy");
    bed.apply(&pod_with(NAMESPACE, "with-label", ", istio.io/dataplane-mode: ambient", "", IDLE)).unwrap();
    refused(&bed, "with-label", "istio.io/dataplane-mode");
}
