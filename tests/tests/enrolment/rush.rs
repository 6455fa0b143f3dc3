//! 1.1: many pods at once, each of which serves and dials from its first instruction on.

use std::{
    io::{BufRead as _, BufReader},
    net::Ipv4Addr,
    sync::mpsc,
    thread,
    time::Duration,
};

use super::{Unknown, bed, scene};
use scene::{
    counts::{self, dump, metric},
    log, port_of,
};

const PODS: usize = 50;

/// Longest wait for each of them.
const PATIENCE: Duration = Duration::from_secs(60);

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
    let mut argv =
        vec!["mesh-forge", "dial", "--for", "600000", "--timeout", "30", "--pause", "1", "--verbose"];
    argv.extend(targets.iter().map(String::as_str));
    let mut stranger = bed.spawn(scene::NAMESPACE, "outside", &argv).unwrap();
    let output = BufReader::new(stranger.stdout.take().unwrap());
    let (heard, rounds) = mpsc::channel();
    // Nobody listens once it is killed.
    thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| heard.send(line)));

    let dropped = metric(&bed, "mesh_kernel_pending_dropped_total");
    let manifests: String = (0..PODS).map(|number| sealed_pod(number, &target.to_string())).collect();
    bed.apply(&manifests).unwrap();
    for name in (0..PODS).map(|number| format!("sealed-{number}")) {
        bed.wait_wired(SEALED, &name, PATIENCE).unwrap();
        bed.wait_serving(SEALED, &name, PATIENCE).unwrap();
        counts::eventually(&bed, &format!("{name} to have dialled"), PATIENCE, || {
            let log = log(&bed, SEALED, &name, "main");
            if log.lines().any(|line| line.starts_with("ok=")) { Ok(()) } else { Err(log) }
        });
    }
    // One round more: the second that ends from now on begins with all of them wired.
    let so_far = rounds.try_iter().count();
    let [_, said] = [(); 2].map(|()| rounds.recv_timeout(PATIENCE).unwrap());
    stranger.kill().unwrap();
    stranger.wait().unwrap();

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
        "{PODS} pods made {attempts} attempts; {dropped} were dropped before their pod was wired; stranger, after {so_far} rounds: {said}"
    );
    assert!(attempts > 0 && dropped > 0 && so_far > 0, "the race was never run");
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
