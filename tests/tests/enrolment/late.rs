//! 1.2: pods that ran, with connections open, before they were wired.

use super::{Unknown, bed, scene};
use scene::{
    NAMESPACE, SOON,
    counts::{self, metric, pod_in_dump},
    dial,
    held::Held,
    manifest::{SERVE, pod_with},
    port_in,
};

const OUT: &str = ", \"mesh.internal/mode\": disabled";

/// Enrols a running pod of the namespace that has a connection from `outside`; gives the connection.
fn enrol_with_a_connection(bed: &mesh_tests::testbed::Testbed, namespace: &str) -> Held {
    bed.apply(&pod_with(namespace, "late", OUT, "", SERVE)).unwrap();
    bed.wait_ready(namespace, "late", SOON).unwrap();
    bed.wait_serving(namespace, "late", SOON).unwrap();
    bed.wait_mesh_state(namespace, "late", "Plain", SOON).unwrap();
    let held = Held::open(bed, NAMESPACE, "outside", port_in(bed, namespace, "late"), 60_000);
    bed.apply(&pod_with(namespace, "late", "", "", SERVE)).unwrap();
    bed.wait_wired(namespace, "late", SOON).unwrap();
    held
}

/// Waits until the late pod is known as one, with so many connections that are older.
fn counted(bed: &mesh_tests::testbed::Testbed, namespace: &str, connections: u64) {
    counts::eventually(bed, &format!("{connections} older connections to be counted"), SOON, || {
        let pod = pod_in_dump(bed, namespace, "late").unwrap();
        assert_eq!(pod["lateEnrolled"], true, "{pod}");
        if pod["preexistingConnections"] == connections { Ok(()) } else { Err(pod.to_string()) }
    });
}

#[test]
fn where_mtls_is_required_the_connections_of_a_late_pod_are_destroyed_at_wiring() {
    let bed = bed(Unknown::Open);
    let held = enrol_with_a_connection(&bed, "strict");
    let end = held.end();
    assert!(end.contains("ECONNRESET") || end.contains("closed by the peer"), "{end}");
    counted(&bed, "strict", 0);
    // And the next one is refused: the client is unproven.
    assert_eq!(dial(&bed, "outside", port_in(&bed, "strict", "late")).unwrap_err(), "ECONNREFUSED=1");
}

#[test]
fn elsewhere_the_connections_of_a_late_pod_go_on_and_are_counted() {
    let bed = bed(Unknown::Open);
    let mut held = enrol_with_a_connection(&bed, NAMESPACE);
    counted(&bed, NAMESPACE, 1);
    counts::eventually(&bed, "it to be in the metrics", SOON, || {
        let now = metric(&bed, "mesh_preexisting_connections");
        if now >= 1 { Ok(()) } else { Err(now.to_string()) }
    });
    assert!(held.is_open());
    drop(held);
    counted(&bed, NAMESPACE, 0);
}
