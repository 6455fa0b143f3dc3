//! 1.1: many pods at once, each of which serves and dials from its first instruction on.

use std::{net::Ipv4Addr, time::Duration};

use super::{Unknown, bed, scene};
use scene::{
    counts::{self, dump, metric},
    log, port_of,
};

const PODS: usize = 50;

/// The namespace whose pods admit nobody and may reach nobody.
const SEALED: &str = "sealed";

/// A pod that serves and dials `target` at the same time, until it is deleted.
fn sealed_pod(number: usize, target: &str) -> String {
    let script = format!(
        "mesh-forge dial {target} --for 600000 --timeout 100 --pause 20 --verbose >&2 & exec mesh-forge serve 7000"
    );
    scene::manifest::pod_with(
        SEALED,
        &format!("sealed-{number}"),
        ", group: sealed",
        "",
        &["sh", "-c", &script],
    )
}

/// The policy is there before the pods are. A stranger dials every address that they will have, they dial a server that
/// admits everybody: not one connection comes about, before, while and after they are wired.
#[test]
fn fifty_pods_created_at_once_under_closed_let_not_one_packet_past_their_policy() {
    let bed = bed(Unknown::Closed);
    bed.apply(&scene::manifest::enrolled_namespace(SEALED)).unwrap();
    bed.apply(&format!(
        "apiVersion: mesh.internal/v1alpha1\nkind: AccessPolicy\nmetadata: {{name: seal, namespace: {SEALED}}}\n\
         spec: {{selector: {{matchLabels: {{group: sealed}}}}, ingress: [], egress: []}}\n"
    ))
    .unwrap();
    let target = port_of(&bed, "outside");
    let heard_before = accepted_from(&log(&bed, scene::NAMESPACE, "outside", "main"));

    // The stranger's targets: the addresses of the node that come next.
    let [a, b, c, _] = bed.pod(scene::NAMESPACE, "outside").unwrap().ip4.unwrap().octets();
    let taken: Vec<Ipv4Addr> = bed.pods().unwrap().iter().filter_map(|pod| pod.ip4).collect();
    let next = (2..=250).map(|last| Ipv4Addr::new(a, b, c, last)).filter(|address| !taken.contains(address));
    let targets: Vec<String> = next.take(PODS + 20).map(|address| format!("{address}:7000")).collect();
    let mut argv = vec!["mesh-forge", "dial", "--for", "12000", "--timeout", "30", "--pause", "1"];
    argv.extend(targets.iter().map(String::as_str));
    let stranger = bed.spawn(scene::NAMESPACE, "outside", &argv).unwrap();

    let dropped = metric(&bed, "mesh_kernel_pending_dropped_total");
    let manifests: String = (0..PODS).map(|number| sealed_pod(number, &target.to_string())).collect();
    bed.apply(&manifests).unwrap();
    for number in 0..PODS {
        bed.wait_wired(SEALED, &format!("sealed-{number}"), Duration::from_secs(60)).unwrap();
    }
    let stranger = stranger.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&stranger.stdout).into_owned();

    let mut attempts = 0;
    for number in 0..PODS {
        let log = log(&bed, SEALED, &format!("sealed-{number}"), "main");
        assert!(log.contains("serving=7000"), "sealed-{number} never served:\n{log}");
        assert!(!log.contains("accepted="), "sealed-{number} was reached:\n{log}");
        assert!(!log.contains("datagrams="), "sealed-{number} was reached:\n{log}");
        let dialled = log.lines().rfind(|line| line.starts_with("ok=")).unwrap_or_default().to_owned();
        assert!(dialled.starts_with("ok=0 "), "sealed-{number} got out: {dialled}");
        attempts += dialled
            .split('=')
            .skip(2)
            .filter_map(|count| count.split(' ').next()?.parse::<u64>().ok())
            .sum::<u64>();
    }
    assert!(said.starts_with("ok=0 "), "the stranger got in: {said}");
    let heard = accepted_from(&log(&bed, scene::NAMESPACE, "outside", "main"));
    assert_eq!(heard, heard_before, "the server admits everybody and heard somebody new");
    let dropped = metric(&bed, "mesh_kernel_pending_dropped_total") - dropped;
    println!(
        "{PODS} pods made {attempts} attempts; {dropped} were dropped before their pod was wired; stranger: {said}"
    );
    assert!(attempts > 0 && dropped > 0, "the race was never run");
    // Once all are wired, what every packet costs is gone.
    counts::eventually(&bed, "the node to be armed only for unknown pods", scene::SOON, || {
        let dump = dump(&bed);
        let waiting = dump["pods"].as_array().unwrap().iter().filter(|pod| pod["state"] == "Pending").count();
        if waiting == 0 { Ok(()) } else { Err(format!("{waiting} are pending")) }
    });
    for number in 0..PODS {
        bed.delete("Pod", SEALED, &format!("sealed-{number}")).unwrap();
    }
}

/// Who a server accepted connections from, without the ports.
fn accepted_from(log: &str) -> std::collections::BTreeSet<String> {
    let peers = log.lines().filter_map(|line| line.split("peer=").nth(1));
    peers.filter_map(|peer| peer.rsplit_once(':')).map(|(address, _)| address.to_owned()).collect()
}
