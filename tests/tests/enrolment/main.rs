//! How pods come into the mesh and leave it (SEMANTICS 1): unknown, pending, wired, plain; by label, live, late, and
//! never. One test at a time: some of them stop the controller.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

#[path = "../scene/mod.rs"]
mod scene;

mod departure;
mod joining;
mod late;
mod refusal;
mod reset;
mod rush;
mod unknown;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use mesh_tests::testbed::Testbed;

use scene::{
    SOON,
    manifest::{IDLE, SERVE, enrolled_namespace, plain_namespace, plain_pod, pod, policy},
};

/// What unknown pods may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    Open,
    Closed,
}

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

/// The testbed with this `enrolment.unknown`.
///
/// | pod | what it is |
/// |---|---|
/// | `server` | enrolled, admits only the service accounts `friend`, `starter` and `joiner` |
/// | `friend`, `foe` | enrolled clients |
/// | `outside` | a server that is not in the mesh |
///
/// Of the other namespaces, `quiet` is not in the mesh and `strict` requires mTLS.
fn bed(unknown: Unknown) -> Bed {
    static BEDS: [OnceLock<Testbed>; 2] = [OnceLock::new(), OnceLock::new()];
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let number = usize::from(unknown == Unknown::Closed);
    let bed = BEDS[number].get_or_init(|| {
        scene::need_root();
        let config = format!(
            "apiVersion: mesh.internal/v1alpha1\nkind: MeshConfig\nmetadata: {{name: default}}\n\
             spec: {{enrolment: {{unknown: {unknown:?}}}, namespaces: [{{names: [strict], mtls: Required}}]}}\n"
        );
        let bed = Testbed::builder()
            .name(format!("enrol-{}-{number}", std::process::id()))
            .manifest(config)
            .manifest(enrolled_namespace(scene::NAMESPACE))
            .manifest(enrolled_namespace("strict"))
            .manifest(plain_namespace("quiet"))
            .manifest(pod("server", SERVE))
            .manifest(pod("friend", IDLE))
            .manifest(pod("foe", IDLE))
            .manifest(plain_pod("outside", SERVE))
            .manifest(policy("server", "ingress: [{name: friends, from: [{serviceAccounts: [friend, starter, joiner]}]}]"))
            .start()
            .unwrap();
        bed.wait_all_ready(SOON).unwrap();
        for (client, reaches) in [("friend", true), ("foe", false)] {
            bed.wait_wired(scene::NAMESPACE, client, SOON).unwrap();
            scene::counts::eventually(&bed, &format!("{client} to server: {reaches}"), SOON, || {
                let outcome = scene::dial(&bed, client, scene::port_of(&bed, "server"));
                if outcome.is_ok() == reaches { Ok(()) } else { Err(format!("{outcome:?}")) }
            });
        }
        bed
    });
    Bed { bed, _turn: turn }
}
