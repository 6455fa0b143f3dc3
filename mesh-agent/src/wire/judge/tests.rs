//! Sides and verdicts of open connections.

use std::collections::{HashMap, HashSet};

use mesh_ebpf::abi::{Flow, FlowKey, Origin, Pod, ProbeKey, Reason, Settings, TCP, TUNNEL_PORT, Workload};
use mesh_ebpf::address::Address;
use mesh_ebpf::policy::{
    Action, CidrKey, Direction, Hit, Kind, Mtls, Peer, Ruling, RulingKey, Rulings, SetId, Stages, rule,
};

use super::{Connection, Known, judge, side, subject};

const POD: Address = Address::v4([10, 0, 0, 2]);
const OTHER: Address = Address::v4([10, 0, 0, 3]);
const GROUP: u64 = 77;
/// The agent's cgroup.
const AGENT: u64 = 4;

#[derive(Default)]
struct World {
    flows: HashMap<FlowKey, Flow>,
    workloads: HashMap<Address, Workload>,
    probes: HashSet<ProbeKey>,
    /// (kind, group) that the one set denies, with the rule.
    denied: HashMap<(u8, u64), u16>,
    no_proof: bool,
    /// `mtls` of what allows, a number of [`Mtls`].
    mtls: u8,
    /// What is not denied depends on requests.
    deferred: bool,
}

impl Rulings for World {
    fn ruling(&self, key: &RulingKey) -> Option<Ruling> {
        let group = u64::from_ne_bytes(key.peer);
        let denied = self.denied.get(&(key.kind, group));
        if denied.is_none() && group != 0 {
            return None;
        }
        let mtls = self.mtls;
        let hit = |action: Action, rule| Hit { rank: 1, rule, action: action as u8, mtls };
        let allowed = if self.deferred { Action::Defer } else { Action::Allow };
        let rest = denied.map_or(hit(allowed, 0), |rule| hit(Action::Deny, *rule));
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

    fn is_agent(&self, cgroup: u64) -> bool {
        cgroup == AGENT
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
        namespace: 0,
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
    Connection { tuple, cookie: 9, listening, cgroup: 0 }
}

fn flow(origin: Origin, cookie: u64) -> Flow {
    Flow {
        cookie,
        netns: 1,
        group: GROUP,
        peer_group: 0,
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
        endpoint: OTHER,
        endpoint_port: 40000,
        reserved2: [0; 6],
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

/// The application's own socket, redirected to its pod's outbound listener.
fn tunnelled(world: &mut World) -> Connection {
    let mut redirected = connection(false);
    redirected.tuple.destination = Address::redirect(true, 1, 7);
    redirected.tuple.destination_port = 15001;
    let flow = Flow { flags: Flow::TUNNELLED, ..flow(Origin::Pod, redirected.cookie) };
    world.flows.insert(redirected.tuple, flow);
    world.workloads.insert(OTHER, Workload { group: GROUP, flags: Workload::ENROLLED, reserved: 0 });
    redirected
}

#[test]
fn what_goes_through_the_tunnel_is_judged_by_the_endpoint_behind_it() {
    let mut world = World::default();
    let redirected = tunnelled(&mut world);
    let found = subject(&world, &pod(), &redirected).unwrap();
    assert!(found.tunnelled);
    assert_eq!((found.tuple.destination, found.tuple.destination_port), (OTHER, 40000));
    assert_eq!(found.side.peer, Peer::Proven(GROUP));
    assert_eq!(judge(&world, &pod(), &redirected, false), None);
    world.denied.insert((Kind::Proven as u8, GROUP), 4);
    let denial = judge(&world, &pod(), &redirected, false).unwrap();
    assert_eq!((denial.rule, denial.subject.side.reporter), (4, None));
}

#[test]
fn the_listeners_side_of_it_and_the_applications_own_loopback_are_nobodys_business() {
    let mut world = World::default();
    let redirected = tunnelled(&mut world);
    world.denied.insert((Kind::Proven as u8, GROUP), 4);
    world.denied.insert((Kind::Unknown as u8, 0), 3);
    let accepted = Connection { tuple: redirected.tuple.reversed(), cookie: 10, listening: false, cgroup: 0 };
    assert_eq!(judge(&world, &pod(), &accepted, false), None);
    world.flows.clear();
    assert_eq!(judge(&world, &pod(), &redirected, false), None, "127.64.0.0/10 of its own");
}

#[test]
fn the_agents_own_sockets_in_the_pod_are_never_judged() {
    let mut world = World::default();
    world.denied.insert((Kind::Unknown as u8, 0), 3);
    let mut out = connection(false);
    out.tuple.destination_port = TUNNEL_PORT;
    world.flows.insert(out.tuple, flow(Origin::Agent, out.cookie));
    assert_eq!(judge(&world, &pod(), &out, false), None);

    let mut tunnel = connection(true);
    tunnel.tuple.source_port = TUNNEL_PORT;
    assert_eq!(judge(&world, &pod(), &tunnel, false), None, "from another node");
    world.flows.insert(tunnel.tuple.reversed(), flow(Origin::Agent, 3));
    assert_eq!(judge(&world, &pod(), &tunnel, false), None, "from another pod of this node");
    // A pod that dials 15008 of another on its node speaks to the application.
    world.flows.insert(tunnel.tuple.reversed(), flow(Origin::Pod, 3));
    world.denied.insert((Kind::Proven as u8, GROUP), 4);
    assert_eq!(judge(&world, &pod(), &tunnel, false).unwrap().rule, 4);
}

#[test]
fn plaintext_to_an_enrolled_pod_is_closed_once_the_rule_requires_mtls() {
    let mut world = World { mtls: Mtls::Preferred as u8, ..World::default() };
    let tunnelled = tunnelled(&mut world);
    let plain = connection(false);
    world.flows.insert(plain.tuple, flow(Origin::Pod, plain.cookie));
    assert_eq!(judge(&world, &pod(), &plain, false), None, "enrolment touches new connections only");
    world.mtls = Mtls::Required as u8;
    let denial = judge(&world, &pod(), &plain, false).unwrap();
    assert_eq!(denial.reason, Reason::EgressMtlsRequired);
    assert_eq!(judge(&world, &pod(), &tunnelled, false), None);
}

#[test]
fn what_the_agent_accepted_or_routes_is_not_judged_here() {
    let mut world = World::default();
    world.denied.insert((Kind::Unknown as u8, 0), 3);
    let accepted = connection(true);
    assert!(judge(&world, &pod(), &accepted, false).is_some());
    assert_eq!(judge(&world, &pod(), &Connection { cgroup: AGENT, ..accepted }, false), None);
    let routed = Flow { flags: Flow::TUNNELLED | Flow::ENGINE, ..flow(Origin::Pod, 9) };
    world.flows.insert(accepted.tuple, routed);
    assert_eq!(subject(&world, &pod(), &accepted), None);
}

#[test]
fn what_is_to_be_judged_by_request_ends_unless_the_agent_carries_it() {
    let mut world = World { deferred: true, ..World::default() };
    let connection = connection(true);
    assert!(judge(&world, &pod(), &connection, false).is_some(), "the application would read it unjudged");
    assert_eq!(judge(&world, &pod(), &connection, true), None, "live enrolment touches new ones only");
    world.flows.insert(connection.tuple, flow(Origin::Pod, 9));
    assert!(judge(&world, &pod(), &connection, false).is_some());
    assert_eq!(
        judge(&world, &pod(), &Connection { cgroup: AGENT, ..connection }, false),
        None,
        "made for the pod"
    );
}
