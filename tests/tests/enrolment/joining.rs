//! 1: in and out by label, on a running pod, without a restart; and 1.3, whose identity the containers of a pod have.

use super::{Unknown, bed, scene};
use scene::{
    NAMESPACE, SOON,
    counts::{self, flows_from},
    dial,
    held::Held,
    manifest::{IDLE, SERVE, enrolled_namespace, plain_namespace, plain_pod, pod, pod_with},
    port_of,
};

#[test]
fn a_label_on_a_running_pod_takes_it_in_and_out_without_a_restart() {
    let bed = bed(Unknown::Open);
    bed.apply(&plain_pod("joiner", IDLE)).unwrap();
    let plain = bed.wait_ready(NAMESPACE, "joiner", SOON).unwrap();
    bed.wait_mesh_state(NAMESPACE, "joiner", "Plain", SOON).unwrap();
    let server = port_of(&bed, "server");
    // It has the name that the server admits, and no proof of it.
    assert_eq!(dial(&bed, "joiner", server).unwrap_err(), "ECONNREFUSED=1");

    bed.apply(&pod("joiner", IDLE)).unwrap();
    bed.wait_wired(NAMESPACE, "joiner", SOON).unwrap();
    dial(&bed, "joiner", server).unwrap();
    let held = Held::open(&bed, NAMESPACE, "joiner", server, 60_000);
    assert_eq!(flows_from(&bed, &held.source).len(), 1);
    drop(held);

    bed.apply(&plain_pod("joiner", IDLE)).unwrap();
    bed.wait_mesh_state(NAMESPACE, "joiner", "Plain", SOON).unwrap();
    assert_eq!(dial(&bed, "joiner", server).unwrap_err(), "ECONNREFUSED=1");
    let now = bed.pod(NAMESPACE, "joiner").unwrap();
    assert_eq!((now.uid, now.sandbox), (plain.uid, plain.sandbox), "it was restarted");
}

#[test]
fn a_label_on_a_namespace_takes_its_running_pods_in_and_out() {
    let bed = bed(Unknown::Open);
    bed.apply(&plain_namespace("drowsy")).unwrap();
    bed.apply(&pod_with("drowsy", "sleeper", "", "", SERVE)).unwrap();
    bed.wait_ready("drowsy", "sleeper", SOON).unwrap();
    bed.wait_serving("drowsy", "sleeper", SOON).unwrap();
    bed.wait_mesh_state("drowsy", "sleeper", "Plain", SOON).unwrap();
    for _ in 0..2 {
        bed.apply(&enrolled_namespace("drowsy")).unwrap();
        bed.wait_wired("drowsy", "sleeper", SOON).unwrap();
        dial(&bed, "friend", scene::port_in(&bed, "drowsy", "sleeper")).unwrap();
        bed.apply(&plain_namespace("drowsy")).unwrap();
        bed.wait_mesh_state("drowsy", "sleeper", "Plain", SOON).unwrap();
        dial(&bed, "friend", scene::port_in(&bed, "drowsy", "sleeper")).unwrap();
    }
}

/// The init container dials until it gets through, which it does only as `starter`; another pod's never does, by the
/// server's refusals, which it hears once it is wired.
#[test]
fn init_containers_have_the_identity_of_their_pod() {
    let bed = bed(Unknown::Open);
    let server = port_of(&bed, "server");
    let dial =
        format!("until mesh-forge dial {server} | tee -a /dev/stderr | grep -q ok=1; do sleep 0.05; done");
    let init = |name: &str| {
        let spec =
            format!(", initContainers: [{{name: early, command: [sh, -c, {dial:?}]}}], restartPolicy: Never");
        pod_with(NAMESPACE, name, "", &spec, IDLE)
    };
    bed.apply(&init("starter")).unwrap();
    bed.apply(&init("pretender")).unwrap();
    let starter = bed.wait_ready(NAMESPACE, "starter", SOON).unwrap();
    let heard = scene::log(&bed, NAMESPACE, "server", "main");
    assert!(heard.contains(&format!("peer={}:", starter.ip4.unwrap())), "{heard}");
    counts::eventually(&bed, "the pretender to be refused again and again", SOON * 3, || {
        let said = scene::log(&bed, NAMESPACE, "pretender", "early");
        if said.matches("ECONNREFUSED=1").count() >= 10 { Ok(()) } else { Err(said) }
    });
    assert!(!scene::log(&bed, NAMESPACE, "pretender", "early").contains("ok=1"));
    for pod in ["starter", "pretender"] {
        bed.delete("Pod", NAMESPACE, pod).unwrap();
        bed.wait_gone(NAMESPACE, pod, SOON).unwrap();
    }
}
