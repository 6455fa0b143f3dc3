//! What relay tells of the mesh, and what the data path makes of it while it is not all there.

use std::process::Command;

use mesh_ebpf::abi::{Counter, Reason, Settings, Workload, capacity};
use mesh_ebpf::policy::{Action, Hit, Kind, Ruling, RulingKey, SetId, Stages};

use super::super::super::pins;
use super::super::Node;
use super::{Place, on_a_node, pod, state, tell};
use crate::handover::{EndpointEntry, PeerEntry, PodState, PolicySet, ServiceEntry, ToWire};

/// A set that denies everything, by a rule of this number.
fn set(rule: u16) -> PolicySet {
    let id = SetId::new(0xabc0, false, false);
    let hit = Hit { rank: 0, rule, action: Action::Deny as u8, mtls: 0 };
    let stages = Stages { admin: hit, ..Stages::NONE };
    let ruling = Ruling { enforced: stages, audited: stages };
    let rulings = vec![(160, RulingKey::new(id, Kind::Proven, 0, 6, 80), ruling)];
    PolicySet { id, rulings, cidrs: Vec::new(), rules: Vec::new() }
}

fn rulings(node: &Node) -> usize {
    node.parts.kernel.maps.rulings.keys().filter(Result::is_ok).count()
}

#[test]
fn two_sets_of_one_id_deny_both() {
    on_a_node(|| {
        let place = Place::new("twins");
        let mut node = place.wire();
        tell(&mut node, 1, Vec::new());
        let ids = |node: &Node| node.parts.content.sets.ids().len();
        node.told(1, ToWire::Set(set(1)));
        node.told(1, ToWire::Set(set(1)));
        assert_eq!((ids(&node), rulings(&node)), (1, 1), "the same again is no other");
        node.told(1, ToWire::Set(set(2)));
        assert_eq!((ids(&node), rulings(&node)), (0, 0), "neither is in force");
        node.told(1, ToWire::Set(set(1)));
        assert_eq!((ids(&node), rulings(&node)), (0, 0), "nor is it after a retry");
        node.told(1, ToWire::SetGone { id: set(1).id });
        node.told(1, ToWire::Set(set(2)));
        assert_eq!((ids(&node), rulings(&node)), (1, 1), "alone it is");
        drop(node);
        pins::uninstall(&place.pin_root(), &place.cgroup_root).unwrap();
    });
}

fn peer(number: u32) -> ToWire {
    let address = std::net::Ipv4Addr::from(u32::from_be_bytes([10, 0, 0, 0]) + number).into();
    ToWire::Peer(PeerEntry { address, group: 1, flags: Workload::ENROLLED })
}

#[test]
fn a_node_without_room_for_every_pod_says_so_to_the_data_path() {
    on_a_node(|| {
        let place = Place::new("full");
        let mut node = place.wire();
        tell(&mut node, 1, Vec::new());
        let incomplete = |node: &mut Node| {
            node.reconcile();
            node.parts.kernel.maps.settings.get(&0, 0).unwrap().flags & Settings::PEERS_INCOMPLETE != 0
        };
        for number in 1..=capacity::WORKLOADS {
            node.told(1, peer(number));
        }
        assert!(!incomplete(&mut node), "that many it has room for");
        node.told(1, peer(capacity::WORKLOADS + 1));
        assert!(incomplete(&mut node));
        let ToWire::Peer(PeerEntry { address: first, .. }) = peer(1) else { panic!() };
        node.told(1, ToWire::PeerGone { address: first });
        assert!(incomplete(&mut node), "room is not enough: it has to be told again");
        node.told(1, peer(capacity::WORKLOADS + 1));
        assert!(!incomplete(&mut node));

        // The next relay has to tell everything before the node knows again what is missing.
        node.told(1, peer(1));
        assert!(incomplete(&mut node));
        node.told(2, ToWire::Hello { version: crate::handover::VERSION });
        assert!(incomplete(&mut node));
        for number in 2..100 {
            node.told(2, peer(number));
        }
        assert!(incomplete(&mut node));
        node.told(2, ToWire::Synced);
        assert!(!incomplete(&mut node));
        drop(node);
        pins::uninstall(&place.pin_root(), &place.cgroup_root).unwrap();
    });
}

/// What connecting to the Service's address from the pod fails with, in the words of its shell.
fn connect(place: &Place) -> String {
    let pid = place.sandbox.as_ref().unwrap().id();
    // The hook knows the pod by the cgroup of who connects.
    let script = format!(
        "echo $$ > {}; exec nsenter -t {pid} --net bash -c 'exec 3<>/dev/tcp/10.96.0.1/80'",
        place.pod_cgroup().join("cgroup.procs").display()
    );
    let output = Command::new("bash").args(["-c", &script]).env("LC_ALL", "C").output().unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_endpoint_that_is_an_enrolled_pod_is_refused_until_the_pod_is_known() {
    on_a_node(|| {
        let mut place = Place::new("promised");
        let mut node = place.wire();
        tell(&mut node, 1, vec![pod()]);
        place.start_pod();
        node.reconcile();
        assert_eq!(state(&node), Some(PodState::Wired), "{:?}", node.decisions);
        let endpoint = std::net::IpAddr::from([10, 78, 0, 9]);
        let service = |enrolled| {
            ToWire::Service(ServiceEntry {
                id: 5,
                name: "test/service:80".to_owned(),
                frontends: vec![([10, 96, 0, 1].into(), 80)],
                consumer_of: None,
                flags: 0,
                protocol: 6,
                affinity_seconds: 60,
                endpoints: vec![EndpointEntry { address: endpoint, port: 8080, weight: 1, enrolled }],
                closed: 0,
            })
        };
        let refused = |node: &Node| {
            let denials = node.parts.kernel.maps.denials.iter().filter_map(Result::ok);
            let ours = denials.filter(|(key, _)| key.reason == Reason::PeerUnknown as u16);
            ours.map(|(_, count)| count).sum::<u64>()
        };
        let tunnelled = |node: &Node| node.parts.kernel.maps.counters()[Counter::Tunnelled as usize];

        // The namespace has no route: what the mesh lets out in plaintext fails with that.
        node.told(1, service(false));
        let said = connect(&place);
        assert!(said.contains("Network is unreachable"), "{said}");
        assert_eq!(refused(&node), 0);

        // The second time the endpoint is the client's sticky one.
        node.told(1, service(true));
        for count in 1..=2 {
            let said = connect(&place);
            assert!(said.contains("No route to host"), "{said}");
            assert_eq!(refused(&node), count);
        }
        let successor = PeerEntry { address: endpoint, group: 3, flags: 0 };
        node.told(1, ToWire::Peer(successor));
        let said = connect(&place);
        assert!(said.contains("No route to host"), "the address is a plain pod's by now: {said}");
        assert_eq!((refused(&node), tunnelled(&node)), (3, 0));

        node.told(1, ToWire::Peer(PeerEntry { flags: Workload::ENROLLED, ..successor }));
        connect(&place);
        assert_eq!((refused(&node), tunnelled(&node)), (3, 1));
        node.told(1, ToWire::PeerGone { address: endpoint });
        let said = connect(&place);
        assert!(said.contains("No route to host"), "{said}");
        assert_eq!((refused(&node), tunnelled(&node)), (4, 1));

        place.end_pod();
        drop(node);
        pins::uninstall(&place.pin_root(), &place.cgroup_root).unwrap();
    });
}
