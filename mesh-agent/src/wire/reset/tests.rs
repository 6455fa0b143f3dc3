use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use mesh_ebpf::abi::{Flow, FlowKey, Origin, Pod, ProbeKey, Settings, TCP, TUNNEL_PORT, Workload};
use mesh_ebpf::address::Address;
use mesh_ebpf::policy::{CidrKey, Ruling, RulingKey, Rulings, SetId};

use super::super::judge::{Connection, Known};
use super::super::roster::Wired;
use super::super::sockets::Record;
use super::{Before, Order, WITHIN};

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

    fn is_agent(&self, _: u64) -> bool {
        false
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
        namespace: 0,
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
    Connection { tuple, cookie: COOKIE, listening: false, cgroup: 0 }
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

/// What is known of a connection: flows by the pod's tuple and by the other side's, a record, what was noted, and
/// whether the peer has closed.
#[derive(Clone, Copy)]
struct Told {
    own: Option<Flow>,
    theirs: Option<Flow>,
    record: Option<Record>,
    noted: bool,
    half_closed: bool,
}

const NOTHING: Told = Told { own: None, theirs: None, record: None, noted: false, half_closed: false };

fn older(connection: &Connection, told: Told) -> bool {
    let mut flows = Flows::default();
    flows.0.extend(told.own.map(|flow| (connection.tuple, flow)));
    flows.0.extend(told.theirs.map(|flow| (connection.tuple.reversed(), flow)));
    let pod = pod();
    let before = Before {
        known: &flows,
        pod: &pod,
        recorded: told.record.map(|record| (COOKIE, record)).into_iter().collect(),
        noted: told.noted.then_some(COOKIE).into_iter().collect(),
    };
    before.is_older(connection, told.half_closed)
}

fn record(origin: Origin, opened_at: u64) -> Option<Record> {
    Some(Record { opened_at, origin: origin as u8 })
}

#[test]
fn what_no_program_saw_begin_since_the_pod_was_wired_is_older() {
    let one = connection(7000, OTHER);
    assert!(older(&one, NOTHING));
    // It was opened by the mesh's client, or in an earlier time of the pod's in the mesh.
    for at in [0, WIRED - 1] {
        let own = Some(flow(Origin::Pod, COOKIE, at, 0));
        assert!(older(&one, Told { own, record: record(Origin::Pod, at), ..NOTHING }));
        assert!(older(&one, Told { theirs: Some(flow(Origin::Pod, 3, at, 0)), ..NOTHING }));
    }
    // Another socket's flow, of a tuple that is in use again.
    assert!(older(&one, Told { own: Some(flow(Origin::Pod, 3, WIRED, 0)), ..NOTHING }));
}

#[test]
fn what_the_mesh_saw_begin_is_not() {
    let one = connection(7000, OTHER);
    for at in [WIRED, WIRED + 1] {
        for origin in [Origin::Pod, Origin::Unproven] {
            let told = Told { record: record(origin, at), ..NOTHING };
            assert!(!older(&one, told), "an unproven client's, or one without room in the map");
        }
        for origin in [Origin::Pod, Origin::Agent] {
            assert!(!older(&one, Told { own: Some(flow(origin, COOKIE, at, 0)), ..NOTHING }));
        }
        for origin in [Origin::Pod, Origin::Host, Origin::Agent] {
            assert!(!older(&one, Told { theirs: Some(flow(origin, 3, at, 0)), ..NOTHING }));
        }
    }
    assert!(!older(&connection(TUNNEL_PORT, OTHER), NOTHING), "a tunnel that came in");
    for own in [POD, POD6.into()] {
        assert!(!older(&connection(7000, own), Told { noted: true, ..NOTHING }), "within the pod");
    }
}

#[test]
fn the_agents_own_are_not_whenever_they_began() {
    let one = connection(40001, OTHER);
    for noted in [false, true] {
        for at in [0, WIRED - 1, WIRED] {
            let own = Some(flow(Origin::Agent, COOKIE, at, 0));
            assert!(!older(&one, Told { own, noted, ..NOTHING }), "a tunnel of an earlier time in the mesh");
            let unpublished = Told { record: record(Origin::Agent, at), noted, ..NOTHING };
            assert!(!older(&one, unpublished), "one without room in the map");
        }
    }
    let another = Some(flow(Origin::Agent, 3, 0, 0));
    assert!(older(&one, Told { own: another, ..NOTHING }), "another socket's flow");
}

#[test]
fn of_what_the_peer_has_closed_nothing_known_says_nothing() {
    let one = connection(7000, OTHER);
    let closed = Told { half_closed: true, ..NOTHING };
    assert!(!older(&one, closed), "the client's flow ended with its socket");
    assert!(older(&one, Told { noted: true, ..closed }));
    for at in [0, WIRED - 1] {
        assert!(older(&one, Told { record: record(Origin::Unproven, at), ..closed }));
        assert!(older(&one, Told { theirs: Some(flow(Origin::Pod, 3, at, 0)), ..closed }));
    }
    assert!(!older(&one, Told { record: record(Origin::Unproven, WIRED), ..closed }));
}

#[test]
fn what_was_noted_at_wiring_is_older_whatever_is_known_of_it() {
    let noted = Told { noted: true, ..NOTHING };
    let there = Some(flow(Origin::Pod, 3, WIRED + 1, 0));
    let told = Told { theirs: there, record: record(Origin::Unproven, WIRED + 1), ..noted };
    assert!(older(&connection(7000, OTHER), told));
    // The application's, where it listens at the tunnel's port itself.
    assert!(older(&connection(TUNNEL_PORT, OTHER), noted));
}

#[test]
fn an_order_is_not_done_late_nor_after_the_pod_came_or_left() {
    let asked = Instant::now();
    let wired = |wired_at| Wired { uid: "u-1".to_owned(), entry: Pod { wired_at, ..pod() }, pid: 1 };
    let order = |enrolled| Order { id: 1, pod: wired(WIRED), enrolled, asked };
    let soon = asked + Duration::from_secs(1);
    let same = [wired(WIRED)];
    assert_eq!(order(true).overtaken(&same, soon), None);
    assert_eq!(order(false).overtaken(&[], soon), None);
    let why = "pod u-1: it came into the mesh or left it meanwhile; nothing was ended, try again";
    for (enrolled, now) in [(true, &[][..]), (true, &[wired(WIRED + 1)]), (false, &same)] {
        assert_eq!(order(enrolled).overtaken(now, soon).as_deref(), Some(why));
    }
    let late = order(true).overtaken(&same, asked + WITHIN + Duration::from_millis(1)).unwrap();
    assert!(late.contains("longer than 4 seconds; nothing was ended"), "{late}");
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
