//! Sides and verdicts of open connections.

use std::collections::{HashMap, HashSet};

use mesh_ebpf::abi::{Flow, FlowKey, Origin, Pod, ProbeKey, Reason, Settings, TCP, Workload};
use mesh_ebpf::address::Address;
use mesh_ebpf::policy::{
    Action, CidrKey, Direction, Hit, Kind, Peer, Ruling, RulingKey, Rulings, SetId, Stages, rule,
};

use super::{Connection, Known, judge, side};

const POD: Address = Address::v4([10, 0, 0, 2]);
const OTHER: Address = Address::v4([10, 0, 0, 3]);
const GROUP: u64 = 77;

#[derive(Default)]
struct World {
    flows: HashMap<FlowKey, Flow>,
    workloads: HashMap<Address, Workload>,
    probes: HashSet<ProbeKey>,
    /// (kind, group) that the one set denies, with the rule.
    denied: HashMap<(u8, u64), u16>,
    no_proof: bool,
}

impl Rulings for World {
    fn ruling(&self, key: &RulingKey) -> Option<Ruling> {
        let group = u64::from_ne_bytes(key.peer);
        let denied = self.denied.get(&(key.kind, group));
        if denied.is_none() && group != 0 {
            return None;
        }
        let hit = |action: Action, rule| Hit { rank: 1, rule, action: action as u8, mtls: 0 };
        let rest = denied.map_or(hit(Action::Allow, 0), |rule| hit(Action::Deny, *rule));
        let stages = Stages { admin: Hit::NONE, rest };
        Some(Ruling { enforced: stages, audited: stages })
    }

    fn cidr(&self, _: &CidrKey) -> Option<u64> {
        None
    }
}

impl Known for World {
    fn flow(&self, key: &FlowKey) -> Option<Flow> {
        self.flows.get(key).copied()
    }

    fn workload(&self, address: &Address) -> Option<Workload> {
        self.workloads.get(address).copied()
    }

    fn probe(&self, key: &ProbeKey) -> bool {
        self.probes.contains(key)
    }

    fn settings(&self) -> Settings {
        let flags = if self.no_proof { 0 } else { Settings::LOCAL_PROOF };
        Settings { flags, ..Settings::default() }
    }
}

fn set() -> SetId {
    SetId::new(0x100, false, false)
}

fn pod() -> Pod {
    Pod {
        class: 3,
        slot: 1,
        group: 1,
        netns: 1,
        ingress: set(),
        egress: set(),
        flags: 0,
        reserved: 0,
        v4: POD,
        v6: Address::UNSPECIFIED,
        uid: 5,
        wired_at: 0,
    }
}

fn connection(listening: bool) -> Connection {
    let tuple = FlowKey {
        source: POD,
        destination: OTHER,
        source_port: 8080,
        destination_port: 40000,
        protocol: TCP,
        reserved: [0; 3],
    };
    Connection { tuple, cookie: 9, listening }
}

fn flow(origin: Origin, cookie: u64) -> Flow {
    Flow {
        cookie,
        netns: 1,
        group: GROUP,
        uid: 6,
        opened_at: 0,
        seen_at: 0,
        dialled: OTHER,
        dialled_port: 1,
        origin: origin as u8,
        flags: 0,
        slot: 1,
        egress: SetId::EMPTY,
        ingress: SetId::EMPTY,
        egress_rule: 0,
        ingress_rule: 0,
        reserved: 0,
        bytes: 0,
        packets: 0,
    }
}

#[test]
fn a_published_tuple_of_its_own_socket_is_outgoing() {
    let mut world = World::default();
    let connection = connection(true);
    world.flows.insert(connection.tuple, flow(Origin::Pod, 9));
    let found = side(&world, &connection);
    assert_eq!((found.direction, found.origin), (Direction::Egress, Origin::Pod));
    assert_eq!(found.reporter, Some(9));
}

#[test]
fn a_published_tuple_of_the_peer_proves_it_while_sources_are_validated() {
    let mut world = World::default();
    let connection = connection(true);
    world.flows.insert(connection.tuple.reversed(), flow(Origin::Pod, 3));
    assert_eq!(side(&world, &connection).peer, Peer::Proven(GROUP));
    assert_eq!(side(&world, &connection).peer_uid, 6);
    assert_eq!(side(&world, &connection).reporter, Some(3), "the connecting socket's");
    world.no_proof = true;
    assert_eq!(side(&world, &connection).peer, Peer::Unknown);
}

#[test]
fn an_unpublished_one_is_incoming_where_the_pod_listens() {
    let world = World::default();
    assert_eq!(side(&world, &connection(true)).direction, Direction::Ingress);
    assert_eq!(side(&world, &connection(false)).direction, Direction::Egress);
    assert_eq!(side(&world, &connection(false)).reporter, None);
}

#[test]
fn a_claimed_peer_is_denied_by_its_group_but_the_nodes_address_claims_nothing() {
    let mut world = World::default();
    world.workloads.insert(OTHER, Workload { group: GROUP, flags: 0, reserved: 0 });
    world.denied.insert((Kind::Claimed as u8, GROUP), 4);
    let denial = judge(&world, &pod(), &connection(true), false).unwrap();
    assert_eq!((denial.rule, denial.reason), (4, Reason::PolicyDenied));
    let flags = Workload::HOST_NETWORK;
    world.workloads.insert(OTHER, Workload { group: GROUP, flags, reserved: 0 });
    assert_eq!(judge(&world, &pod(), &connection(true), false), None);
}

#[test]
fn a_probe_of_the_node_passes_and_its_other_traffic_does_not() {
    let mut world = World::default();
    let connection = connection(true);
    world.flows.insert(connection.tuple.reversed(), flow(Origin::Host, 3));
    world.denied.insert((Kind::Unknown as u8, 0), rule::ISOLATED);
    assert!(judge(&world, &pod(), &connection, false).is_some());
    world.probes.insert(ProbeKey { address: POD, port: 8080, protocol: TCP, reserved: 0 });
    assert_eq!(judge(&world, &pod(), &connection, false), None);
}

#[test]
fn an_older_connection_is_closed_only_by_a_rule_that_denies_it() {
    let mut world = World::default();
    world.denied.insert((Kind::Unknown as u8, 0), rule::ISOLATED);
    assert!(judge(&world, &pod(), &connection(true), false).is_some());
    assert_eq!(judge(&world, &pod(), &connection(true), true), None);
    world.denied.insert((Kind::Unknown as u8, 0), 3);
    assert!(judge(&world, &pod(), &connection(true), true).is_some());
}

#[test]
fn traffic_within_the_pod_is_never_judged() {
    let mut world = World::default();
    world.denied.insert((Kind::Unknown as u8, 0), 3);
    let mut own = connection(true);
    own.tuple.destination = POD;
    assert_eq!(judge(&world, &pod(), &own, false), None);
}
