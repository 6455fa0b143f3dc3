//! Walking round the connect hook from within the pod's own namespace (SEMANTICS 5.7): translation after the hook, and
//! a namespace of the attacker's own that the pod forwards for.

use std::{
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use mesh_tests::testbed::Testbed;

use super::{LAYOUTS, bed, scene};
use scene::{Family, address, counts, dial, shell, watch::Watch};

const TCP: u8 = 6;

/// The hook saw an allowed destination; the packet filter of the pod's own namespace makes it a denied one.
#[test]
fn dnat_in_the_pods_own_namespace_does_not_reach_a_denied_destination() {
    for cni in LAYOUTS {
        let bed = bed(cni);
        for (family, word) in [(Family::V4, "ip"), (Family::V6, "ip6")] {
            let own = SocketAddr::new(address(bed, "caged", family), 0);
            let (allowed, forbidden) = (address(bed, "allowed", family), address(bed, "forbidden", family));
            let (allowed, forbidden) = (SocketAddr::new(allowed, 7000), SocketAddr::new(forbidden, 7000));
            dial(bed, "caged", allowed).unwrap();
            assert_eq!(dial(bed, "caged", forbidden).unwrap_err(), "EPERM=1");

            shell(
                bed,
                "caged",
                &format!(
                    "nft add table {word} walkround\n\
                 nft 'add chain {word} walkround out {{ type nat hook output priority -100; }}'\n\
                 nft add rule {word} walkround out {word} daddr {} tcp dport 7000 dnat to {forbidden}",
                    allowed.ip()
                ),
            );
            let before = counts::denied(bed, "NotPublished");
            let watch = Watch::begin(bed, "forbidden", TCP, own);
            let outcome = dial(bed, "caged", allowed);
            let arrived = watch.packets();
            shell(bed, "caged", &format!("nft delete table {word} walkround"));
            assert!(outcome.is_err(), "{cni:?} {family:?}: reached the forbidden server");
            assert_eq!(arrived, 0, "{cni:?} {family:?}");
            counts::wait_denied(bed, "NotPublished", before, 1);
            dial(bed, "caged", allowed).unwrap();
        }
    }
}

/// A namespace inside a pod, with the pod as its router that hides it behind the pod's address; gone with its keeper.
struct Nested<'a> {
    bed: &'a Testbed,
    pod: &'a str,
    keeper: String,
    /// One at a time: what it is made of has names.
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

impl<'a> Nested<'a> {
    const INSIDE: &'static str = "192.168.77.2";

    fn make(bed: &'a Testbed, pod: &'a str) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let keeper = shell(bed, pod, "unshare --net sleep 600 >/dev/null 2>&1 & echo $!").trim().to_owned();
        let nested = Self { bed, pod, keeper, _turn: turn };
        let keeper = &nested.keeper;
        shell(
            bed,
            pod,
            &format!(
                "until [ \"$(readlink /proc/{keeper}/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ]; do sleep 0.01; done\n\
             ip link add inner type veth peer name eth0 netns {keeper}\n\
             ip address add 192.168.77.1/24 dev inner\n\
             ip link set inner up\n\
             echo 1 > /proc/sys/net/ipv4/ip_forward\n\
             nft add table ip nested\n\
             nft 'add chain ip nested out {{ type nat hook postrouting priority 100; }}'\n\
             nft add rule ip nested out ip saddr {inside} masquerade\n\
             nsenter --net=/proc/{keeper}/ns/net sh -ec '\n\
               ip link set lo up; ip address add {inside}/24 dev eth0; ip link set eth0 up; ip route add default via 192.168.77.1'",
                inside = Self::INSIDE
            ),
        );
        nested
    }

    /// Runs `mesh-forge` in it.
    fn forge(&self, arguments: &str) -> String {
        shell(
            self.bed,
            self.pod,
            &format!("nsenter --net=/proc/{}/ns/net mesh-forge {arguments}", self.keeper),
        )
    }
}

impl Drop for Nested<'_> {
    fn drop(&mut self) {
        let script =
            format!("kill {}; nft delete table ip nested; ip link del inner 2>/dev/null", self.keeper);
        // The test's own failure is what should be seen.
        let _ = self.bed.exec(scene::NAMESPACE, self.pod, &["sh", "-c", &script]);
    }
}

/// Its sockets pass the hook, its packets do not pass the interface: the tuple that leaves is none that was announced.
#[test]
fn a_nested_namespace_that_the_pod_forwards_for_does_not_walk_round_the_egress_policy() {
    for cni in LAYOUTS {
        let bed = bed(cni);
        let own = SocketAddr::new(address(bed, "caged", Family::V4), 0);
        let nested = Nested::make(bed, "caged");
        for (server, packet) in [("forbidden", true), ("allowed", false), ("outside", true)] {
            let to = SocketAddr::new(address(bed, server, Family::V4), 7000);
            let before = counts::denied(bed, "NotPublished");
            let watch = Watch::begin(bed, server, TCP, own);
            let said = if packet {
                // The hook refuses the connect; a raw socket asks no hook.
                let refused = nested.forge(&format!("dial {to} --timeout 200"));
                assert!(refused.contains("EPERM=1"), "{cni:?} {server}: {refused}");
                nested.forge(&format!(
                    "packet syn --source {}:40020 --destination {to} --count 3",
                    Nested::INSIDE
                ))
            } else {
                nested.forge(&format!("dial {to} --timeout 300"))
            };
            assert!(said.contains("sent=3") || said.contains("ok=0"), "{cni:?} {server}: {said}");
            assert_eq!(watch.packets(), 0, "{cni:?} {server}");
            counts::wait_denied(bed, "NotPublished", before, 1);
        }
    }
}

/// Documented: where no egress policy is about the pod, only what the mesh protects is closed to unannounced packets.
#[test]
fn a_nested_namespace_of_a_pod_without_egress_policy_reaches_strangers_and_no_enrolled_pod() {
    for cni in LAYOUTS {
        let bed = bed(cni);
        let nested = Nested::make(bed, "attacker");
        let outside = SocketAddr::new(address(bed, "outside", Family::V4), 7000);
        let said = nested.forge(&format!("dial {outside} --timeout 2500"));
        assert!(said.starts_with("ok=1"), "{cni:?}: {said}");
        let before = counts::denied(bed, "NotPublished");
        let allowed = SocketAddr::new(address(bed, "allowed", Family::V4), 7000);
        let said = nested.forge(&format!("dial {allowed} --timeout 300"));
        assert!(said.starts_with("ok=0"), "{cni:?}: {said}");
        counts::wait_denied(bed, "NotPublished", before, 1);
    }
}

/// 2.1: a nested namespace may give itself any address; a tuple with another pod's, or with the pod's own outside the
/// pod's namespace, is not proof of anything and is not published.
#[test]
fn a_nested_namespace_that_uses_a_pods_address_publishes_nothing() {
    for cni in LAYOUTS {
        let bed = bed(cni);
        let nested = Nested::make(bed, "attacker");
        let to = SocketAddr::new(address(bed, "server", Family::V4), 7000);
        for owner in ["victim", "attacker"] {
            let from = SocketAddr::new(address(bed, owner, Family::V4), 40_021);
            let keeper = &nested.keeper;
            let script = format!(
                "nsenter --net=/proc/{keeper}/ns/net sh -ec 'ip address add {}/32 dev lo; mesh-forge dial {to} --source {from} --timeout 2000'",
                from.ip()
            );
            let dialling = bed.spawn(scene::NAMESPACE, "attacker", &["sh", "-euc", &script]).unwrap();
            // The socket must be seen connecting before its absence from the map says anything.
            counts::eventually(bed, "the nested socket to be connecting", scene::SOON, || {
                let sockets = shell(
                    bed,
                    "attacker",
                    &format!("nsenter --net=/proc/{keeper}/ns/net ss -tnH state syn-sent"),
                );
                if sockets.contains(&from.to_string()) { Ok(()) } else { Err(sockets) }
            });
            let published = counts::flows_from(bed, &from.to_string());
            let output = dialling.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(published.is_empty(), "{cni:?}, the address of {owner}: {published:?}");
            assert!(said.starts_with("ok=0"), "{cni:?}, the address of {owner}: {said}");
        }
    }
}

/// 2.1: nor does a datagram from there, whatever its socket is bound to: what is kept of it says who asked for what, and
/// is nobody's proof.
#[test]
fn a_datagram_from_a_nested_namespace_is_nobodys_proof() {
    for cni in LAYOUTS {
        let bed = bed(cni);
        let nested = Nested::make(bed, "attacker");
        let keeper = &nested.keeper;
        let to = SocketAddr::new(address(bed, "allowed", Family::V4), 7000);
        for owner in ["victim", "attacker"] {
            let borrowed = address(bed, owner, Family::V4);
            let script = format!(
                "nsenter --net=/proc/{keeper}/ns/net sh -ec 'ip address add {borrowed}/32 dev lo; \
                 mesh-socket udp {to} --bind {borrowed} --timeout 200; ip address del {borrowed}/32 dev lo'"
            );
            let said = shell(bed, "attacker", &script);
            let dump = counts::dump(bed);
            let flows = dump["flows"].as_array().unwrap().iter().filter(|flow| {
                let from = flow["source"].as_str().unwrap_or_default();
                flow["protocol"] == "UDP"
                    && flow["origin"] != "Unproven"
                    && flow["destination"] == to.to_string().as_str()
                    && from.starts_with(&format!("{borrowed}:"))
            });
            assert_eq!(flows.count(), 0, "{cni:?}, the address of {owner}: {said} {dump}");
        }
        let script = format!("nsenter --net=/proc/{keeper}/ns/net mesh-socket udp {to} --timeout 200");
        let said = shell(bed, "attacker", &script);
        let dump = counts::dump(bed);
        let origins: Vec<_> = dump["flows"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|flow| flow["destination"] == to.to_string().as_str() && flow["protocol"] == "UDP")
            .map(|flow| flow["origin"].as_str().unwrap_or_default())
            .collect();
        assert!(
            !origins.is_empty() && origins.iter().all(|origin| *origin == "Unproven"),
            "{cni:?}: {said} {dump}"
        );
    }
}

/// 2.1: a server in there that uses a pod's address is not that pod's: nothing is told in its name.
#[test]
fn a_server_in_a_nested_namespace_that_uses_a_pods_address_is_not_the_pod() {
    for cni in LAYOUTS {
        let bed = bed(cni);
        let nested = Nested::make(bed, "attacker");
        let keeper = &nested.keeper;
        let opened_to = |pod: &str, reporter: &str| {
            let scrape = bed.metrics(scene::NODE).unwrap();
            let reporter = format!("reporter=\"{reporter}\"");
            let told: Vec<&str> = scrape.lines().filter(|line| line.contains(&reporter)).collect();
            let label = format!("destination_workload=\"{pod}\"");
            counts::sum(&told.join("\n"), "mesh_tcp_connections_opened_total{", &label)
        };
        let before = opened_to("victim", "destination");
        let borrowed = address(bed, "victim", Family::V4);
        let script = format!(
            "nsenter --net=/proc/{keeper}/ns/net sh -ec 'ip address add {borrowed}/32 dev lo; \
             mesh-forge serve 7000 >/dev/null & server=$!; \
             mesh-forge dial {borrowed}:7000 --source 127.0.0.1:0 --for 1000 --pause 50; \
             kill $server; ip address del {borrowed}/32 dev lo'"
        );
        let said = shell(bed, "attacker", &script);
        assert!(said.contains("ok="), "{cni:?}: {said}");
        // Events come in order: once a later connection is counted, these are.
        let told = opened_to("allowed", "source");
        dial(bed, "victim", SocketAddr::new(address(bed, "allowed", Family::V4), 7000)).unwrap();
        counts::eventually(bed, "a later connection to be counted", scene::SOON, || {
            let now = opened_to("allowed", "source");
            if now > told { Ok(()) } else { Err(format!("{told} before, {now} now")) }
        });
        assert_eq!(opened_to("victim", "destination"), before, "{cni:?}: {said}");
    }
}
