//! Borrowed source addresses (SEMANTICS 2.2, 5.7).

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    time::Duration,
};

use super::{LAYOUTS, bed, scene};
use scene::{FAMILIES, Family, address, counts, dial, forge, held::Held, watch::Watch};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// 5.7: towards an enrolled pod the hook has a say, so a SYN that no hooked socket announced stays in the pod; by a raw
/// socket and past the stack.
#[test]
fn a_raw_syn_of_an_unpublished_tuple_does_not_leave_the_pod() {
    for cni in LAYOUTS {
        let bed = bed(cni);
        for family in FAMILIES {
            let (own, server) = (address(bed, "attacker", family), address(bed, "server", family));
            for via in ["raw", "packet"] {
                let before = counts::denied(bed, "NotPublished");
                let (from, to) = (SocketAddr::new(own, 40_001), SocketAddr::new(server, 7000));
                let watch = Watch::begin(bed, "server", TCP, from);
                let sent = forge(
                    bed,
                    "attacker",
                    &format!("packet syn --source {from} --destination {to} --via {via} --count 5"),
                );
                assert_eq!(sent.count("sent"), 5);
                assert_eq!(watch.packets(), 0, "{cni:?} {family:?} {via}");
                counts::wait_denied(bed, "NotPublished", before, 5);
            }
        }
    }
}

/// 2.2: another pod's address does not come out of this pod's interface, whatever is behind it.
#[test]
fn a_raw_syn_or_datagram_with_another_pods_source_does_not_leave_the_pod() {
    for cni in LAYOUTS {
        let bed = bed(cni);
        for family in FAMILIES {
            let (victim, server) = (address(bed, "victim", family), address(bed, "server", family));
            for (kind, protocol) in [("syn", TCP), ("udp", UDP)] {
                for via in ["raw", "packet"] {
                    let before = counts::denied(bed, "SourceSpoofed");
                    let (from, to) = (SocketAddr::new(victim, 40_002), SocketAddr::new(server, 7000));
                    let watch = Watch::begin(bed, "server", protocol, from);
                    let sent = forge(
                        bed,
                        "attacker",
                        &format!("packet {kind} --source {from} --destination {to} --via {via} --count 5"),
                    );
                    assert_eq!(sent.count("sent"), 5);
                    assert_eq!(watch.packets(), 0, "{cni:?} {family:?} {kind} {via}");
                    counts::wait_denied(bed, "SourceSpoofed", before, 5);
                }
            }
        }
    }
}

/// 2.2: a tuple that is published right now is no use to anyone but the socket that published it: neither a SYN that
/// would be taken for the victim's, nor a RST that would end its connection.
#[test]
fn the_live_tuple_of_another_pod_cannot_be_used() {
    for cni in LAYOUTS {
        let bed = bed(cni);
        for family in FAMILIES {
            let to = SocketAddr::new(address(bed, "server", family), 7000);
            let mut held = Held::open(bed, scene::NAMESPACE, "victim", to, 600_000);
            let from = held.source.clone();
            assert_eq!(counts::flows_from(bed, &from).len(), 1, "the victim's tuple is published: {from}");

            let before = counts::denied(bed, "SourceSpoofed");
            for kind in ["syn", "rst", "data"] {
                forge(
                    bed,
                    "attacker",
                    &format!("packet {kind} --source {from} --destination {to} --via packet --count 5"),
                );
            }
            counts::wait_denied(bed, "SourceSpoofed", before, 15);
            // Some round trips later, each of which would end it if something of that had arrived.
            std::thread::sleep(Duration::from_millis(200));
            assert!(held.is_open(), "{cni:?} {family:?}: the victim's connection: {}", held.end());
        }
    }
}

/// 2.2: a socket with a borrowed address is an ordinary socket to the hooks; it proves nothing, because only its own
/// address is a pod's to prove.
#[test]
fn a_socket_bound_to_another_pods_address_publishes_nothing_and_reaches_nobody() {
    for cni in LAYOUTS {
        let bed = bed(cni);
        for family in FAMILIES {
            let (victim, server) = (address(bed, "victim", family), address(bed, "server", family));
            let (from, to) = (SocketAddr::new(victim, 40_003), SocketAddr::new(server, 7000));
            dial(bed, "victim", to).unwrap();
            let before = counts::denied(bed, "SourceSpoofed");
            let arguments =
                ["mesh-forge", "dial", &to.to_string(), "--source", &from.to_string(), "--timeout", "700"];
            let mut dialling = bed.spawn(scene::NAMESPACE, "attacker", &arguments).unwrap();
            counts::wait_denied(bed, "SourceSpoofed", before, 1);
            let published = counts::flows_from(bed, &from.to_string());
            assert!(published.is_empty(), "{cni:?} {family:?}: {published:?}");
            let mut line = String::new();
            BufReader::new(dialling.stdout.take().unwrap()).read_line(&mut line).unwrap();
            dialling.wait().unwrap();
            assert!(line.starts_with("ok=0"), "{cni:?} {family:?}: {line}");
        }
    }
}

/// 7.4: the loopback addresses that relay delivers from are relay's: whoever else connects from there, or a delivery that
/// the kernel could keep no record of, is refused and counted, and no application sees such a client.
#[test]
fn nobody_but_relay_connects_to_a_pod_from_where_relay_delivers() {
    for cni in LAYOUTS {
        let bed = bed(cni);
        for family in FAMILIES {
            let from = match family {
                Family::V4 => "127.64.9.9:0",
                Family::V6 => "[fdc7:3ab1:5e20::9]:0",
            };
            let own = SocketAddr::new(address(bed, "allowed", family), 7000);
            let words = forge(bed, "allowed", &format!("dial {own} --timeout 300"));
            assert_eq!(words.count("ok"), 1, "{cni:?} {family:?}");
            let before = counts::denied(bed, "DeliveryUnknown");
            let words = forge(bed, "allowed", &format!("dial {own} --source {from} --timeout 300"));
            assert_eq!(words.count("ok"), 0, "{cni:?} {family:?}");
            counts::wait_denied(bed, "DeliveryUnknown", before, 1);
        }
    }
}
