//! Bringing the cluster up: everything that can start at once does, and each part is waited for by name.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use nix::mount::{MsFlags, mount};
use serde::{Deserialize, Serialize};

use super::{
    Error, Kubectl,
    control::{self, Trust},
    definitions::define,
    error::io,
    image::{self, Image},
    leftovers, load, network,
    node::{self, COREDNS, PAUSE, ProxyMode},
    place::{API_PORT, CONTROL, NAME, NODES, Place},
    progress::Part,
};
use crate::{cgroup, layout, tool};

const DNS: &str = include_str!("../../cluster/manifests/dns.yaml");

/// Longest wait for a part; several times what a busy machine of two cores takes.
const LONGEST: Duration = Duration::from_secs(120);

/// What the cluster shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub(super) struct Options {
    /// How many nodes
    #[arg(long, default_value_t = 2)]
    pub(super) nodes: u8,
    /// How kube-proxy implements Services
    #[arg(long, value_enum, default_value = "nftables")]
    pub(super) proxy: ProxyMode,
}

/// Brings it up and tells what is where.
pub(super) fn run(place: &Place, options: &Options) -> Result<(), Error> {
    if !(1..=NODES).contains(&options.nodes) {
        return Err(Error::Nodes(options.nodes));
    }
    let start = Instant::now();
    if fs::read(Place::ready()).is_ok_and(|text| serde_json::from_slice(&text).ok().as_ref() == Some(options))
        && answers(place)
    {
        println!("the cluster is up already");
        tell(place, options);
        return Ok(());
    }
    leftovers::remove(place)?;
    // Should this be killed, what it runs is found and ended with the rest.
    let group = layout::cgroup2()?.join(NAME).join("up");
    cgroup::create(&group)?;
    cgroup::join(&group)?;
    make_run_directory()?;
    images(place)?;
    network::create(options.nodes)?;

    let trust = Trust::new()?;
    control::machine(place, &trust)?.start()?;
    let nodes: Vec<String> = (1..=options.nodes).map(Place::node).collect();
    for number in 1..=options.nodes {
        node::machine(place, &trust, number, options.proxy)?.start()?;
    }
    administrator(place, &trust)?;
    for node in &nodes {
        let part = Part { machine: node, daemon: "containerd", purpose: "run containers" };
        part.wait(LONGEST, || contained(node))?;
    }
    for image in ["pause", "coredns"] {
        load::import(&nodes, &place.images().join(image).with_extension("tar"))?;
    }
    let part = Part { machine: CONTROL, daemon: "kube-apiserver", purpose: "answer /readyz" };
    part.wait(LONGEST, || answers(place))?;
    control::api_is_ready()?;
    let kubectl = place.kubectl();
    for number in 1..=options.nodes {
        kubectl.run_with(&["create", "--filename=-"], &node::object(number).to_string())?;
    }
    for node in &nodes {
        node::start_kubelet(node)?;
    }
    let dns = Place::plan().dns();
    kubectl.apply(&DNS.replace("DNS4", &dns.v4.to_string()).replace("DNS6", &dns.v6.to_string()))?;
    for node in &nodes {
        let part = Part { machine: node, daemon: "kubelet", purpose: "report the node as Ready" };
        part.wait(LONGEST, || waited(&kubectl, &["--for=condition=Ready", "node", node]))?;
    }
    define(&kubectl, &place.definitions())?;
    dns_available(&kubectl)?;
    // The first pods need it.
    let account = ["--for=create", "--namespace=default", "serviceaccount/default"];
    let part = Part { machine: CONTROL, daemon: "kube-controller-manager", purpose: "make ServiceAccounts" };
    part.wait(LONGEST, || waited(&kubectl, &account))?;

    let ready = Place::ready();
    fs::write(&ready, serde_json::to_vec(options)?).map_err(io("write", &ready))?;
    println!("the cluster is up, after {:.1} s", start.elapsed().as_secs_f64());
    tell(place, options);
    Ok(())
}

/// In memory: it is quick, and gone with one unmount.
fn make_run_directory() -> Result<(), Error> {
    let run = Place::run();
    fs::create_dir_all(&run).map_err(io("make", &run))?;
    mount(Some("tmpfs"), &run, Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).map_err(io("mount", &run))
}

/// The images that every node begins with, made anew if their programs were.
fn images(place: &Place) -> Result<(), Error> {
    for (program, name) in [("pause", PAUSE), ("coredns", COREDNS)] {
        let source = place.programs().join(program);
        let archive = place.images().join(program).with_extension("tar");
        let modified = |path: &Path| fs::metadata(path).and_then(|data| data.modified());
        let program_time = modified(&source).map_err(io("find", &source))?;
        if !modified(&archive).is_ok_and(|archive| archive > program_time) {
            image::pack(&Image::of_program(name, &source)?, &archive)?;
        }
    }
    Ok(())
}

/// Writes the kubeconfig of the one who may do everything.
fn administrator(place: &Place, trust: &Trust) -> Result<(), Error> {
    let folder = Place::run().join("administrator");
    fs::create_dir_all(&folder).map_err(io("make", &folder))?;
    let written =
        trust.kubeconfig(&folder, &folder, ("admin", "kubernetes-admin", Some("system:masters")))?;
    let path = place.kubeconfig();
    fs::copy(&written, &path).map(drop).map_err(io("write", &path))
}

fn contained(node: &str) -> bool {
    let mut command = Command::new("ctr");
    command.arg("--address").arg(Place::containerd(node)).args(["--timeout=2s", "version"]);
    Place::containerd(node).exists() && tool::run(command, "").is_ok()
}

fn answers(place: &Place) -> bool {
    let kubectl = place.kubectl();
    kubectl.run(&["get", "--raw=/readyz", "--request-timeout=2s"]).is_ok()
}

fn waited(kubectl: &Kubectl, what: &[&str]) -> bool {
    kubectl.run(&[&["wait", "--timeout=2s"], what].concat()).is_ok()
}

/// The one part that is a pod: what is wrong with it, the API server knows.
fn dns_available(kubectl: &Kubectl) -> Result<(), Error> {
    let space = "--namespace=kube-system";
    let available = ["wait", "--for=condition=Available", space, "deployment/coredns"];
    let timeout = format!("--timeout={}s", LONGEST.as_secs());
    kubectl.run(&[available.as_slice(), &[&timeout]].concat()).map(drop).map_err(|error| {
        let ask =
            |what: &[&str]| kubectl.run(&[what, &[space]].concat()).unwrap_or_else(|error| error.to_string());
        let said = [
            ask(&["get", "pods", "--output=wide"]),
            ask(&["get", "events", "--field-selector=type=Warning"]),
            ask(&["logs", "deployment/coredns", "--tail=20"]),
        ];
        Error::Dns { error, said: said.join("\n") }
    })
}

/// What runs where, and how to use it.
fn tell(place: &Place, options: &Options) {
    let plan = Place::plan();
    let row = |machine: &str, address: crate::addresses::Pair, what: &str| {
        println!("  {machine:8} {:16} {:24} {what}", address.v4, address.v6);
    };
    row(CONTROL, plan.beyond(), "etcd, kube-apiserver, kube-controller-manager, kube-scheduler");
    for number in 1..=options.nodes {
        let what = format!(
            "containerd, kubelet, kube-proxy ({}); pods {}",
            options.proxy.name(),
            plan.pods(number).0
        );
        row(&Place::node(number), plan.node(number), &what);
    }
    println!("  API      https://{}:{API_PORT}", plan.beyond().v4);
    println!("  logs     {}", Place::machine("MACHINE").join("log").display());
    println!("  capture  nsenter --net={} tcpdump -i br0", Place::netns(CONTROL).display());
    println!("  use it   export KUBECONFIG={}", place.kubeconfig().display());
    println!(
        "           {} get pods --all-namespaces --output=wide",
        place.programs().join("kubectl").display()
    );
}
