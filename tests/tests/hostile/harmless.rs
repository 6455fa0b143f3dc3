//! The same attacks where there is no mesh: they work, so what stops them elsewhere is the mesh and not a slip of theirs.

use std::net::SocketAddr;

use mesh_tests::testbed::Testbed;

use super::{LAYOUTS, scene};
use scene::{
    FAMILIES, Family, SOON, address, dial_with, forge,
    manifest::{IDLE, SERVE, pod},
    shell,
    watch::Watch,
};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Sends three such packets to `server`, which all must arrive; what the kernel answers for itself comes on top.
fn arrive(bed: &Testbed, protocol: u8, kind: &str, source: SocketAddr, family: Family, shape: &str) {
    let to = SocketAddr::new(address(bed, "server", family), 7000);
    let watch = Watch::expect(bed, "server", protocol, source, 3);
    forge(
        bed,
        "attacker",
        &format!("packet {kind} --source {source} --destination {to} --via packet --count 3 {shape}"),
    );
    let arrived = watch.packets();
    assert!(arrived >= 3, "{kind} {shape} from {source}: {arrived}");
}

#[test]
fn without_the_mesh_forged_packets_arrive_and_a_neighbours_address_can_be_taken() {
    for cni in LAYOUTS {
        scene::need_root();
        let bed = Testbed::builder()
            .name(format!("harmless-{}-{}", std::process::id(), format!("{cni:?}").to_lowercase()))
            .cni(cni)
            .mesh(false)
            .manifest(pod("attacker", IDLE))
            .manifest(pod("victim", IDLE))
            .manifest(pod("server", SERVE))
            .start()
            .unwrap();
        bed.wait_all_ready(SOON).unwrap();
        for family in FAMILIES {
            let (own, victim) = (address(&bed, "attacker", family), address(&bed, "victim", family));
            let (own, victim) = (SocketAddr::new(own, 40_001), SocketAddr::new(victim, 40_002));
            arrive(&bed, TCP, "syn", own, family, "");
            arrive(&bed, UDP, "udp", victim, family, "");
            arrive(&bed, UDP, "udp", own, family, "--fragment all --payload twenty-four-bytes-of-payload");
        }
        let own = SocketAddr::new(address(&bed, "attacker", Family::V6), 40_001);
        arrive(&bed, TCP, "syn", own, Family::V6, "--extension hop-by-hop --extension destination");
        if cni == mesh_tests::node::Cni::Bridge {
            takeover(&bed);
        }
    }
}

/// On a shared link the one who claims an address last has it.
fn takeover(bed: &Testbed) {
    let (victim, to) = (address(bed, "victim", Family::V4), scene::port_of(bed, "server"));
    shell(bed, "attacker", &format!("ip address add {victim}/32 dev eth0"));
    forge(bed, "attacker", &format!("claim {victim} --count 5"));
    let from = SocketAddr::new(victim, 40_003);
    dial_with(bed, "attacker", &format!("{to} --source {from} --timeout 2500")).unwrap();
    assert!(scene::log(bed, scene::NAMESPACE, "server", "main").contains(&format!("peer={victim}:40003")));
}
