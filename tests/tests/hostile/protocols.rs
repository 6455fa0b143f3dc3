//! Protocols without a hook of their own (DESIGN 2): under default deny they neither leave nor arrive.

use std::net::SocketAddr;

use mesh_tests::testbed::Testbed;

use super::{LAYOUTS, bed, scene};
use scene::{FAMILIES, Family, address, counts, forge, watch::Watch};

/// SCTP's number; nothing here implements it.
const SCTP: u8 = 132;

/// How many of three packets arrive, of which so many are to.
fn arrived(bed: &Testbed, from: &str, to: &str, family: Family, expected: u64) -> u64 {
    let (source, destination) = (address(bed, from, family), address(bed, to, family));
    let (source, destination) = (SocketAddr::new(source, 0), SocketAddr::new(destination, 0));
    let watch = Watch::expect(bed, to, SCTP, source, expected);
    let sent = forge(
        bed,
        from,
        &format!("packet other --protocol {SCTP} --source {source} --destination {destination} --count 3"),
    );
    assert_eq!(sent.count("sent"), 3);
    watch.packets()
}

/// Also shows that the watch sees such packets at all.
#[test]
fn another_protocol_passes_where_no_policy_is_about_either_side() {
    for cni in LAYOUTS {
        for family in FAMILIES {
            assert_eq!(arrived(bed(cni), "attacker", "outside", family, 3), 3, "{cni:?} {family:?}");
        }
    }
}

#[test]
fn another_protocol_does_not_leave_a_pod_under_an_egress_policy() {
    for cni in LAYOUTS {
        let bed = bed(cni);
        for family in FAMILIES {
            let before = counts::denied(bed, "ProtocolDenied");
            assert_eq!(arrived(bed, "caged", "outside", family, 0), 0, "{cni:?} {family:?}");
            counts::wait_denied(bed, "ProtocolDenied", before, 3);
        }
    }
}

#[test]
fn another_protocol_does_not_arrive_at_a_pod_under_an_ingress_policy() {
    for cni in LAYOUTS {
        let bed = bed(cni);
        for family in FAMILIES {
            let before = counts::denied(bed, "ProtocolDenied");
            assert_eq!(arrived(bed, "outside", "server", family, 0), 0, "{cni:?} {family:?}");
            counts::wait_denied(bed, "ProtocolDenied", before, 3);
        }
    }
}
