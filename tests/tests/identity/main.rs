//! Who is believed (SEMANTICS 2 and 9): certificates that are not what they should be, joining, revocation, rotation
//! under traffic, and what goes on with parts of the mesh away.
//!
//! One testbed for the whole file. On two of its nodes no agent runs: there the tests play the mesh's part, with
//! certificates that they issue themselves from the testbed's authority. One test at a time: some stop what others need.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

#[path = "../scene/mod.rs"]
mod scene;

mod agent;
mod away;
mod clients;
mod discovery;
mod joining;
mod revoked;
mod rotation;
mod servers;
mod traffic;

use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use mesh_tests::{
    hbone::{Authority, Leaf},
    trial::{Trial, echo, eventually},
};

/// Where clients are.
const NEAR: &str = "node-1";
/// Where servers are.
const FAR: &str = "node-2";
/// Where no agent runs.
const PLAYED: &str = "node-3";

/// Longest wait for what should happen at once.
const SOON: Duration = Duration::from_secs(10);

/// Pods of the namespace `played` are in the mesh for everybody, but nothing of the mesh is in them.
const CLUSTER: &str = "
apiVersion: mesh.internal/v1alpha1
kind: MeshConfig
metadata: {name: default}
spec: {telemetry: {accessLog: {format: JSON, level: All}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: id}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: played, labels: {mesh.internal/mode: enabled}}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-1}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-2}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-3, labels: {testbed.mesh.internal/agent: absent}}}
";

/// The testbed, for one test at a time.
struct Cluster {
    trial: &'static Trial,
    _turn: MutexGuard<'static, ()>,
}

impl std::ops::Deref for Cluster {
    type Target = Trial;

    fn deref(&self) -> &Trial {
        self.trial
    }
}

/// The testbed of this file, with `id/client` on one node and `id/server` on the other.
fn cluster() -> Cluster {
    static TURN: Mutex<()> = Mutex::new(());
    static SHARED: OnceLock<Trial> = OnceLock::new();
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let trial = SHARED.get_or_init(|| {
        let trial = Trial::start("identity", CLUSTER);
        put_base(&trial);
        trial
    });
    whole(trial);
    Cluster { trial, _turn: turn }
}

/// The pods that every test finds.
fn put_base(trial: &Trial) {
    trial.put_all(
        "base",
        &[
            &echo("id", "client").account("client"),
            &echo("id", "neighbour").account("neighbour"),
            &echo("id", "server").account("server").on(FAR),
            &echo("id", "outside").plain().on(FAR),
        ],
    );
}

/// Runs `mesh-hbone` in a pod; gives its last line.
fn hbone(trial: &Trial, place: &str, words: &str) -> serde_json::Value {
    let argv: Vec<&str> = ["mesh-hbone"].into_iter().chain(words.split_whitespace()).collect();
    let said = trial.run_in(place, &argv);
    let last = said.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{place}: {words}: {error}: {said}"))
}

/// Waits until the client reaches the server, whatever the test before did.
fn whole(trial: &Trial) {
    for to in trial.resolve("id/server:8080") {
        eventually(&format!("id/client reaches {to}"), SOON * 2, || {
            matches!(trial.tcp("id/client", to), mesh_tests::trial::Outcome::Answered(_)).then_some(())
        });
    }
}

impl Cluster {
    /// The folder of the certificates that tests issue.
    fn papers(&self) -> PathBuf {
        let folder = self.run().join("papers");
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// The mesh's authority.
    fn authority(&self) -> Authority {
        Authority::open(&self.bed().layout().ca()).unwrap()
    }

    /// Issues a certificate of this identity, in `papers/FILE`; gives the options for `mesh-hbone`.
    fn issue(&self, file: &str, leaf: &Leaf<'_>) -> String {
        self.authority().issue(&self.papers(), file, leaf).unwrap();
        self.words(file)
    }

    /// The options of `mesh-hbone` for certificates that are there.
    fn words(&self, file: &str) -> String {
        let stem = self.papers().join(file).display().to_string();
        format!("--cert {stem}.crt --key {stem}.key --roots {stem}.ca")
    }

    /// Opens a tunnel to the server with these credentials.
    fn tunnel(&self, credentials: &str) -> serde_json::Value {
        let server = self.pod("id/server").addresses[0];
        let words = format!("client {server}:15008 --authority {server}:8080 {credentials}");
        hbone(self, "id/outside", &words)
    }

    /// Waits until a log says this reason beside all these words.
    fn is_logged(&self, reason: &str, beside: &[&str]) {
        eventually(&format!("a log says {reason} beside {beside:?}"), SOON, || {
            let log = self.access_log();
            log.iter()
                .any(|(_, line)| line.contains(reason) && beside.iter().all(|word| line.contains(word)))
                .then_some(())
        });
    }
}
