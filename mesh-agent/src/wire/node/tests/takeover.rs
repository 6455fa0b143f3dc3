//! One wire takes another's place while the relays of both are there.

use super::super::Signal;
use super::agents::{Relay, answering};
use super::{Node, Place, UID, listeners, on_a_node, pod, remove_cgroup, tell};
use crate::handover::{ToWire, uid_hash};
use crate::wire::listeners::Kept;
use crate::wire::pins::{PinError, Pins, is_unheld};

/// A pod that is wired and served by the relay of a wire, of which `cgroup` is; and what that relay holds.
fn served(place: &mut Place, cgroup: &std::path::Path) -> (Node, Relay, Kept) {
    let mut node = place.wire();
    let relay = Relay::start(cgroup);
    node.hear(Signal::Agent(relay.pid()));
    place.start_pod();
    tell(&mut node, 1, vec![pod()]);
    let held = node.parts.kernel.listeners.of(uid_hash(UID)).unwrap();
    (node, relay, held)
}

fn serves(node: &mut Node) {
    let listeners = node.reported[UID].listeners;
    node.told(1, ToWire::Serves { uid: UID.to_owned(), listeners });
}

#[test]
fn connections_go_to_the_earlier_relay_until_the_next_one_is_ready() {
    on_a_node(|| {
        let mut place = Place::new("takeover");
        let cgroup = place.cgroup_root.join("relay");
        let (old, mut relay, held) = served(&mut place, &cgroup);
        assert!(matches!(Pins::open(&place.pin_root()), Err(PinError::Held { .. })));
        assert!(!is_unheld(&place.pin_root()));

        let (agents, _) = old.give_way();
        assert_eq!(agents, [relay.pid()], "nobody is in the test's own");
        assert!(is_unheld(&place.pin_root()));
        let path = place.hierarchy.of_process(agents[0]).unwrap();
        assert_eq!(path, cgroup);
        let mut node = place.wire_after(Some(&[path]));
        assert_eq!(answering(&node), 4, "the earlier relay's options are answered");

        tell(&mut node, 1, vec![pod()]);
        assert_ne!(node.reported[UID].listeners, 0, "the next relay has listeners to take up");
        assert!(node.parts.kernel.earlier.serves(held.netns));
        node.told(1, ToWire::Serves { uid: UID.to_owned(), listeners: held.made_at });
        assert!(node.parts.kernel.earlier.serves(held.netns), "that was about others");
        assert_eq!(listeners(&node), 2);
        serves(&mut node);
        assert!(!node.parts.kernel.earlier.serves(held.netns));
        assert_eq!(std::sync::Arc::strong_count(&held.pair), 1, "the earlier wire has let go of its own");
        drop(held);
        assert_eq!(listeners(&node), 2, "the gate reaches the next ones, with the earlier ones closed");

        let own = place.cgroup_root.join("next-relay");
        let mut next = Relay::start(&own);
        node.hear(Signal::Agent(next.pid()));
        assert_eq!(answering(&node), 6, "both relays' options are");
        relay.end();
        node.verify();
        assert_eq!(node.parts.agents, [place.agent_cgroup(), own.clone()]);
        assert_eq!(answering(&node), 4);
        next.end();
        drop(node);
        remove_cgroup(&cgroup);
        remove_cgroup(&own);
    });
}

#[test]
fn an_earlier_relay_that_ends_too_soon_leaves_its_pods_to_the_next_one() {
    on_a_node(|| {
        let mut place = Place::new("orphans");
        let cgroup = place.cgroup_root.join("relay");
        let (old, _relay, held) = served(&mut place, &cgroup);
        old.give_way();
        let mut node = place.wire_after(Some(&[]));
        tell(&mut node, 1, vec![pod()]);
        drop(held);
        assert_eq!(listeners(&node), 0, "nobody holds the earlier ones, the next ones are not in place");
        node.parts.kernel.take_up_what_is_left().unwrap();
        assert_eq!(listeners(&node), 2);
        drop(node);
        // Without anybody before, they are in place at once.
        let mut node = place.wire_after(Some(&[]));
        tell(&mut node, 1, vec![pod()]);
        assert_eq!(listeners(&node), 2);
        drop((node, _relay));
        remove_cgroup(&cgroup);
    });
}
