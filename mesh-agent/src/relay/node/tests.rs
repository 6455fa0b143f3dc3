use std::net::IpAddr;

use super::Node;
use crate::handover::{PodReport, PodState};
use crate::relay::resource::{Local, Resource, Workload};

const UID: &str = "uid-vault";
const NAME: &str = "bank/vault/uid-vault";

fn workload(addresses: &[IpAddr], host_network: bool, local: bool) -> Resource {
    Resource::Workload(Workload {
        uid: UID.into(),
        namespace: "bank".into(),
        name: "vault".into(),
        service_account: "vault".into(),
        addresses: addresses.to_vec(),
        node: "n1".into(),
        workload: "vault".into(),
        enrolled: true,
        host_network,
        group: 7,
        encrypt_always: false,
        local: local.then(Local::default),
    })
}

fn seen(node: &Node, routed: &[IpAddr]) -> bool {
    let report = PodReport { routed: routed.to_vec(), ..PodReport::of(UID, PodState::Pending) };
    node.pods.borrow_mut().insert(UID.into(), report);
    node.place(UID)
}

fn addresses(node: &Node) -> Vec<IpAddr> {
    node.desired.borrow().workload(NAME).map(|workload| workload.addresses.clone()).unwrap_or_default()
}

#[test]
fn a_pod_is_where_wire_sees_it_until_discovery_says_where() {
    let (first, other) = (IpAddr::from([10, 0, 0, 2]), IpAddr::from([10, 0, 0, 9]));
    let (node, _questions) = Node::new("n1");
    assert!(!seen(&node, &[first]), "nobody has named it");
    node.set(NAME, workload(&[], false, true));
    assert_eq!(addresses(&node), [first], "whichever comes first");
    assert!(!seen(&node, &[first]), "nothing new");
    // Its labels change before the API knows its address.
    node.set(NAME, workload(&[], false, true));
    assert_eq!(addresses(&node), [first]);
    node.set(NAME, workload(&[other], false, true));
    assert_eq!(addresses(&node), [other], "discovery knows better");
    assert!(!seen(&node, &[first]));
    assert_eq!(addresses(&node), [other]);

    let (node, _questions) = Node::new("n1");
    node.set(NAME, workload(&[], false, true));
    assert!(addresses(&node).is_empty());
    assert!(seen(&node, &[first]));
    assert_eq!(addresses(&node), [first]);
}

#[test]
fn neither_a_host_network_pod_nor_another_nodes_is_placed() {
    let first = IpAddr::from([10, 0, 0, 2]);
    for (host_network, local) in [(true, true), (false, false)] {
        let (node, _questions) = Node::new("n1");
        node.set(NAME, workload(&[], host_network, local));
        assert!(!seen(&node, &[first]));
        assert!(addresses(&node).is_empty());
    }
}
