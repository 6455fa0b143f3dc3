//! Frames that hide what they are: tags, extension headers, fragments (SEMANTICS 5.7; KERNEL 5).

use std::net::SocketAddr;

use super::{LAYOUTS, bed, scene};
use scene::{Family, address, counts, forge, watch::Watch};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Sends from `attacker` to `server` and asserts that nothing arrives and that `reason` was counted.
fn refused(family: Family, protocol: u8, kind: &str, shape: &str, reason: &str) {
    for cni in LAYOUTS {
        let bed = bed(cni);
        let (own, server) = (address(bed, "attacker", family), address(bed, "server", family));
        let (from, to) = (SocketAddr::new(own, 40_010), SocketAddr::new(server, 7000));
        let before = counts::denied(bed, reason);
        let watch = Watch::begin(bed, "server", protocol, from);
        let sent = forge(
            bed,
            "attacker",
            &format!("packet {kind} --source {from} --destination {to} --via packet --count 3 {shape}"),
        );
        assert!(sent.count("sent") >= 3);
        assert_eq!(watch.packets(), 0, "{cni:?} {kind} {shape}");
        counts::wait_denied(bed, reason, before, 3);
    }
}

/// A tag would hide the addresses from a check that looks where they usually are.
#[test]
fn vlan_tagged_frames_do_not_leave_a_pod() {
    refused(Family::V4, TCP, "syn", "--vlan 7", "Malformed");
    refused(Family::V6, UDP, "udp", "--vlan 7", "Malformed");
}

/// Options headers are walked to the SYN behind them.
#[test]
fn ipv6_options_headers_do_not_hide_a_syn_or_a_datagram() {
    refused(Family::V6, TCP, "syn", "--extension hop-by-hop --extension destination", "NotPublished");
    refused(Family::V6, UDP, "udp", "--extension destination", "NotPublished");
}

/// A routing header takes a packet elsewhere than it says; a longer chain than is walked cannot be judged.
#[test]
fn ipv6_routing_headers_and_endless_chains_are_malformed() {
    refused(Family::V6, TCP, "syn", "--extension routing", "Malformed");
    let chain = "--extension destination ".repeat(6);
    refused(Family::V6, TCP, "syn", &chain, "Malformed");
}

/// The first fragment carries the ports of a datagram and is judged by them; no fragment short of a TCP header can be.
/// What follows a refused first fragment is never put together.
#[test]
fn fragments_do_not_hide_ports_or_flags() {
    let long = "--fragment all --payload twenty-four-bytes-of-payload";
    for family in scene::FAMILIES {
        refused(family, UDP, "udp", long, "NotPublished");
        refused(family, TCP, "syn", long, "Malformed");
    }
}

/// A borrowed source is seen in every shape.
#[test]
fn no_shape_of_a_packet_hides_a_borrowed_source() {
    for cni in LAYOUTS {
        let bed = bed(cni);
        for (family, shape) in [
            (Family::V4, "--fragment rest --payload twenty-four-bytes-of-payload"),
            (Family::V6, "--fragment rest --payload twenty-four-bytes-of-payload"),
            (Family::V6, "--extension hop-by-hop"),
        ] {
            let (victim, server) = (address(bed, "victim", family), address(bed, "server", family));
            let (from, to) = (SocketAddr::new(victim, 40_011), SocketAddr::new(server, 7000));
            let before = counts::denied(bed, "SourceSpoofed");
            forge(
                bed,
                "attacker",
                &format!("packet udp --source {from} --destination {to} --via packet --count 3 {shape}"),
            );
            counts::wait_denied(bed, "SourceSpoofed", before, 3);
        }
    }
}
