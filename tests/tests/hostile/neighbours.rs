//! Taking a neighbour's place on the link (SEMANTICS 2.2): an ARP reply or an advertisement that claims its address.

use std::net::SocketAddr;

use mesh_tests::node::Cni;

use super::{LAYOUTS, bed, scene};
use scene::{FAMILIES, Family, address, counts, dial, dial_with, forge, shell, watch::Watch};

const TCP: u8 = 6;

/// Without the check on the host side this took over the victim's traffic, and with it its identity.
#[test]
fn claiming_a_neighbours_address_gets_nothing_out_of_the_pod() {
    for cni in LAYOUTS {
        let bed = bed(cni);
        for family in FAMILIES {
            let (victim, server) = (address(bed, "victim", family), address(bed, "server", family));
            let to = SocketAddr::new(server, 7000);
            dial(bed, "victim", to).unwrap();
            let host_bits = if family == Family::V4 { 32 } else { 128 };
            shell(bed, "attacker", &format!("ip address add {victim}/{host_bits} dev eth0 nodad"));

            let neighbour = counts::denied(bed, "NeighbourSpoofed");
            let claimed = forge(bed, "attacker", &format!("claim {victim} --count 5"));
            assert!(claimed.count("sent") >= 5);
            counts::wait_denied(bed, "NeighbourSpoofed", neighbour, 5);
            let source = counts::denied(bed, "SourceSpoofed");
            let from = SocketAddr::new(victim, 40_004);
            let watch = Watch::begin(bed, "server", TCP, from);
            let outcome = dial_with(bed, "attacker", &format!("{to} --source {from} --timeout 300"));
            let arrived = watch.packets();

            shell(bed, "attacker", &format!("ip address del {victim}/{host_bits} dev eth0"));
            assert!(outcome.is_err(), "{cni:?} {family:?}: the attacker got through as the victim");
            assert_eq!(arrived, 0, "{cni:?} {family:?}");
            counts::wait_denied(bed, "SourceSpoofed", source, 1);
            // And the victim still has its place.
            dial(bed, "victim", to).unwrap();
            if cni == Cni::Bridge {
                still_known_as_itself(bed, &victim.to_string());
            }
        }
    }
}

/// The node's own idea of who has the address is the victim's interface.
fn still_known_as_itself(bed: &mesh_tests::testbed::Testbed, victim: &str) {
    let own = shell(bed, "victim", "ip -o link show eth0");
    let known = bed.exec_node(scene::NODE, &["ip", "neigh", "show", victim]).unwrap();
    let known = String::from_utf8_lossy(&known.stdout).into_owned();
    let known_mac = known.split_whitespace().skip_while(|word| *word != "lladdr").nth(1);
    // Not known at all is no takeover either.
    assert!(known_mac.is_none_or(|known| own.contains(known)), "{victim} has {own} and is known as: {known}");
}
