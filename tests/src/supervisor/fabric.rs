//! What joins the nodes: a bridge in a network namespace of its own, where everything between nodes can be captured,
//! and plain routes to each other's pods.

use std::{
    fs::{self, File},
    io,
    path::Path,
    process::Command,
    thread,
};

use nix::sched::{CloneFlags, setns};

use crate::{
    addresses::{Pair, Plan},
    layout::NETNS_ROOT,
    tool,
};

/// The network between the nodes could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tool failed.
    #[error(transparent)]
    Tool(#[from] tool::Error),
    /// Forwarding could not be turned on.
    #[error("cannot let the fabric forward: {0}")]
    Forwarding(#[from] io::Error),
}

/// The bridge in the fabric's namespace; capture here: `ip netns exec mesh-NAME tcpdump -i br0`.
const BRIDGE: &str = "br0";

/// The links between the nodes.
#[derive(Debug)]
pub(crate) struct Fabric {
    netns: String,
    plan: Plan,
    /// The namespaces of the nodes that are joined, by number.
    nodes: Vec<(u8, String)>,
}

impl Fabric {
    /// Makes the bridge. Nodes route what they do not know to it, and are told at once that there is nothing: without
    /// such a route they could not even dial the address of a Service.
    pub(crate) fn create(netns: String, plan: Plan) -> Result<Self, Error> {
        add_namespace(&netns)?;
        let Pair { v4, v6 } = plan.beyond();
        tool::ip(
            Some(&netns),
            &[
                "link set lo up".to_owned(),
                format!("link add {BRIDGE} type bridge"),
                format!("address add {v4}/24 dev {BRIDGE}"),
                format!("address add {v6}/64 dev {BRIDGE} nodad"),
                format!("link set {BRIDGE} up"),
                "route add unreachable default".to_owned(),
                "route add unreachable ::/0".to_owned(),
            ],
        )?;
        forward(&Path::new(NETNS_ROOT).join(&netns))?;
        Ok(Self { netns, plan, nodes: Vec::new() })
    }

    /// Makes a node's namespace and joins it to all others.
    pub(crate) fn add_node(&mut self, number: u8, netns: String) -> Result<(), Error> {
        add_namespace(&netns)?;
        let Pair { v4, v6 } = self.plan.node(number);
        let port = format!("node{number}");
        tool::ip(
            Some(&self.netns),
            &[
                format!("link add {port} type veth peer name eth0 netns {netns}"),
                format!("link set {port} master {BRIDGE}"),
                format!("link set {port} up"),
            ],
        )?;
        let mut lines = vec![
            format!("address add {v4}/24 dev eth0"),
            format!("address add {v6}/64 dev eth0 nodad"),
            "link set eth0 up".to_owned(),
            format!("route add default via {}", self.plan.beyond().v4),
            format!("route add default via {}", self.plan.beyond().v6),
        ];
        for (other, _) in &self.nodes {
            lines.extend(self.routes_to(*other));
        }
        tool::ip(Some(&netns), &lines)?;
        let back = self.routes_to(number);
        for (_, other) in &self.nodes {
            tool::ip(Some(other), &back)?;
        }
        self.nodes.push((number, netns));
        Ok(())
    }

    /// Lets what runs in the fabric's own namespace, and what comes in by it, reach the nodes' pods.
    pub(crate) fn route_pods(&self) -> Result<(), Error> {
        let routes: Vec<String> = self.nodes.iter().flat_map(|(number, _)| self.routes_to(*number)).collect();
        Ok(tool::ip(Some(&self.netns), &routes)?)
    }

    /// Takes a node's network away, whatever still uses it.
    pub(super) fn remove_node(&mut self, number: u8) -> Result<(), Error> {
        let Some(at) = self.nodes.iter().position(|(other, _)| *other == number) else { return Ok(()) };
        let (_, netns) = self.nodes.remove(at);
        // Its end of the link goes with this one, when the last socket lets go of the namespace or before.
        tool::ip(Some(&self.netns), &[format!("link del node{number}")])?;
        let mut command = Command::new("ip");
        command.args(["netns", "delete", &netns]);
        tool::run(command, "")?;
        let gone: Vec<String> =
            self.routes_to(number).iter().map(|route| route.replacen("route add", "route del", 1)).collect();
        for (_, other) in &self.nodes {
            tool::ip(Some(other), &gone)?;
        }
        Ok(())
    }

    fn routes_to(&self, node: u8) -> [String; 2] {
        let ((pods4, pods6), Pair { v4, v6 }) = (self.plan.pods(node), self.plan.node(node));
        [format!("route add {pods4} via {v4}"), format!("route add {pods6} via {v6}")]
    }
}

fn add_namespace(name: &str) -> Result<(), tool::Error> {
    let mut command = Command::new("ip");
    command.args(["netns", "add", name]);
    tool::run(command, "").map(drop)
}

/// Turns on forwarding in a namespace; which one a setting belongs to follows from the thread that writes it.
fn forward(netns: &Path) -> io::Result<()> {
    let file = File::open(netns)?;
    let thread = thread::spawn(move || {
        setns(file, CloneFlags::CLONE_NEWNET)?;
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")
    });
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
}
