use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};

use mesh_ebpf::abi::{Flow, FlowKey, Origin, Pod, ProbeKey, Settings, TCP, TUNNEL_PORT, Workload};
use mesh_ebpf::address::Address;
use mesh_ebpf::policy::{CidrKey, Ruling, RulingKey, Rulings, SetId};

use super::super::judge::{Connection, Known};
use super::Before;

const POD: Address = Address::v4([10, 0, 0, 2]);
const POD6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
const OTHER: Address = Address::v4([10, 0, 0, 3]);
const WIRED: u64 = 1000;
const COOKIE: u64 = 9;

#[derive(Default)]
struct Flows(HashMap<FlowKey, Flow>);

impl Rulings for Flows {
    fn ruling(&self, _: &RulingKey) -> Option<Ruling> {
        None
    }

    fn cidr(&self, _: &CidrKey) -> Option<u64> {
        None
    }
}

impl Known for Flows {
    fn flow(&self, key: &FlowKey) -> Option<Flow> {
        self.0.get(key).copied()
    }

    fn workload(&self, _: &Address) -> Option<Workload> {
        None
    }

    fn probe(&self, _: &ProbeKey) -> bool {
        false
    }

    fn settings(&self) -> Settings {
        Settings { flags: Settings::LOCAL_PROOF, ..Settings::default() }
    }
}

fn pod() -> Pod {
    Pod {
        class: 3,
        slot: 1,
        group: 1,
        netns: 1,
        ingress: SetId::EMPTY,
        egress: SetId::EMPTY,
        flags: 0,
        reserved: 0,
        v4: POD,
        v6: POD6.into(),
        uid: 5,
        wired_at: WIRED,
    }
}

fn connection(port: u16, to: Address) -> Connection {
    let tuple = FlowKey {
        source: POD,
        destination: to,
        source_port: port,
        destination_port: 40000,
        protocol: TCP,
        reserved: [0; 3],
    };
    Connection { tuple, cookie: COOKIE, listening: false }
}

fn flow(origin: Origin, cookie: u64, opened_at: u64, flags: u8) -> Flow {
    Flow {
        cookie,
        netns: 1,
        group: 1,
        peer_group: 0,
        uid: 6,
        opened_at,
        seen_at: 0,
        dialled: OTHER,
        dialled_port: 1,
        origin: origin as u8,
        flags,
        slot: 1,
        egress: SetId::EMPTY,
        ingress: SetId::EMPTY,
        egress_rule: 0,
        ingress_rule: 0,
        reserved: 0,
        bytes: 0,
        packets: 0,
        endpoint: OTHER,
        endpoint_port: 40000,
        reserved2: [0; 6],
    }
}

/// Whether one is older, given flows (by the pod's tuple, or the other side's), records and what was noted.
fn older(
    connection: &Connection,
    own: Option<Flow>,
    theirs: Option<Flow>,
    recorded: Option<u64>,
    noted: bool,
) -> bool {
    let mut flows = Flows::default();
    flows.0.extend(own.map(|flow| (connection.tuple, flow)));
    flows.0.extend(theirs.map(|flow| (connection.tuple.reversed(), flow)));
    let pod = pod();
    let before = Before {
        known: &flows,
        pod: &pod,
        recorded: recorded.map(|at| (COOKIE, at)).into_iter().collect(),
        noted: noted.then_some(COOKIE).into_iter().collect(),
    };
    before.is_older(connection)
}

#[test]
fn what_no_program_saw_begin_since_the_pod_was_wired_is_older() {
    let one = connection(7000, OTHER);
    assert!(older(&one, None, None, None, false));
    // It was opened by the mesh's client, or in an earlier time of the pod's in the mesh.
    for at in [0, WIRED - 1] {
        assert!(older(&one, Some(flow(Origin::Pod, COOKIE, at, 0)), None, Some(at), false));
        assert!(older(&one, None, Some(flow(Origin::Pod, 3, at, 0)), None, false));
    }
    // Another socket's flow, of a tuple that is in use again.
    assert!(older(&one, Some(flow(Origin::Pod, 3, WIRED, 0)), None, None, false));
}

#[test]
fn what_the_mesh_saw_begin_is_not() {
    let one = connection(7000, OTHER);
    for at in [WIRED, WIRED + 1] {
        assert!(
            !older(&one, None, None, Some(at), false),
            "an unproven client's, or one without room in the map"
        );
        for origin in [Origin::Pod, Origin::Agent] {
            assert!(!older(&one, Some(flow(origin, COOKIE, at, 0)), None, None, false));
        }
        for origin in [Origin::Pod, Origin::Host, Origin::Agent] {
            assert!(!older(&one, None, Some(flow(origin, 3, at, 0)), None, false));
        }
    }
    assert!(!older(&connection(TUNNEL_PORT, OTHER), None, None, None, false), "a tunnel that came in");
    for own in [POD, POD6.into()] {
        assert!(!older(&connection(7000, own), None, None, None, true), "within the pod");
    }
}

#[test]
fn what_was_noted_at_wiring_is_older_whatever_is_known_of_it() {
    let there = Some(flow(Origin::Pod, 3, WIRED + 1, 0));
    assert!(older(&connection(7000, OTHER), None, there, Some(WIRED + 1), true));
    assert!(older(&connection(TUNNEL_PORT, OTHER), None, None, None, true));
}

#[test]
fn only_the_applications_sockets_into_and_out_of_the_tunnel_are_carried() {
    let one = connection(7000, Address::v4([127, 64, 0, 9]));
    let carried = |own: Option<Flow>, theirs: Option<Flow>| {
        let mut flows = Flows::default();
        flows.0.extend(own.map(|flow| (one.tuple, flow)));
        flows.0.extend(theirs.map(|flow| (one.tuple.reversed(), flow)));
        let pod = pod();
        let before = Before { known: &flows, pod: &pod, recorded: HashMap::new(), noted: HashSet::new() };
        before.is_carried(&one)
    };
    assert!(carried(Some(flow(Origin::Pod, COOKIE, 0, Flow::TUNNELLED)), None));
    assert!(carried(None, Some(flow(Origin::Agent, 3, 0, Flow::DELIVERY))));
    assert!(!carried(Some(flow(Origin::Pod, 3, 0, Flow::TUNNELLED)), None), "another socket's");
    assert!(!carried(Some(flow(Origin::Pod, COOKIE, 0, 0)), None));
    assert!(!carried(None, Some(flow(Origin::Agent, 3, 0, 0))));
    assert!(!carried(None, None));
}
