//! Two hundred pods at once, while the agent of a node can hardly work.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use mesh_tests::capture::Capture;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::scene::{IMAGE, Mesh, Scene, mesh};

const RUSH: &str = include_str!("rush.yaml");

/// How many pods there are in all.
const PODS: u32 = 200;

/// The node whose agent is starved.
const NODE: &str = "node-2";

/// What enrolled pods say to the server, before their names. Nowhere in their objects do both stand together, which go
/// from the API server to etcd in plaintext.
const SECRET: &str = "the-secret-of-2f6b1c-";

/// What pods say that are not in the mesh.
const OPEN: &str = "said-in-the-open-77e0a4";

/// Bytes that are kept of what is on the bridge.
const LIMIT: usize = 512 << 20;

/// A starved agent works so long at a time, and then does not for nineteen times as long.
const SLICE: Duration = Duration::from_millis(10);

/// How long it does not work at all, once.
const STOPPED: Duration = Duration::from_secs(10);

#[test]
#[ignore = "needs a Kubernetes: cargo xtask cluster check"]
fn two_hundred_pods_under_a_starved_and_stopped_agent_say_nothing_in_plaintext() {
    let mesh = mesh();
    mesh.configure("{defaults: {mtls: Required}, enrolment: {unknown: Closed}}");
    let scene = mesh.scene("rush", RUSH);
    scene.wait_enrolled("pod/server");
    for pod in ["pod/plain-server", "pod/plain-client"] {
        scene.wait(pod, "condition=Ready");
    }
    let server = scene.value("service/server", "{.spec.clusterIP}");
    let job = format!(
        "{{apiVersion: batch/v1, kind: Job, metadata: {{name: rush, namespace: rush}}, spec: {{completions: {PODS}, \
         parallelism: {PODS}, backoffLimit: 0, template: {{spec: {{restartPolicy: Never, \
         terminationGracePeriodSeconds: 0, containers: [{{name: main, image: '{IMAGE}', env: [{{name: POD, valueFrom: \
         {{fieldRef: {{fieldPath: metadata.name}}}}}}], command: [mesh-echo, client, \
         --ipv4, --first, --count=100000, --interval=200, --timeout=1000, '--send={SECRET}$(POD)', tcp, '{server}:9000']}}]}}}}}}}}"
    );

    let capture = Capture::within(mesh.cluster.fabric(), LIMIT).expect("the bridge is captured");
    let start = Instant::now();
    let over = AtomicBool::new(false);
    let done = thread::scope(|scope| {
        scope.spawn(|| starve(mesh, &over));
        mesh.cluster.kubectl().apply(&job).expect("it is a Job");
        let waiting = ["--namespace=rush", "wait", "job/rush", "--for=condition=Complete", "--timeout=600s"];
        let done = mesh.try_ask(&waiting);
        over.store(true, Ordering::Relaxed);
        done
    });
    let plain = scene.value("pod/plain-server", "{.status.podIP}");
    let send = format!("--send={OPEN}");
    scene.answered("plain-client", &["mesh-echo", "client", "-4", &send, "tcp", &format!("{plain}:9000")]);
    let captured = capture.end().expect("what was captured");

    println!(
        "{PODS} pods in {:.0} s, all answered: {}; {} frames of {:.1} MB captured, {} left out",
        start.elapsed().as_secs_f64(),
        done.is_ok(),
        captured.frames.len(),
        megabytes(captured.bytes()),
        captured.left_out
    );
    assert!(!captured.contains(format!("{SECRET}rush-").as_bytes()), "an enrolled pod spoke in plaintext");
    assert!(captured.contains(OPEN.as_bytes()), "the capture sees what is said in the open");
    assert_eq!(captured.left_out, 0);
    assert!(done.is_ok(), "not every pod was answered in the end: {done:?}; {}", unanswered(&scene));
}

/// What is known of the pods that are not done: of each whether it is in the mesh, and what its last call gave.
fn unanswered(scene: &Scene) -> String {
    let path = r#"{range .items[*]}{.metadata.name} on {.spec.nodeName}: {.status.conditions[?(@.type=="mesh.internal/Enrolled")]}{"\n"}{end}"#;
    let output = format!("--output=jsonpath={path}");
    let selected =
        ["get", "pods", "--selector=job-name=rush", "--field-selector=status.phase!=Succeeded", &output];
    let pods = scene.ask(&selected);
    let said = |line: &str| {
        let name = line.split(' ').next().unwrap_or_default();
        let log = ["--namespace=rush", "logs", name, "--tail=1"];
        format!("{line}; {}", scene.mesh.try_ask(&log).unwrap_or_else(|error| error))
    };
    let first: String = pods.lines().take(10).map(said).collect();
    format!("{} pods, of which\n{first}", pods.lines().count())
}

/// Lets the agent of the node work for a twentieth of the time, and once not at all.
fn starve(mesh: &Mesh, over: &AtomicBool) {
    let pids: [Pid; 2] = ["wire", "relay"].map(|part| {
        let found = mesh.cluster.process(NODE, "mesh-agent", &[part]);
        found.unwrap_or_else(|| panic!("no {part} runs on {NODE}"))
    });
    let all = |signal: Signal| {
        for pid in &pids {
            // One that ended is another test's matter.
            let _ = kill(*pid, signal);
        }
    };
    let start = Instant::now();
    let mut stopped = false;
    while !over.load(Ordering::Relaxed) && start.elapsed() < Duration::from_secs(60) {
        all(Signal::SIGSTOP);
        if !stopped && start.elapsed() > Duration::from_secs(15) {
            thread::sleep(STOPPED);
            stopped = true;
        }
        thread::sleep(SLICE * 19);
        all(Signal::SIGCONT);
        thread::sleep(SLICE);
    }
    all(Signal::SIGCONT);
}

#[expect(clippy::cast_precision_loss, reason = "for people; a capture fits in memory")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
