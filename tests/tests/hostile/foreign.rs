//! Somebody else's cgroup programs in a pod's own cgroup, beside ours (SEMANTICS 7.7; KERNEL 3). They run before ours,
//! because the kernel runs what is attached further down first.

mod program;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use mesh_tests::{node::Cni, testbed::Testbed};

use super::{bed, scene};
use scene::{Family, address, counts, dial};

fn v4(bed: &Testbed, pod: &str) -> Ipv4Addr {
    match address(bed, pod, Family::V4) {
        IpAddr::V4(v4) => v4,
        IpAddr::V6(v6) => panic!("{v6}"),
    }
}

fn port(address: Ipv4Addr) -> SocketAddr {
    SocketAddr::new(address.into(), 7000)
}

/// Multi mode: neither keeps the other from running.
#[test]
fn a_foreign_connect_program_beside_ours_changes_no_verdict() {
    let bed = bed(Cni::Ptp);
    let (allowed, forbidden) = (v4(bed, "allowed"), v4(bed, "forbidden"));
    let nowhere = Ipv4Addr::new(192, 0, 2, 1);
    let foreign = program::translate(&bed.pod(scene::NAMESPACE, "caged").unwrap().cgroup, nowhere, allowed);
    dial(bed, "caged", port(allowed)).unwrap();
    assert_eq!(dial(bed, "caged", port(forbidden)).unwrap_err(), "EPERM=1");
    // It does run: what it translates, ours judges as translated.
    dial(bed, "caged", port(nowhere)).unwrap();
    drop(foreign);
    assert_eq!(dial(bed, "caged", port(nowhere)).unwrap_err(), "EPERM=1");
}

/// 7.7: what it translates before us is judged as what it has become, so it is no way round a policy. What does not hold
/// is what a pod's own translation hides by its nature: a VIP that becomes an endpoint before us was never dialled, as
/// far as we can see.
#[test]
fn a_foreign_program_that_translates_before_us_is_no_way_round_a_policy() {
    let bed = bed(Cni::Ptp);
    let (allowed, forbidden) = (v4(bed, "allowed"), v4(bed, "forbidden"));
    let before = counts::denied(bed, "NoRuleAllows");
    let foreign = program::translate(&bed.pod(scene::NAMESPACE, "caged").unwrap().cgroup, allowed, forbidden);
    assert_eq!(dial(bed, "caged", port(allowed)).unwrap_err(), "EPERM=1");
    counts::wait_denied(bed, "NoRuleAllows", before, 1);
    drop(foreign);
    dial(bed, "caged", port(allowed)).unwrap();
}

/// KERNEL 3: a program that sets its callbacks without keeping ours takes our call at the end of the connection away;
/// the published tuple would stay for ever, and with it its claim to be proof.
#[test]
fn a_flow_whose_end_a_foreign_sock_ops_program_hides_is_swept() {
    let bed = bed(Cni::Ptp);
    let (client, server) = (v4(bed, "victim"), v4(bed, "server"));
    let foreign = program::forget_callbacks(&bed.pod(scene::NAMESPACE, "victim").unwrap().cgroup);
    let source = format!("{client}:40030");
    let said = scene::forge(bed, "victim", &format!("dial {} --source {source}", port(server)));
    assert_eq!(said.count("ok"), 1);
    drop(foreign);
    let gone = || {
        let flows = counts::flows_from(bed, &source);
        if flows.is_empty() { Ok(()) } else { Err(format!("{flows:?}")) }
    };
    counts::eventually(bed, "the flow to be swept", Duration::from_secs(60), gone);
    dial(bed, "victim", port(server)).unwrap();
}
