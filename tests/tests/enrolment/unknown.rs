//! 1.1: pods that discovery does not know, and pods that it knows and that are not wired yet.

use std::net::{IpAddr, Ipv4Addr};

use mesh_tests::testbed::Part;

use super::{Unknown, bed, scene};
use scene::{
    NAMESPACE, NODE, SOON,
    controller::Stopped,
    counts::{self, metric, pod_in_dump},
    dial, forge,
    manifest::{SERVE, plain_pod},
    port_of, shell,
};

const PASSED: &str = "mesh_kernel_unknown_pods_passed_total";
const DROPPED: &str = "mesh_kernel_pending_dropped_total";

/// Adds a pod while the controller is stopped, so that discovery does not know it.
fn newcomer(bed: &mesh_tests::testbed::Testbed, name: &str) {
    bed.apply(&plain_pod(name, SERVE)).unwrap();
    bed.wait_ready(NAMESPACE, name, SOON).unwrap();
    bed.wait_serving(NAMESPACE, name, SOON).unwrap();
    let state = pod_in_dump(bed, NAMESPACE, name).map(|pod| pod["state"].clone());
    assert!(state.as_ref().is_none_or(|state| state == "Unknown"), "{state:?}");
}

#[test]
fn an_unknown_pod_passes_and_is_counted_where_unknown_is_open() {
    let bed = bed(Unknown::Open);
    let stopped = Stopped::now(&bed);
    newcomer(&bed, "newcomer-open");
    let before = metric(&bed, PASSED);
    dial(&bed, "newcomer-open", port_of(&bed, "outside")).unwrap();
    dial(&bed, "outside", port_of(&bed, "newcomer-open")).unwrap();
    counts::eventually(&bed, "the passage to be counted", SOON, || {
        let now = metric(&bed, PASSED);
        if now > before { Ok(()) } else { Err(format!("{before} before, {now} now")) }
    });
    drop(stopped);
    bed.wait_mesh_state(NAMESPACE, "newcomer-open", "Plain", SOON).unwrap();
}

#[test]
fn an_unknown_pod_has_no_network_where_unknown_is_closed_until_it_is_known() {
    let bed = bed(Unknown::Closed);
    let stopped = Stopped::now(&bed);
    newcomer(&bed, "newcomer-closed");
    let before = metric(&bed, DROPPED);
    let outside = port_of(&bed, "outside");
    assert_eq!(dial(&bed, "newcomer-closed", outside).unwrap_err(), "ENETUNREACH=1");
    let udp = forge(&bed, "newcomer-closed", &format!("dial {outside} --udp --timeout 200"));
    assert_eq!(udp.count("ENETUNREACH"), 1, "{udp:?}");
    // A raw socket asks no hook; what it sends goes no further.
    let own = port_of(&bed, "newcomer-closed");
    let watch = scene::watch::Watch::begin(&bed, "outside", 6, own);
    forge(&bed, "newcomer-closed", &format!("packet syn --source {own} --destination {outside} --count 3"));
    assert_eq!(watch.packets(), 0);
    assert!(dial(&bed, "outside", own).is_err());
    counts::eventually(&bed, "the drops to be counted", SOON, || {
        let now = metric(&bed, DROPPED);
        if now > before { Ok(()) } else { Err(format!("{before} before, {now} now")) }
    });
    drop(stopped);
    bed.wait_mesh_state(NAMESPACE, "newcomer-closed", "Plain", SOON).unwrap();
    dial(&bed, "newcomer-closed", outside).unwrap();
    dial(&bed, "outside", own).unwrap();
}

/// Discovery says that the pod is to be enrolled while its namespace does not hold its address, so it cannot be wired.
#[test]
fn a_pending_pod_connects_to_nobody_and_nobody_to_it_until_it_is_wired() {
    let bed = bed(Unknown::Open);
    bed.pause_agent(NODE, Part::Wire).unwrap();
    bed.apply(&scene::manifest::pod("waiting", SERVE)).unwrap();
    let pod = bed.wait_ready(NAMESPACE, "waiting", SOON).unwrap();
    bed.wait_serving(NAMESPACE, "waiting", SOON).unwrap();
    let (own, outside) = (IpAddr::from(pod.ip4.unwrap()), port_of(&bed, "outside"));
    // Another address of the node's range, which the node is told the way to.
    let [a, b, c, _] = pod.ip4.unwrap().octets();
    let (other, gateway) = (Ipv4Addr::new(a, b, c, 251), Ipv4Addr::new(a, b, c, 1));
    shell(
        &bed,
        "waiting",
        &format!(
            "ip address add {other}/32 dev eth0; ip address del {own}/32 dev eth0; ip address del {}/128 dev eth0; \
         ip route replace default via {gateway} dev eth0 src {other} onlink",
            pod.ip6.unwrap()
        ),
    );
    let link = link_of(&bed, &pod.uid);
    bed.exec_node(NODE, &["ip", "route", "add", &other.to_string(), "dev", &link, "scope", "link"]).unwrap();
    bed.resume_agent(NODE, Part::Wire).unwrap();
    bed.wait_mesh_state(NAMESPACE, "waiting", "Pending", SOON).unwrap();

    let (denied, dropped) = (counts::denied(&bed, "PodPending"), metric(&bed, DROPPED));
    assert_eq!(dial(&bed, "waiting", outside).unwrap_err(), "ENETUNREACH=1");
    let udp = forge(&bed, "waiting", &format!("dial {outside} --udp --timeout 200"));
    assert_eq!(udp.count("ENETUNREACH"), 1, "{udp:?}");
    counts::wait_denied(&bed, "PodPending", denied, 2);
    let inward = scene::dial_with(&bed, "outside", &format!("{}:7000 --timeout 300", other));
    assert!(inward.is_err(), "reached a pending pod");
    counts::eventually(&bed, "packets to it to be dropped", SOON, || {
        let now = metric(&bed, DROPPED);
        if now > dropped { Ok(()) } else { Err(format!("{dropped} before, {now} now")) }
    });
    assert!(!scene::log(&bed, NAMESPACE, "waiting", "main").contains("accepted="));

    shell(
        &bed,
        "waiting",
        &format!(
            "ip address add {own}/32 dev eth0; ip address del {other}/32 dev eth0; ip route replace default via {gateway} dev eth0 onlink"
        ),
    );
    bed.wait_wired(NAMESPACE, "waiting", SOON).unwrap();
    dial(&bed, "waiting", outside).unwrap();
}

/// The node's end of a pod's link.
fn link_of(bed: &mesh_tests::testbed::Testbed, uid: &str) -> String {
    let links = bed.exec_node(NODE, &["ip", "-o", "link", "show"]).unwrap();
    let links = String::from_utf8_lossy(&links.stdout).into_owned();
    let digits: String = uid.chars().filter(char::is_ascii_alphanumeric).take(10).collect();
    let name = format!("veth{digits}");
    assert!(links.contains(&name), "{name} is not among:\n{links}");
    name
}
