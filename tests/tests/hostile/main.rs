//! Pods that do not play by the rules: forged sources, claims to neighbours, frames past the stack, translation and
//! nested namespaces behind the connect hook's back, foreign programs beside ours. Every test says what was sent, that
//! it was refused for the right reason, and that it did not arrive. Both CNI layouts, both families.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

#[path = "../scene/mod.rs"]
mod scene;

mod foreign;
mod frames;
mod harmless;
mod neighbours;
mod protocols;
mod sources;
mod translation;

use std::sync::OnceLock;

use mesh_tests::{node::Cni, testbed::Testbed};

use scene::{
    SOON,
    manifest::{IDLE, SERVE, enrolled_namespace, plain_pod, pod, policy},
};

/// The layouts that every attack is tried in.
const LAYOUTS: [Cni; 2] = [Cni::Ptp, Cni::Bridge];

/// A testbed of each layout, shared by the tests of this file: they add to its counts, never rely on their absence.
///
/// | pod | what it is |
/// |---|---|
/// | `attacker` | enrolled, no policy about what it may reach |
/// | `victim` | enrolled, the only one that `server` admits |
/// | `server` | enrolled, under an ingress policy |
/// | `caged` | enrolled, under an egress policy: only `allowed` |
/// | `allowed`, `forbidden` | enrolled servers that admit anyone |
/// | `outside` | a server that is not in the mesh |
fn bed(cni: Cni) -> &'static Testbed {
    static BEDS: [OnceLock<Testbed>; 2] = [OnceLock::new(), OnceLock::new()];
    let number = LAYOUTS.iter().position(|layout| *layout == cni).unwrap();
    BEDS[number].get_or_init(|| {
        scene::need_root();
        let bed = Testbed::builder()
            .name(format!("hostile-{}-{number}", std::process::id()))
            .cni(cni)
            .manifest(enrolled_namespace(scene::NAMESPACE))
            .manifest(pod("attacker", IDLE))
            .manifest(pod("victim", IDLE))
            .manifest(pod("caged", IDLE))
            .manifest(pod("server", SERVE))
            .manifest(pod("allowed", SERVE))
            .manifest(pod("forbidden", SERVE))
            .manifest(plain_pod("outside", SERVE))
            .manifest(policy("server", "ingress: [{name: victims, from: [{serviceAccounts: [victim]}]}]"))
            .manifest(policy("caged", "egress: [{name: one, to: [{pods: {matchLabels: {app: allowed}}}]}]"))
            .start()
            .unwrap();
        bed.wait_all_ready(SOON).unwrap();
        for pod in ["attacker", "victim", "caged", "server", "allowed", "forbidden"] {
            bed.wait_wired(scene::NAMESPACE, pod, SOON).unwrap();
        }
        // Policies may follow the pods; each is in force once it decides.
        for (client, server, reaches) in [
            ("victim", "server", true),
            ("caged", "allowed", true),
            ("caged", "forbidden", false),
            ("attacker", "server", false),
        ] {
            scene::counts::eventually(&bed, &format!("{client} to {server}: {reaches}"), SOON, || {
                let to = std::net::SocketAddr::new(scene::address(&bed, server, scene::Family::V4), 7000);
                let outcome = scene::dial(&bed, client, to);
                if outcome.is_ok() == reaches { Ok(()) } else { Err(format!("{outcome:?}")) }
            });
        }
        bed
    })
}
