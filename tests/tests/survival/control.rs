//! Without a controller the node goes on with what it was told last, and takes up where it was when there is one again.

use super::{bed, enforced, scene, thousand_connections, whole};
use scene::{
    NAMESPACE, SOON, controller,
    counts::{eventually, metric},
    dial,
    manifest::{IDLE, pod, policy},
    port_of,
};

const CONNECTED: &str = "mesh_discovery_connected";

#[test]
fn with_the_controller_gone_everything_known_is_enforced_and_what_is_new_follows_when_it_is_back() {
    let bed = bed();
    controller::hold(&bed);
    eventually(&bed, "relay to notice", SOON, || {
        if metric(&bed, CONNECTED) == 0 { Ok(()) } else { Err("connected".to_owned()) }
    });
    thousand_connections(&bed);
    // New, and unknown for now.
    bed.apply(&pod("newcomer", IDLE)).unwrap();
    bed.apply(&policy("server", "ingress: [{name: more, from: [{serviceAccounts: [client, newcomer]}]}]"))
        .unwrap();
    bed.wait_ready(NAMESPACE, "newcomer", SOON).unwrap();
    assert_eq!(dial(&bed, "newcomer", port_of(&bed, "server")).unwrap_err(), "ECONNREFUSED=1");

    controller::release(&bed);
    bed.wait_wired(NAMESPACE, "newcomer", SOON * 2).unwrap();
    eventually(&bed, "the changed policy to decide", SOON, || {
        dial(&bed, "newcomer", port_of(&bed, "server"))
    });
    assert_eq!(metric(&bed, CONNECTED), 1);
    enforced(&bed).unwrap();

    bed.apply(&policy("server", "ingress: [{name: clients, from: [{serviceAccounts: [client]}]}]")).unwrap();
    eventually(&bed, "the policy to be as before", SOON, || {
        match dial(&bed, "newcomer", port_of(&bed, "server")) {
            Err(_) => Ok(()),
            Ok(()) => Err("still admitted".to_owned()),
        }
    });
    bed.delete("Pod", NAMESPACE, "newcomer").unwrap();
    bed.wait_gone(NAMESPACE, "newcomer", SOON).unwrap();
}

/// Killed with everything in flight and started again at once, as a crash does.
#[test]
fn a_controller_that_crashes_again_and_again_changes_nothing_on_the_node() {
    let bed = bed();
    for _ in 0..3 {
        controller::crash(&bed);
        enforced(&bed).unwrap();
        eventually(&bed, "discovery to be connected again", SOON * 2, || {
            if metric(&bed, CONNECTED) == 1 { Ok(()) } else { Err("not connected".to_owned()) }
        });
        enforced(&bed).unwrap();
    }
    whole(&bed);
}
