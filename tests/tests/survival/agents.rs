//! With parts of the agent dead or stopped, connections between pods of the node are made and refused as before.

use mesh_tests::testbed::Part;

use super::{
    bed, enforced,
    scene::{self, NODE, SOON},
    thousand_connections, whole, without,
};

#[test]
fn with_wire_killed_not_one_of_1000_new_connections_fails_and_the_policy_denies() {
    let bed = bed();
    let gone = without(&bed, &[Part::Wire]);
    thousand_connections(&bed);
    drop(gone);
    whole(&bed);
}

#[test]
fn with_relay_killed_not_one_of_1000_new_connections_fails_and_the_policy_denies() {
    let bed = bed();
    let gone = without(&bed, &[Part::Relay]);
    thousand_connections(&bed);
    drop(gone);
    // Its socket is of the process before until it has come up again.
    scene::counts::eventually(&bed, "relay to answer", SOON, || {
        bed.admin(NODE, "/status").map(drop).map_err(|error| error.to_string())
    });
    whole(&bed);
}

#[test]
fn with_both_killed_not_one_of_1000_new_connections_fails_and_the_policy_denies() {
    let bed = bed();
    let gone = without(&bed, &[Part::Wire, Part::Relay]);
    thousand_connections(&bed);
    drop(gone);
    scene::counts::eventually(&bed, "relay to answer", SOON, || {
        bed.admin(NODE, "/status").map(drop).map_err(|error| error.to_string())
    });
    whole(&bed);
}

#[test]
fn with_relay_stopped_not_one_of_1000_new_connections_fails_and_the_policy_denies() {
    let bed = bed();
    bed.pause_agent(NODE, Part::Relay).unwrap();
    thousand_connections(&bed);
    bed.resume_agent(NODE, Part::Relay).unwrap();
    whole(&bed);
    enforced(&bed).unwrap();
}
