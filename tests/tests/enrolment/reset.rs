//! `meshctl enroll --reset` and `unenroll --reset`: what is open from before ends at both ends, and nothing else does.

use std::{net::SocketAddr, process::Command};

use mesh_tests::testbed::{Part, Testbed};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{SOON, Unknown, bed, scene};
use scene::{
    FAMILIES, Family, NAMESPACE, NODE, address,
    counts::{eventually, metric, pod_in_dump},
    held::Held,
    manifest::{IDLE, SERVE, enrolled_namespace, pod_with},
    port_in, port_of,
};

const OUT: &str = ", \"mesh.internal/mode\": disabled";
/// Longer than any test.
const LONG: u32 = 120_000;

/// What `meshctl` answers as JSON, and its exit code.
fn meshctl(bed: &Testbed, arguments: &[&str]) -> (Value, Option<i32>) {
    let ours = std::env::current_exe().unwrap();
    let mut places = ours.ancestors().skip(1).take(2).map(|folder| folder.join("meshctl"));
    let program = places.find(|file| file.is_file()).expect("meshctl is built beside the tests");
    let mut command = Command::new(program);
    command.arg("--run-dir").arg(bed.layout().run()).args(["-o", "json"]).args(arguments);
    let output = command.output().unwrap();
    let said = serde_json::from_slice(&output.stdout);
    let said = said.unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"));
    (said, output.status.code())
}

/// How many connections of a pod were ended.
fn ended(bed: &Testbed, command: &str, namespace: &str, pod: &str) -> u64 {
    let (said, code) = meshctl(bed, &[command, &format!("pod/{pod}"), "-n", namespace, "--reset"]);
    assert_eq!(code, Some(0), "{said}");
    said["pods"][0]["ended"].as_u64().unwrap_or_else(|| panic!("{said}"))
}

fn preexisting(bed: &Testbed, pod: &str) -> u64 {
    pod_in_dump(bed, NAMESPACE, pod).unwrap()["preexistingConnections"].as_u64().unwrap()
}

fn wait_preexisting(bed: &Testbed, pod: &str, connections: u64) {
    eventually(bed, &format!("{connections} older connections of {pod} to be counted"), SOON, || {
        let count = preexisting(bed, pod);
        if count == connections { Ok(()) } else { Err(count.to_string()) }
    });
}

/// Enrols the pod that ran outside the mesh.
fn enrol(bed: &Testbed, pod: &str) {
    bed.apply(&pod_with(NAMESPACE, pod, "", "", SERVE)).unwrap();
    bed.wait_wired(NAMESPACE, pod, SOON).unwrap();
}

fn plain(bed: &Testbed, pod: &str) {
    bed.apply(&pod_with(NAMESPACE, pod, OUT, "", SERVE)).unwrap();
    bed.wait_ready(NAMESPACE, pod, SOON).unwrap();
    bed.wait_mesh_state(NAMESPACE, pod, "Plain", SOON).unwrap();
    bed.wait_serving(NAMESPACE, pod, SOON).unwrap();
}

#[test]
fn what_began_without_the_mesh_ends_at_both_ends_and_what_began_in_it_stays() {
    let bed = bed(Unknown::Open);
    plain(&bed, "moved");
    let at = |pod: &str, family: Family| SocketAddr::new(address(&bed, pod, family), 7000);
    let open = |from: &str, to: SocketAddr| Held::open(&bed, NAMESPACE, from, to, LONG);
    // The server has one socket for both families, so of IPv4 it sees mapped addresses. `friend` is in the mesh already.
    let served: Vec<Held> = FAMILIES
        .into_iter()
        .flat_map(|family| ["outside", "friend"].map(|from| open(from, at("moved", family))))
        .collect();
    let dialled: Vec<Held> =
        FAMILIES.into_iter().map(|family| open("moved", at("outside", family))).collect();
    let before = 6;
    let mut within = open("moved", at("moved", Family::V4));
    enrol(&bed, "moved");
    wait_preexisting(&bed, "moved", before);
    let mut newer: Vec<Held> = FAMILIES
        .into_iter()
        .flat_map(|family| {
            [("outside", "moved"), ("friend", "moved"), ("moved", "outside"), ("moved", "moved")]
                .map(|(from, to)| open(from, at(to, family)))
        })
        .collect();

    let counted = metric(&bed, "mesh_connections_reset_total");
    assert_eq!(ended(&bed, "enroll", NAMESPACE, "moved"), before);
    for held in served {
        let end = held.end();
        assert!(end.contains("ECONNRESET"), "a client of the pod: {end}");
    }
    for held in dialled {
        let end = held.end();
        assert!(end.contains("ECONNABORTED"), "the pod itself: {end}");
    }
    for held in newer.iter_mut().chain([&mut within]) {
        assert!(held.is_open(), "{} was opened in the mesh, or within the pod", held.source);
    }
    assert_eq!(metric(&bed, "mesh_connections_reset_total"), counted + before);
    wait_preexisting(&bed, "moved", 0);
    // The next one is the mesh's, and asking again ends nothing.
    let mut next = open("moved", at("outside", Family::V4));
    let flows = scene::counts::flows_from(&bed, &next.source);
    assert_eq!(flows.len(), 1, "the next connection is published: {flows:?}");
    assert_eq!(ended(&bed, "enroll", NAMESPACE, "moved"), 0);
    assert!(next.is_open());
    for held in &mut newer {
        assert!(held.is_open(), "{}", held.source);
    }
}

#[test]
fn what_began_before_is_known_without_the_agents_memory() {
    let bed = bed(Unknown::Open);
    plain(&bed, "later");
    let open = |from: &str, to: &str| Held::open(&bed, NAMESPACE, from, port_of(&bed, to), LONG);
    let older = [open("outside", "later"), open("friend", "later"), open("later", "outside")];
    enrol(&bed, "later");
    let mut newer = [open("outside", "later"), open("friend", "later"), open("later", "outside")];
    let first = bed.agent(NODE, Part::Wire).unwrap();
    bed.signal_agent(NODE, Part::Wire, Signal::SIGKILL).unwrap();
    eventually(&bed, "another wire to answer", SOON, || {
        if bed.agent(NODE, Part::Wire).is_ok_and(|now| now != first) {
            bed.admin(NODE, "/dump?flows=0").map(drop).map_err(|error| error.to_string())
        } else {
            Err("it is the first, or none".to_owned())
        }
    });
    bed.wait_wired(NAMESPACE, "later", SOON).unwrap();
    assert_eq!(preexisting(&bed, "later"), 0, "this wire has seen none");
    assert_eq!(ended(&bed, "enroll", NAMESPACE, "later"), older.len() as u64);
    for held in older {
        let end = held.end();
        assert!(end.contains("ECONNRESET") || end.contains("ECONNABORTED"), "{end}");
    }
    for held in &mut newer {
        assert!(held.is_open(), "{} was opened in the mesh", held.source);
    }
}

#[test]
fn of_a_pod_that_is_not_in_the_mesh_nothing_is_ended() {
    let bed = bed(Unknown::Open);
    let mut held = Held::open(&bed, NAMESPACE, "friend", port_of(&bed, "outside"), LONG);
    let (said, code) = meshctl(&bed, &["enroll", "pod/outside", "-n", NAMESPACE, "--reset"]);
    let row = &said["pods"][0];
    assert_eq!((code, &row["ended"], &row["expected"]), (Some(0), &Value::Null, &"stays".into()), "{said}");
    assert!(row["why"].as_str().is_some_and(|why| why.contains("not enrolled")), "{said}");
    // Nor by one who asks the agent itself.
    let refused = bed.admin(NODE, "/reset?pod=arena/outside&enrolled=true");
    assert!(refused.is_err(), "a GET ends nothing: {refused:?}");
    assert!(held.is_open());
}

/// A namespace whose traffic all goes through the tunnel, and a connection in it from `client` to `server`.
fn sealed(name: &str) -> (Testbed, SocketAddr, Held) {
    scene::need_root();
    let config = "apiVersion: mesh.internal/v1alpha1\nkind: MeshConfig\nmetadata: {name: default}\n\
                  spec: {namespaces: [{names: [sealed], encryption: Always}]}\n";
    let bed = Testbed::builder()
        .name(format!("{name}-{}", std::process::id()))
        .manifest(config)
        .manifest(enrolled_namespace("sealed"))
        .manifest(pod_with("sealed", "server", "", "", SERVE))
        .manifest(pod_with("sealed", "client", "", "", IDLE))
        .start()
        .unwrap();
    bed.wait_all_ready(SOON).unwrap();
    for pod in ["server", "client"] {
        bed.wait_wired("sealed", pod, SOON).unwrap();
    }
    let to = port_in(&bed, "sealed", "server");
    wait_tunnel(&bed, to);
    let held = Held::open(&bed, "sealed", "client", to, LONG);
    let flows = scene::counts::flows_from(&bed, &held.source);
    assert!(flows.is_empty() || flows[0]["destination"] != to.to_string(), "it is tunnelled: {flows:?}");
    (bed, to, held)
}

fn wait_tunnel(bed: &Testbed, to: SocketAddr) {
    eventually(bed, "the way through the tunnel", SOON, || {
        let argv = ["mesh-forge", "dial", &to.to_string(), "--timeout", "2500"];
        let words = scene::Words::of(&bed.exec("sealed", "client", &argv).unwrap());
        if words.count("ok") > 0 { Ok(()) } else { Err(format!("{words:?}")) }
    });
}

#[test]
fn what_the_agents_carry_for_a_pod_that_left_ends_at_both_ends() {
    let (bed, to, mut held) = sealed("reset");
    bed.apply(&pod_with("sealed", "server", OUT, "", SERVE)).unwrap();
    bed.wait_mesh_state("sealed", "server", "Plain", SOON).unwrap();
    assert!(held.is_open(), "what is open stays");
    // The first dial's may not be over yet.
    assert!(ended(&bed, "unenroll", "sealed", "server") >= 1);
    let end = held.end();
    assert!(end.contains("ECONNRESET"), "{end}");
    assert_eq!(ended(&bed, "unenroll", "sealed", "server"), 0);
    drop(Held::open(&bed, "sealed", "client", to, LONG));
}

#[test]
fn a_pod_that_comes_back_keeps_its_tunnels() {
    let (bed, to, mut held) = sealed("back");
    for (pod, command) in [("server", SERVE), ("client", IDLE)] {
        bed.apply(&pod_with("sealed", pod, OUT, "", command)).unwrap();
        bed.wait_mesh_state("sealed", pod, "Plain", SOON).unwrap();
        bed.apply(&pod_with("sealed", pod, "", "", command)).unwrap();
        bed.wait_wired("sealed", pod, SOON).unwrap();
        assert!(held.is_open(), "what is open stays");
        wait_tunnel(&bed, to);
        let mut newer = Held::open(&bed, "sealed", "client", to, LONG);
        let known = pod_in_dump(&bed, "sealed", pod).unwrap();
        assert_eq!(known["preexistingConnections"], 0, "the tunnels of {pod} are the agent's");
        assert_eq!(ended(&bed, "enroll", "sealed", pod), 0, "of {pod}");
        wait_tunnel(&bed, to);
        assert!(held.is_open() && newer.is_open(), "both are in tunnels of {pod}");
    }
}
