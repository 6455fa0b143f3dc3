//! The state of a pod, case by case (SEMANTICS 1).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use mesh_ebpf::abi::{Class, Settings};
use mesh_ebpf::address::Address;
use mesh_ebpf::policy::SetId;

use super::{Decision, Inputs, State, target};
use crate::handover::{LocalPod, PodState, uid_hash};
use crate::wire::observe::{Observation, Seen, SeenNetns};
use crate::wire::plan::{Action, plan};

const UID: &str = "5f3c0000-0000-0000-0000-000000000001";
const ADDRESS: [u8; 4] = [10, 0, 0, 2];

fn pod() -> LocalPod {
    LocalPod {
        uid: UID.to_owned(),
        name: "bank/vault".to_owned(),
        enrolled: true,
        host_network: false,
        addresses: vec![IpAddr::from(ADDRESS)],
        group: 7,
        namespace: 1,
        ingress: SetId::EMPTY,
        egress: SetId::EMPTY,
        ingress_denies_other: false,
        egress_denies_other: false,
        require_mtls: false,
        encrypt_always: false,
        probe_ports: vec![8080],
    }
}

fn seen() -> Seen {
    Seen {
        cgroup: 100,
        running: true,
        hidden: false,
        netns: Some(SeenNetns {
            cookie: 5,
            pid: 1,
            of_the_node: false,
            addresses: BTreeSet::from([Address::v4(ADDRESS)]),
            interfaces: BTreeSet::from([9]),
            routed: Vec::new(),
            past_the_host_side: Vec::new(),
        }),
    }
}

struct Case {
    pods: Vec<LocalPod>,
    seen: Option<Seen>,
    synced: bool,
    held: State,
    failures: BTreeMap<u64, String>,
    deaf: BTreeMap<u64, String>,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            pods: vec![pod()],
            seen: Some(seen()),
            synced: true,
            held: State::default(),
            failures: BTreeMap::new(),
            deaf: BTreeMap::new(),
        }
    }
}

impl Case {
    fn run(&self) -> (State, Option<Decision>) {
        let pods = self.pods.iter().map(|pod| (pod.uid.clone(), pod.clone())).collect();
        let observation = Observation {
            pods: self.seen.iter().map(|seen| (UID.to_owned(), seen.clone())).collect(),
            ..Observation::default()
        };
        let inputs = Inputs {
            synced: self.synced,
            unknown_closed: false,
            peers_complete: true,
            pods: &pods,
            sets: &BTreeSet::new(),
            seen: &observation,
            slots: &BTreeMap::from([(uid_hash(UID), 3)]),
            failures: &self.failures,
            deaf: &self.deaf,
            fixed: &BTreeMap::from([(1, Class::PodsRoot)]),
            levels: (2, 3, 1),
            node_netns: 4,
            now: 1000,
        };
        let (state, mut decisions) = target(&inputs, &self.held);
        (state, decisions.remove(UID))
    }

    fn state(&self) -> PodState {
        self.run().1.unwrap().state
    }
}

#[test]
fn a_pod_with_everything_there_is_wired_and_nothing_is_armed() {
    let (state, decision) = Case::default().run();
    assert_eq!(decision.unwrap().state, PodState::Wired);
    assert!(!state.armed);
    assert_eq!(state.gates, BTreeMap::from([(5, uid_hash(UID))]));
    assert_eq!(state.listeners, state.gates);
    assert_eq!(state.validated, BTreeSet::from([9]));
    assert!(state.probes.contains_key(&(Address::v4(ADDRESS), 8080)));
    assert_eq!(state.cgroups[&100].class(), Class::Wired);
    assert_eq!(state.cgroups[&100].wired_at, 1000);
    assert_ne!(state.settings.flags & Settings::LOCAL_PROOF, 0);
}

#[test]
fn an_enrolled_pod_is_pending_until_all_of_it_is_there() {
    let no_cgroup = Case { seen: None, ..Case::default() };
    let no_process = Case { seen: Some(Seen { netns: None, ..seen() }), ..Case::default() };
    let no_address = Case { pods: vec![LocalPod { addresses: Vec::new(), ..pod() }], ..Case::default() };
    let wrong_netns = Case {
        seen: Some(Seen {
            netns: Some(SeenNetns { addresses: BTreeSet::new(), ..seen().netns.unwrap() }),
            ..seen()
        }),
        ..Case::default()
    };
    let no_policy = Case {
        pods: vec![LocalPod { ingress: SetId::new(1 << 8, false, false), ..pod() }],
        ..Case::default()
    };
    for case in [no_cgroup, no_process, no_address, wrong_netns, no_policy] {
        let (state, decision) = case.run();
        assert_eq!(decision.unwrap().state, PodState::Pending);
        assert!(state.armed);
        assert!(state.gates.is_empty() && state.listeners.is_empty());
    }
}

#[test]
fn a_host_network_pod_is_refused_with_the_reason() {
    let case = Case { pods: vec![LocalPod { host_network: true, ..pod() }], ..Case::default() };
    let (state, decision) = case.run();
    let decision = decision.unwrap();
    assert_eq!(decision.state, PodState::Plain);
    assert!(decision.reason.contains("hostNetwork"));
    assert!(state.local.is_empty());
}

#[test]
fn nothing_of_before_is_taken_away_until_relay_has_told_its_state() {
    let (held, _) = Case::default().run();
    let untold = Case { pods: Vec::new(), synced: false, held: held.clone(), ..Case::default() };
    let (kept, decision) = untold.run();
    assert_eq!(decision.unwrap().state, PodState::Wired);
    let actions = plan(&held, &kept);
    assert!(actions.is_empty(), "{actions:?}");
}

#[test]
fn a_pod_that_is_deleted_stays_enforced_while_it_shuts_down() {
    let (held, _) = Case::default().run();
    let deleted = Case { pods: Vec::new(), held: held.clone(), ..Case::default() };
    assert_eq!(deleted.state(), PodState::Wired);
    assert!(plan(&held, &deleted.run().0).is_empty());
    let never_named = Case { pods: Vec::new(), ..Case::default() };
    assert_eq!(never_named.state(), PodState::Unknown);
    assert!(never_named.run().0.gates.is_empty());
}

#[test]
fn a_wired_pod_stays_wired_while_its_containers_restart_and_keeps_its_time() {
    let (held, _) = Case::default().run();
    let restarting =
        Case { seen: Some(Seen { netns: None, ..seen() }), held: held.clone(), ..Case::default() };
    assert_eq!(restarting.state(), PodState::Wired);
    let mut later = held;
    for pod in later.cgroups.values_mut() {
        pod.wired_at = 1;
    }
    let again = Case { held: later, ..Case::default() };
    assert_eq!(again.run().0.cgroups[&100].wired_at, 1);
}

#[test]
fn a_pod_that_ended_leaves_nothing() {
    let (held, _) = Case::default().run();
    let ended = Case { pods: Vec::new(), seen: None, held, ..Case::default() };
    let (state, _) = ended.run();
    assert!(state.gates.is_empty() && state.local.is_empty() && state.validated.is_empty());
    assert!(state.listeners.is_empty(), "they would keep its namespace alive");
    assert_eq!(state.cgroups.len(), 1, "only the pods root is left");
}

#[test]
fn an_interface_past_the_host_side_withdraws_local_proof() {
    let mut odd = seen();
    if let Some(netns) = &mut odd.netns {
        netns.past_the_host_side.push("macvlan0".to_owned());
    }
    let (state, decision) = Case { seen: Some(odd), ..Case::default() }.run();
    assert_eq!(state.settings.flags & Settings::LOCAL_PROOF, 0);
    assert!(decision.unwrap().reason.contains("macvlan0"));
}

#[test]
fn a_failure_closes_the_pod_and_says_why() {
    let failures = BTreeMap::from([(uid_hash(UID), "attaching mesh_gate_5: no".to_owned())]);
    let (state, decision) = Case { failures, ..Case::default() }.run();
    let decision = decision.unwrap();
    assert_eq!(decision.state, PodState::Pending);
    assert!(decision.reason.contains("mesh_gate_5"));
    assert!(state.armed);
}

#[test]
fn listeners_of_an_earlier_wire_serve_until_relay_has_told_its_state() {
    let (mut held, _) = Case::default().run();
    // As a new wire finds it: pins are there, sockets of an earlier process are not its own.
    held.listeners.clear();
    let named = Case { synced: false, held: held.clone(), ..Case::default() };
    assert!(named.run().0.listeners.is_empty());
    let unnamed = Case { pods: Vec::new(), synced: false, held: held.clone(), ..Case::default() };
    assert!(unnamed.run().0.listeners.is_empty());
    let synced = Case { held: held.clone(), ..Case::default() };
    assert_eq!(plan(&held, &synced.run().0), [Action::Listen(5, uid_hash(UID))]);
    let restarting = Case { seen: Some(Seen { netns: None, ..seen() }), held, ..Case::default() };
    assert!(restarting.run().0.listeners.is_empty(), "nobody is in its namespace to make them");
    let fresh = Case { synced: false, ..Case::default() };
    assert_eq!(fresh.run().0.listeners.len(), 1, "a pod that is wired now needs them first");
}

#[test]
fn a_pod_without_listeners_is_not_wired_but_one_that_was_stays_so_and_says_it() {
    let deaf = BTreeMap::from([(uid_hash(UID), "too many open files".to_owned())]);
    let new = Case { deaf: deaf.clone(), ..Case::default() };
    assert_eq!(new.state(), PodState::Pending);
    let (mut held, _) = Case::default().run();
    held.listeners.clear();
    let (state, decision) = Case { deaf, held: held.clone(), ..Case::default() }.run();
    let decision = decision.unwrap();
    assert_eq!(decision.state, PodState::Wired);
    assert!(decision.reason.contains("Tunnel=False: too many open files"));
    assert!(plan(&held, &state).is_empty(), "not tried again in the same look");
}
