//! The network of a node: its forwarding, and the link of every pod in the layout of one of the two plugins that most
//! clusters' own are made of.

use std::{fs, io, path::Path};

use super::{Cni, Config};
use crate::{addresses::Pair, launch::Launch, tool};

/// The bridge of the bridged layout.
const BRIDGE: &str = "cni0";

/// The node's own address on every pod's link.
const LINK_LOCAL: &str = "fe80::1";

/// Why the network could not be set up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Tool(#[from] tool::Error),
    #[error("cannot write {setting}: {source}")]
    Sysctl { setting: String, source: io::Error },
}

/// Prepares the namespace that the caller is in as a node's.
pub(super) fn prepare_node(config: &Config) -> Result<(), Error> {
    for (setting, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        ("net/ipv6/conf/all/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_dad", "0"),
    ] {
        sysctl(setting, value)?;
    }
    let mut lines = vec!["link set lo up".to_owned()];
    for address in &config.dns {
        // Until the kernel has looked for another owner, on a busy machine some time, nobody can be bound to it.
        let at_once = if address.is_ipv6() { " nodad" } else { "" };
        lines.push(format!("address add {address} dev lo{at_once}"));
    }
    if config.cni == Cni::Bridge {
        let Pair { v4, v6 } = config.gateway;
        lines.push(format!("link add {BRIDGE} type bridge"));
        lines.push(format!("address add {v4}/24 dev {BRIDGE}"));
        lines.push(format!("address add {v6}/64 dev {BRIDGE} nodad"));
        lines.push(format!("address add {LINK_LOCAL}/64 dev {BRIDGE} nodad"));
        lines.push(format!("link set {BRIDGE} up"));
        // Without it the answer of a neighbour that was reached through a Service's address would stay on the bridge
        // and never be translated back. Absent where the kernel has no such filter.
        for setting in ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"] {
            if Path::new("/proc/sys").join(setting).exists() {
                sysctl(setting, "1")?;
            }
        }
    }
    Ok(tool::ip(None, &lines)?)
}

/// The name of the node's end of a pod's link: the first of its uid's digits.
pub(super) fn link_name(uid: &str) -> String {
    let digits: String = uid.chars().filter(char::is_ascii_alphanumeric).take(10).collect();
    format!("veth{digits}")
}

/// Joins the sandbox process's network namespace to the node.
pub(super) fn join_pod(config: &Config, uid: &str, sandbox: i32, addresses: Pair) -> Result<(), Error> {
    let link = link_name(uid);
    let Pair { v4, v6 } = addresses;
    let Pair { v4: gateway4, v6: gateway6 } = config.gateway;
    let mut host = vec![format!("link add {link} type veth peer name eth0 netns {sandbox}")];
    let mut pod = vec!["link set eth0 up".to_owned()];
    match config.cni {
        Cni::Ptp => {
            host.push(format!("address add {gateway4}/32 dev {link}"));
            host.push(format!("address add {gateway6}/128 dev {link} nodad"));
            // What it forwards it asks the neighbour for from the link's own address. The one that the kernel makes is
            // tentative until a kernel worker has run, on a busy machine for seconds, and until then nobody is asked.
            host.push(format!("link set {link} addrgenmode none"));
            host.push(format!("address add {LINK_LOCAL}/64 dev {link} nodad"));
            host.push(format!("link set {link} up"));
            host.push(format!("route add {v4}/32 dev {link} scope link"));
            host.push(format!("route add {v6}/128 dev {link}"));
            pod.push(format!("address add {v4}/32 dev eth0"));
            pod.push(format!("address add {v6}/128 dev eth0 nodad"));
            pod.push(format!("route add {gateway4} dev eth0 scope link"));
            pod.push(format!("route add {gateway6} dev eth0"));
        }
        Cni::Bridge => {
            host.push(format!("link set {link} master {BRIDGE}"));
            host.push(format!("link set {link} up"));
            // A pod that picks itself through a Service gets its own packets back over the same port.
            host.push(format!("link set {link} type bridge_slave hairpin on"));
            pod.push(format!("address add {v4}/24 dev eth0"));
            pod.push(format!("address add {v6}/64 dev eth0 nodad"));
        }
    }
    pod.push(format!("route add default via {gateway4}"));
    pod.push(format!("route add default via {gateway6} dev eth0"));
    tool::ip(None, &host)?;
    let inside = Launch {
        network: Some(format!("/proc/{sandbox}/ns/net").into()),
        argv: ["ip", "-batch", "-"].map(str::to_owned).to_vec(),
        ..Launch::default()
    };
    tool::run(inside.command(&config.testbed_program), &(pod.join("\n") + "\n"))?;
    Ok(())
}

/// Removes the pod's link now, rather than when the last socket lets go of its namespace.
pub(super) fn leave_pod(uid: &str) {
    // Gone already if the namespace is.
    let _ = tool::ip(None, &[format!("link del {}", link_name(uid))]);
}

fn sysctl(setting: &str, value: &str) -> Result<(), Error> {
    let path = Path::new("/proc/sys").join(setting);
    fs::write(path, value).map_err(|source| Error::Sysctl { setting: setting.to_owned(), source })
}
