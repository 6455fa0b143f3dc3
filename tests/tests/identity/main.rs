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
mod fallback;
mod given;
mod joining;
mod policy;
mod relays;
mod renewal;
mod revoked;
mod rotation;
mod servers;
mod told;
mod traffic;

use std::{
    borrow::Borrow,
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use mesh_tests::{
    hbone::{Authority, Leaf},
    trial::{Outcome, PLAYED, Trial, echo, eventually},
};

/// Where clients are.
const NEAR: &str = "node-1";
/// Where servers are.
const FAR: &str = "node-2";

/// Longest wait for what should happen at once, on a machine that is busy with something else.
const SOON: Duration = Duration::from_secs(30);

/// How long a client waits for a reset by relay, in milliseconds.
const PATIENT: &str = "40000";

/// Longest time until relay has given up what cannot be: 10 seconds, and what a slow machine adds. A client that it
/// resets does not come to the end of its own patience.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(30);

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

/// A testbed whose certificates are short-lived, and whose every node follows when the root is replaced.
const SHORT_LIVED: &str = "
apiVersion: mesh.internal/v1alpha1
kind: MeshConfig
metadata: {name: default}
spec: {ca: {workloadTTL: 30s}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: id}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-1}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-2}}
";

/// A testbed, for one test at a time.
struct Cluster<T = &'static Trial> {
    trial: T,
    _turn: MutexGuard<'static, ()>,
}

impl<T: Borrow<Trial>> std::ops::Deref for Cluster<T> {
    type Target = Trial;

    fn deref(&self) -> &Trial {
        self.trial.borrow()
    }
}

/// The testbed of this file, with `id/client` on one node and `id/server` on the other.
fn cluster() -> Cluster {
    static SHARED: OnceLock<Trial> = OnceLock::new();
    Cluster::shared(&SHARED, "identity", CLUSTER)
}

/// The same of the testbed with short-lived certificates.
fn short_lived() -> Cluster {
    static SHARED: OnceLock<Trial> = OnceLock::new();
    Cluster::shared(&SHARED, "short-lived", SHORT_LIVED)
}

/// The pods that every test finds.
fn put_base(trial: &Trial) {
    trial.put_all(
        "base",
        &[
            &echo("id", "client").account("client"),
            &echo("id", "neighbour").account("neighbour"),
            &echo("id", "server").account("server").on(FAR),
            &echo("id", "beside").account("beside").on(FAR),
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
        eventually(&format!("id/client reaches {to}"), SOON, || {
            matches!(trial.tcp("id/client", to), Outcome::Answered(_)).then_some(())
        });
    }
}

impl Cluster {
    fn shared(shared: &'static OnceLock<Trial>, topic: &str, yaml: &str) -> Self {
        let turn = turn();
        let trial = shared.get_or_init(|| {
            let trial = Trial::start(topic, yaml);
            put_base(&trial);
            trial
        });
        whole(trial);
        Self { trial, _turn: turn }
    }
}

impl Cluster<Trial> {
    /// One that is taken down at the end of its test.
    fn own(start: impl FnOnce() -> Trial) -> Self {
        let turn = turn();
        let trial = start();
        put_base(&trial);
        whole(&trial);
        Self { trial, _turn: turn }
    }
}

/// Tests stop what others need.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Borrow<Trial>> Cluster<T> {
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

    /// Opens a tunnel to an address of the server with these credentials.
    fn tunnel(&self, server: IpAddr, credentials: &str) -> serde_json::Value {
        hbone(self, "id/outside", &dial(server, credentials))
    }
}

/// What `mesh-hbone` is told for a tunnel to a server's port 8080.
fn dial(server: IpAddr, credentials: &str) -> String {
    let (tunnel, to) = (SocketAddr::new(server, 15_008), SocketAddr::new(server, 8080));
    format!("client {tunnel} --authority {to} --timeout 20000 {credentials}")
}

/// The addresses of the server, one in each family.
fn servers(trial: &Trial) -> Vec<IpAddr> {
    let addresses = trial.pod("id/server").addresses;
    assert!(addresses.iter().any(IpAddr::is_ipv4) && addresses.iter().any(IpAddr::is_ipv6), "{addresses:?}");
    addresses
}

/// Fails unless a connection ended as a tunnel that comes to nothing shows to the application: it was made, and then
/// reset.
fn is_reset(what: &str, outcome: &Outcome) {
    let failed = outcome.failure();
    assert!(["ECONNRESET", "EPIPE", "ENOTCONN"].contains(&failed.errno.as_str()), "{what}: {failed:?}");
    assert!(failed.after < GIVEN_UP_WITHIN, "{what}: {failed:?}");
}
