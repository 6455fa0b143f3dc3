//! The stand-in for kube-proxy: nftables rules that translate Service addresses for whatever reaches the node's
//! network stack untranslated, that is pods outside the mesh, the node itself and other nodes' traffic to node ports.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
    process::Command,
};

use super::{Config, Endpoint, ServiceState};
use crate::tool;

const TABLE: &str = "inet mesh_testbed_proxy";

/// The mark of what came to a node port: its answer must come back through this node.
const MASQUERADE: &str = "0x4000";

/// Replaces the node's rules by those for `services`, in one transaction.
pub(super) fn apply(config: &Config, services: &[ServiceState]) -> Result<(), tool::Error> {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]);
    tool::run(command, &rules(config, services)).map(drop)
}

/// One frontend: what is dialled, and what is behind it.
struct Frontend<'a> {
    address: IpAddr,
    protocol: &'a str,
    port: u16,
    is_node_port: bool,
    endpoints: Vec<&'a Endpoint>,
}

fn frontends<'a>(config: &Config, services: &'a [ServiceState]) -> Vec<Frontend<'a>> {
    let mut all = Vec::new();
    for service in services {
        for port in &service.ports {
            let mut add = |address: IpAddr, number: u16, is_node_port: bool| {
                let same_family =
                    |endpoint: &&Endpoint| endpoint.ready && endpoint.address.is_ipv4() == address.is_ipv4();
                let endpoints = port.endpoints.iter().filter(same_family).collect();
                all.push(Frontend {
                    address,
                    protocol: &port.protocol,
                    port: number,
                    is_node_port,
                    endpoints,
                });
            };
            for address in service.addresses.iter().filter(|address| !config.dns.contains(address)) {
                add(*address, port.port, false);
            }
            if let Some(number) = port.node_port {
                for address in config.addresses.both() {
                    add(address, number, true);
                }
            }
        }
    }
    all
}

/// The whole table as `nft` reads it.
fn rules(config: &Config, services: &[ServiceState]) -> String {
    let frontends = frontends(config, services);
    let (mut chains, mut hairpin) = (String::new(), BTreeMap::<bool, Vec<String>>::new());
    let (mut verdicts, mut rejected) =
        (BTreeMap::<bool, Vec<String>>::new(), BTreeMap::<bool, Vec<String>>::new());
    for (number, frontend) in frontends.iter().enumerate() {
        let v4 = frontend.address.is_ipv4();
        let key = format!("{} . {} . {}", frontend.address, frontend.protocol, frontend.port);
        if frontend.endpoints.is_empty() {
            rejected.entry(v4).or_default().push(key);
            continue;
        }
        verdicts.entry(v4).or_default().push(format!("{key} : goto service-{number}"));
        let mut picks = Vec::new();
        for (index, endpoint) in frontend.endpoints.iter().enumerate() {
            let target = std::net::SocketAddr::new(endpoint.address, endpoint.port);
            let (family, protocol) = (if v4 { "ip" } else { "ip6" }, frontend.protocol);
            let _ = writeln!(
                chains,
                "chain endpoint-{number}-{index} {{ meta l4proto {protocol} dnat {family} to {target}; }}"
            );
            picks.push(format!("{index} : goto endpoint-{number}-{index}"));
            let pair = format!("{0} . {0}", endpoint.address);
            let pairs = hairpin.entry(v4).or_default();
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
        let mark = if frontend.is_node_port { format!("meta mark set {MASQUERADE};") } else { String::new() };
        let _ = writeln!(
            chains,
            "chain service-{number} {{ {mark} numgen random mod {} vmap {{ {} }}; }}",
            picks.len(),
            picks.join(", ")
        );
    }
    let elements = |lists: &BTreeMap<bool, Vec<String>>, v4: bool| {
        let list = lists.get(&v4).map_or(String::new(), |list| list.join(", "));
        if list.is_empty() { list } else { format!("elements = {{ {list} }};") }
    };
    let vips = |v4: bool| {
        let mut all: Vec<String> = frontends
            .iter()
            .filter(|frontend| !frontend.is_node_port && frontend.address.is_ipv4() == v4)
            .map(|frontend| frontend.address.to_string())
            .collect();
        all.sort();
        all.dedup();
        if all.is_empty() { String::new() } else { format!("elements = {{ {} }};", all.join(", ")) }
    };
    // What is left of a Service's address once translation had its turn is for a port that it has not.
    let other_ports = refuse("ip daddr @addresses4") + &refuse("ip6 daddr @addresses6");
    let dispatch = "ip daddr . meta l4proto . th dport vmap @services4; ip6 daddr . meta l4proto . th dport vmap @services6;";
    let without_endpoint = refuse("ip daddr . meta l4proto . th dport @empty4")
        + &refuse("ip6 daddr . meta l4proto . th dport @empty6");
    let loopback = Ipv4Addr::LOCALHOST;
    format!(
        "table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n{chains}\
         map services4 {{ type ipv4_addr . inet_proto . inet_service : verdict; {} }}\n\
         map services6 {{ type ipv6_addr . inet_proto . inet_service : verdict; {} }}\n\
         set empty4 {{ type ipv4_addr . inet_proto . inet_service; {} }}\n\
         set empty6 {{ type ipv6_addr . inet_proto . inet_service; {} }}\n\
         set hairpin4 {{ type ipv4_addr . ipv4_addr; {} }}\n\
         set hairpin6 {{ type ipv6_addr . ipv6_addr; {} }}\n\
         set addresses4 {{ type ipv4_addr; {} }}\n\
         set addresses6 {{ type ipv6_addr; {} }}\n\
         chain refuse-port-forwarded {{ type filter hook prerouting priority -90; {other_ports} }}\n\
         chain refuse-port-local {{ type filter hook output priority -90; {other_ports} }}\n\
         chain refuse-forwarded {{ type filter hook prerouting priority -110; {without_endpoint} }}\n\
         chain refuse-local {{ type filter hook output priority -110; {without_endpoint} }}\n\
         chain translate-forwarded {{ type nat hook prerouting priority dstnat; {dispatch} }}\n\
         chain translate-local {{ type nat hook output priority -100; {dispatch} }}\n\
         chain return-here {{ type nat hook postrouting priority srcnat;\n\
         meta mark {MASQUERADE} ip saddr != {loopback} masquerade;\n\
         meta mark {MASQUERADE} meta nfproto ipv6 masquerade;\n\
         ip saddr . ip daddr @hairpin4 ct status dnat masquerade;\n\
         ip6 saddr . ip6 daddr @hairpin6 ct status dnat masquerade; }}\n}}\n",
        elements(&verdicts, true),
        elements(&verdicts, false),
        elements(&rejected, true),
        elements(&rejected, false),
        elements(&hairpin, true),
        elements(&hairpin, false),
        vips(true),
        vips(false),
    )
}

/// Rules that refuse what matches, at once. TCP gets a reset: an ICMP error that comes back while the caller is still
/// within `connect` counts as a passing one, and the caller would wait for the next SYN (`tcp_v6_err`, `sk_err_soft`).
fn refuse(matching: &str) -> String {
    format!("{matching} meta l4proto tcp reject with tcp reset; {matching} reject; ")
}
