//! The wire format of the tunnel (HBONE): a foreign client is served, a foreign server is talked to, frames are what
//! they were, and whoever speaks badly hurts nobody else.
//!
//! The peer is `mesh-hbone`, which shares no code with the agent. On one node no agent runs, so that a pod there
//! can be the tunnel's other end.

mod abuse;
mod foreign;
mod frames;
mod limits;
mod proof;

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::OnceLock,
    time::Duration,
};

use mesh_tests::{
    hbone::{Authority, Leaf},
    trial::{Trial, echo, eventually, played},
};
use serde_json::Value;

/// Longest wait for what should happen at once, on a machine that is busy with something else.
const SOON: Duration = Duration::from_secs(30);

const CLUSTER: &str = "
apiVersion: mesh.internal/v1alpha1
kind: MeshConfig
metadata: {name: default}
spec: {telemetry: {accessLog: {format: JSON, level: All}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: hb}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: played, labels: {mesh.internal/mode: enabled}}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-1}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-2}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-3, labels: {testbed.mesh.internal/agent: absent}}}
";

/// The testbed of this file: `hb/server` and `hb/client` in the mesh, `hb/foreign` on another node and out of it.
fn cluster() -> &'static Trial {
    static SHARED: OnceLock<Trial> = OnceLock::new();
    SHARED.get_or_init(|| {
        let trial = Trial::start("hbone", CLUSTER);
        trial.put_all(
            "base",
            &[
                &echo("hb", "server").account("server"),
                &echo("hb", "client").account("client"),
                &echo("hb", "fresh").account("fresh"),
                &echo("hb", "far").account("far").on("node-2"),
                &echo("hb", "foreign").plain().on("node-2"),
            ],
        );
        issue(&trial, "foreign", "spiffe://cluster.local/ns/hb/sa/foreign");
        for server in trial.pod("hb/server").addresses {
            eventually("the foreign client is served", SOON, || {
                (client(&trial, server, "")["status"] == 200).then_some(())
            });
        }
        trial
    })
}

/// The folder of the certificates that tests issue.
fn papers(trial: &Trial) -> PathBuf {
    let folder = trial.run().join("papers");
    fs::create_dir_all(&folder).expect("the run directory is ours");
    folder
}

/// Issues a certificate by the mesh's authority; gives the options of `mesh-hbone` for it.
fn issue(trial: &Trial, file: &str, id: &str) -> String {
    let authority = Authority::open(&trial.bed().layout().ca()).expect("the authority's files are there");
    let issued = authority.issue(&papers(trial), file, &Leaf { names: &[id], ..Leaf::default() });
    issued.expect("it signs");
    words(trial, file)
}

/// The options of `mesh-hbone` for certificates that are there.
fn words(trial: &Trial, file: &str) -> String {
    let stem = papers(trial).join(file).display().to_string();
    format!("--cert {stem}.crt --key {stem}.key --roots {stem}.ca")
}

/// Runs `mesh-hbone` in a pod; gives its lines.
fn hbone(trial: &Trial, place: &str, words: &str) -> Vec<Value> {
    let argv: Vec<&str> = ["mesh-hbone"].into_iter().chain(words.split_whitespace()).collect();
    let said = trial.run_in(place, &argv);
    let lines: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(!lines.is_empty(), "{place}: mesh-hbone {words} said nothing that is JSON: {said}");
    lines
}

/// One tunnel of the foreign client to port 8080 of this address of the server, with more options.
fn client(trial: &Trial, server: IpAddr, more: &str) -> Value {
    let authority = SocketAddr::new(server, 8080).to_string();
    ask(trial, "hb/foreign", server, &authority, &format!("{} {more}", words(trial, "foreign")))
}

/// One tunnel from a pod to a pod's tunnel port, for this authority, with more options.
fn ask(trial: &Trial, from: &str, pod: IpAddr, authority: &str, more: &str) -> Value {
    let to = SocketAddr::new(pod, 15_008);
    let line = format!("client {to} --authority {authority} --timeout 20000 {more}");
    hbone(trial, from, &line).pop().expect("there is a line")
}

/// What the program in a played pod has printed so far.
fn seen(trial: &Trial, name: &str) -> Vec<Value> {
    let log = trial.bed().layout().log(&format!("played.{name}.main"));
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Where the tool in a played pod is called: both families.
fn dialled(trial: &Trial, name: &str) -> Vec<SocketAddr> {
    let addresses = trial.pod(&format!("played/{name}")).addresses;
    addresses.into_iter().map(|address| SocketAddr::new(address, 8080)).collect()
}

/// Calls a played pod from `hb/client` until it is answered, and gives the client's own address.
fn call(trial: &Trial, to: SocketAddr, said: &str) -> SocketAddr {
    eventually(&format!("{to} answers"), SOON, || {
        match trial.call("hb/client", "tcp", to, &["--send", said, "--timeout", "20000"]) {
            mesh_tests::trial::Outcome::Answered(answer) if answer.text == said => Some(answer.local),
            _ => None,
        }
    })
}
