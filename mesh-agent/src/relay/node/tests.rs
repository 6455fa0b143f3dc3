use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use mesh_ebpf::abi::Service as Flags;

use super::Node;
use crate::handover::{PodReport, PodState, ToWire};
use crate::relay::resource::{Kind, Local, Resource, Workload};
use crate::relay::routing::testing::{PORTS, address, backend, endpoint, name, requests, routes, service};

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

#[test]
fn routes_are_the_kernels_and_the_workers_to_know_as_long_as_there_are_any() {
    let (node, _questions) = Node::new("n1");
    let told = || -> Vec<u32> {
        let messages = node.desired.borrow_mut().take_changes(usize::MAX);
        let flags = messages.into_iter().filter_map(|message| match message {
            ToWire::Service(entry) => Some(entry.flags),
            _ => None,
        });
        flags.collect()
    };
    let table = requests(vec![backend(Some(1), 1)]);
    let made = routes(0, PORTS[0], Some(table.clone()), BTreeMap::new());
    node.set(&name(0), Resource::ServiceRoutes(made.into()));
    assert!(told().is_empty(), "there is no such Service yet");
    node.set(&name(0), Resource::Service(service(0, vec![endpoint(1, true, 1)])));
    let mut flags = told();
    flags.sort_unstable();
    assert_eq!(flags, [0, 0, Flags::ENGINE, Flags::ENGINE], "UDP and TCP, of both families");
    let dialled = node.routing.dialled(SocketAddr::new(address(0, true), 80)).unwrap();
    assert_eq!(node.routing.routed(&dialled, "bank"), Some(table));
    assert_eq!(node.routing.backend(&dialled.destination, true).unwrap().endpoints.len(), 1);
    node.remove(Kind::ServiceRoutes, &name(0));
    assert_eq!(told(), [0, 0]);
    assert_eq!(node.routing.routed(&dialled, "bank"), None);
    node.remove(Kind::Service, &name(0));
    assert!(node.routing.backend(&dialled.destination, true).is_none());
    assert!(node.routing.dialled(SocketAddr::new(address(0, true), 80)).is_none());
}
