//! What goes on when parts of the mesh do not (DESIGN 2, 3; SEMANTICS 9.2): agents killed, stopped and replaced, the
//! controller gone, testbeds side by side and after a killed one. One test at a time: they kill what others need.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

#[path = "../scene/mod.rs"]
mod scene;

mod agents;
mod control;
mod kernel;
mod replace;
mod testbeds;
mod uninstall;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use mesh_tests::testbed::{Part, Testbed};

use scene::{
    NAMESPACE, NODE, SOON, Words,
    manifest::{IDLE, enrolled_namespace, pod, policy},
};

/// A testbed that a test has for itself while it runs.
struct Bed {
    bed: &'static Testbed,
    _turn: MutexGuard<'static, ()>,
}

impl std::ops::Deref for Bed {
    type Target = Testbed;

    fn deref(&self) -> &Testbed {
        self.bed
    }
}

/// The shared testbed, whole: what an earlier test held back or stopped is there again.
fn bed() -> Bed {
    static BED: OnceLock<Testbed> = OnceLock::new();
    let turn = turn();
    let bed = BED.get_or_init(|| start("survive"));
    Bed { bed, _turn: turn }
}

/// The turn of a test that makes testbeds of its own.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A testbed with `server`, which admits only `client`, and `foe`.
fn start(name: &str) -> Testbed {
    scene::need_root();
    let echo = ["mesh-echo", "server", "--tcp", "7000"];
    let bed = Testbed::builder()
        .name(format!("{name}-{}", std::process::id()))
        .manifest(enrolled_namespace(NAMESPACE))
        .manifest(pod("server", &echo))
        .manifest(pod("client", IDLE))
        .manifest(pod("foe", IDLE))
        .manifest(policy("server", "ingress: [{name: clients, from: [{serviceAccounts: [client]}]}]"))
        .start()
        .unwrap();
    bed.wait_all_ready(SOON).unwrap();
    whole(&bed);
    bed
}

/// Waits until every pod is wired and the policy decides.
fn whole(bed: &Testbed) {
    for pod in ["server", "client", "foe"] {
        bed.wait_wired(NAMESPACE, pod, SOON).unwrap();
    }
    scene::counts::eventually(bed, "the policy to decide", SOON, || enforced(bed));
}

/// Whether the client reaches the server and the foe is refused.
fn enforced(bed: &Testbed) -> Result<(), String> {
    let server = scene::port_of(bed, "server");
    let (client, foe) = (scene::dial(bed, "client", server), scene::dial(bed, "foe", server));
    match (&client, &foe) {
        (Ok(()), Err(refused)) if refused == "ECONNREFUSED=1" => Ok(()),
        _ => Err(format!("client {client:?}, foe {foe:?}")),
    }
}

/// Makes 1,000 new connections on the node, of which not one may fail, and sees that the policy still denies.
fn thousand_connections(bed: &Testbed) {
    let server = scene::port_of(bed, "server").to_string();
    // A connection that takes longer than a busy machine has failed.
    let argv = ["mesh-echo", "storm", &server, "--connections", "1000", "--timeout", "20000"];
    let storm = Words::of(&scene::run(bed, "client", &argv));
    assert_eq!((storm.count("ok"), storm.count("failed")), (1000, 0), "{storm:?}");
    println!("1000 new connections: {storm:?}");
    enforced(bed).unwrap();
}

/// Kills the parts and keeps them away; gives what brings them back.
fn without<'a>(bed: &'a Testbed, parts: &'a [Part]) -> Without<'a> {
    for part in parts {
        bed.hold_agent(NODE, *part).unwrap();
    }
    for part in parts {
        bed.wait_for("the agent to be gone", SOON, || {
            bed.agent(NODE, *part).map_or(Ok(()), |pid| Err(pid.to_string()))
        })
        .unwrap();
    }
    Without { bed, parts }
}

/// Parts of the agent that are gone for as long as this lives.
struct Without<'a> {
    bed: &'a Testbed,
    parts: &'a [Part],
}

impl Drop for Without<'_> {
    fn drop(&mut self) {
        for part in self.parts {
            if let Err(error) = self.bed.release_agent(NODE, *part) {
                eprintln!("{part} stays away: {error}");
            }
        }
    }
}
