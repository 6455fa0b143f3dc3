//! SEMANTICS 4.3 and 4.4: `Preferred` is no permission to speak plaintext. Whoever is in the mesh is talked to through
//! the tunnel or not at all, even if his port would answer as it is.

use std::{net::SocketAddr, thread};

use mesh_tests::{
    capture::Capture,
    trial::{Outcome, played},
};

use super::{cluster, servers::is_tunnelled};

/// What a capture may keep, bytes.
const ROOM: usize = 64 << 20;

/// Drops what comes to the tunnel's port.
pub(super) const DROP: &str = "nft add table inet m; nft 'add chain inet m in {type filter hook input priority 0;}'; \
    nft add rule inet m in tcp dport 15008 drop";

#[test]
fn what_is_preferred_is_never_given_up_for_plaintext() {
    let cluster = cluster();
    let serve = "exec mesh-echo server --tcp 8080";
    cluster.put(
        "fallback",
        played("closed", serve) + "---\n" + &played("filtered", &format!("{DROP}; {serve}")),
    );
    let targets: Vec<SocketAddr> = ["played/closed:8080", "played/filtered:8080"]
        .into_iter()
        .flat_map(|to| cluster.resolve(to))
        .collect();
    assert_eq!(targets.len(), 4, "two pods, each with an address of each family: {targets:?}");
    targets.iter().for_each(|to| is_tunnelled(&cluster, *to));

    let capture = Capture::begin(cluster.bed().layout(), ROOM).unwrap();
    let marker = format!("never-in-plaintext-{}", std::process::id());
    thread::scope(|scope| {
        for to in &targets {
            let (trial, words) = (cluster.trial, ["--timeout", super::PATIENT, "--send", marker.as_str()]);
            scope.spawn(move || {
                super::is_reset(&to.to_string(), &trial.call("id/client", "tcp", to, &words));
            });
        }
    });
    // Those ports answer, and the capture sees what is said to them: by a pod that is not in the mesh.
    let control = format!("plaintext-of-a-stranger-{}", std::process::id());
    for to in &targets {
        let outcome = cluster.call("id/outside", "tcp", to, &["--send", &control]);
        assert!(matches!(&outcome, Outcome::Answered(answer) if answer.text == control), "{to}: {outcome:?}");
    }
    let captured = capture.end().unwrap();
    assert_eq!(captured.left_out, 0, "a capture that is not whole shows nothing");
    assert!(captured.contains(control.as_bytes()), "the capture does not see what crosses the bridge");
    assert!(!captured.contains(marker.as_bytes()), "a connection was made in plaintext");
    cluster.remove("fallback");
}
