//! The loop against the real kernel: a node's namespace, a cgroup subtree and a pin root of its
//! own, one pod, and no relay but the messages it would send. Needs root.

mod agents;
mod content;
mod takeover;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use mesh_ebpf::abi::{Class, Settings};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::super::apply::Kernel;
use super::super::cgroups::Finder;
use super::super::cgroups::watch::Watcher;
use super::super::content::Content;
use super::super::earlier::Earlier;
use super::super::hierarchy::Hierarchy;
use super::super::links::{ALWAYS, Links, Point};
use super::super::listeners::Listeners;
use super::super::maps::Maps;
use super::super::observe::Observer;
use super::super::pins::{self, PinError, Pins};
use super::super::programs::Programs;
use super::{Health, Node, Older, Outbox, Parts, Roster};
use crate::handover::{LocalPod, NodeSettings, PodState, ToWire};
use crate::sys::netns::{Netns, within_new};

const UID: &str = "6d657368-7465-7374-0000-000000000001";
const ADDRESS: &str = "10.78.0.2";

/// A place of its own for one test: everything in it is gone when it is dropped.
struct Place {
    directory: PathBuf,
    hierarchy: Hierarchy,
    cgroup_root: PathBuf,
    sandbox: Option<Child>,
}

impl Place {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("mesh-wire-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let none: Option<&str> = None;
        mount(Some("bpf"), &directory, Some("bpf"), MsFlags::empty(), none)
            .expect("this test needs root: it mounts a bpf file system");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let cgroup2 = mounts
            .lines()
            .find(|line| line.contains(" - cgroup2 "))
            .and_then(|line| line.split(' ').nth(4))
            .expect("this test needs a cgroup2 mount");
        let cgroup_root = Path::new(cgroup2).join(format!("mesh-wire-{name}-{}", std::process::id()));
        fs::create_dir_all(cgroup_root.join("kubepods")).unwrap();
        fs::create_dir_all(cgroup_root.join("agent")).unwrap();
        let (hierarchy, _) = Hierarchy::find(&cgroup_root).unwrap();
        Self { directory, hierarchy, cgroup_root, sandbox: None }
    }

    fn pin_root(&self) -> PathBuf {
        self.directory.join("mesh")
    }

    fn pod_cgroup(&self) -> PathBuf {
        self.cgroup_root.join("kubepods").join(format!("pod{UID}"))
    }

    fn agent_cgroup(&self) -> PathBuf {
        self.cgroup_root.join("agent")
    }

    /// What start does, without its threads.
    fn wire(&self) -> Node {
        self.wire_after(None)
    }

    /// The same, after another wire gave way and left these cgroups of its agent.
    fn wire_after(&self, left: Option<&[PathBuf]>) -> Node {
        let pins = Pins::open(&self.pin_root()).unwrap();
        let (programs, adopted) = Programs::load(&pins).unwrap();
        let mut links = Links::adopt(pins.links(), &self.cgroup_root, Arc::new(programs)).unwrap();
        for hook in ALWAYS {
            links.attach_cgroup(hook).unwrap();
        }
        let maps = Maps::open(&pins.maps()).unwrap();
        let earlier = if left.is_some() { Earlier::of(&maps) } else { Earlier::default() };
        let mut kernel = Kernel { maps, links, listeners: Listeners::default(), earlier };
        let content = Content::adopt(&mut kernel.maps).unwrap();
        let hierarchy = self.hierarchy.clone();
        let parts = Parts {
            name: "test".to_owned(),
            kernel,
            finder: Finder { hierarchy, root: self.cgroup_root.clone(), named_roots: Vec::new() },
            watcher: Watcher::start(|| {}).unwrap(),
            observer: Observer { node: Netns::current().unwrap().cookie().unwrap(), uplinks: Vec::new() },
            agents: std::iter::once(self.agent_cgroup()).chain(left.into_iter().flatten().cloned()).collect(),
            content,
            roster: Roster::default(),
            older: Older::default(),
            health: Health::default(),
            outbox: Outbox::default(),
            work: channel().0,
            adopted,
            pins,
            succeeds: left.is_some(),
            linger: Duration::ZERO,
        };
        let mut node = Node::new(parts).unwrap();
        node.begin();
        node
    }

    /// What kubelet, runtime and CNI plugin do.
    fn start_pod(&mut self) {
        fs::create_dir(self.pod_cgroup()).unwrap();
        let sandbox = Command::new("unshare").args(["--net", "sleep", "1000"]).spawn().unwrap();
        let pid = sandbox.id().to_string();
        self.sandbox = Some(sandbox);
        let own = Netns::current().unwrap().cookie().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while Netns::of_process(pid.parse().unwrap()).unwrap().cookie().unwrap() == own {
            assert!(Instant::now() < deadline, "the sandbox did not get its namespace");
            std::thread::sleep(Duration::from_millis(2));
        }
        ip(&["link", "add", "host0", "type", "veth", "peer", "name", "eth0", "netns", &pid]);
        ip(&["link", "set", "host0", "up"]);
        let inside = ["-t", &pid, "--net", "ip", "address", "add", &format!("{ADDRESS}/32"), "dev", "eth0"];
        assert!(Command::new("nsenter").args(inside).status().unwrap().success());
        let inside = ["-t", &pid, "--net", "ip", "link", "set", "lo", "up"];
        assert!(Command::new("nsenter").args(inside).status().unwrap().success());
        fs::write(self.pod_cgroup().join("cgroup.procs"), pid).unwrap();
    }

    fn end_pod(&mut self) {
        if let Some(mut sandbox) = self.sandbox.take() {
            sandbox.kill().unwrap();
            sandbox.wait().unwrap();
        }
        remove_cgroup(&self.pod_cgroup());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut sandbox) = self.sandbox.take() {
            let _ = sandbox.kill();
            let _ = sandbox.wait();
        }
        remove_cgroup(&self.pod_cgroup());
        remove_cgroup(&self.cgroup_root.join("kubepods"));
        remove_cgroup(&self.agent_cgroup());
        remove_cgroup(&self.cgroup_root);
        let _ = umount2(&self.directory, MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.directory);
    }
}

/// A cgroup can be removed a moment after its last process was reaped.
fn remove_cgroup(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(2);
    while path.exists() && fs::remove_dir(path).is_err() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ip(arguments: &[&str]) {
    assert!(Command::new("ip").args(arguments).status().unwrap().success(), "ip {arguments:?}");
}

fn pod() -> LocalPod {
    LocalPod {
        uid: UID.to_owned(),
        name: "test/pod".to_owned(),
        enrolled: true,
        host_network: false,
        addresses: vec![ADDRESS.parse().unwrap()],
        group: 7,
        namespace: 1,
        ingress: mesh_ebpf::policy::SetId::EMPTY,
        egress: mesh_ebpf::policy::SetId::EMPTY,
        ingress_denies_other: false,
        egress_denies_other: false,
        require_mtls: false,
        encrypt_always: false,
        probe_ports: vec![8080],
    }
}

fn tell(node: &mut Node, session: u64, pods: Vec<LocalPod>) {
    node.told(session, ToWire::Hello { version: crate::handover::VERSION });
    node.told(session, ToWire::Node(NodeSettings { unknown_closed: false }));
    for pod in pods {
        node.told(session, ToWire::Pod(pod));
    }
    node.told(session, ToWire::Synced);
    node.told(session, ToWire::Commit { sequence: 1 });
    node.reconcile();
}

fn state(node: &Node) -> Option<PodState> {
    node.reported.get(UID).map(|report| report.state)
}

/// How many listeners the gate can reach.
fn listeners(node: &Node) -> usize {
    node.parts.kernel.maps.listeners.keys().filter(Result::is_ok).count()
}

fn points(node: &Node) -> Vec<Point> {
    node.parts.kernel.links.points().filter(|point| !matches!(point, Point::Cgroup(_))).collect()
}

/// Runs `test` as on a node: in an empty network namespace.
fn on_a_node(test: impl FnOnce() + Send) {
    within_new(test).expect("this test needs root: it makes a network namespace");
}

#[test]
fn a_pod_is_wired_survives_its_wire_and_leaves_nothing() {
    on_a_node(|| {
        let mut place = Place::new("life");
        let mut node = place.wire();
        assert!(matches!(Pins::open(&place.pin_root()), Err(PinError::Held { .. })));

        tell(&mut node, 1, vec![pod()]);
        assert!(node.held.armed, "the pod is known and not wired");
        place.start_pod();
        node.reconcile();
        assert_eq!(state(&node), Some(PodState::Wired), "{:?}", node.decisions);
        assert!(!node.held.armed);
        assert_ne!(node.held.settings.flags & Settings::LOCAL_PROOF, 0);
        let attached = points(&node);
        assert!(attached.iter().any(|point| matches!(point, Point::Gate(_))), "{attached:?}");
        assert!(attached.iter().any(|point| matches!(point, Point::FromPod(_))), "{attached:?}");
        assert!(attached.iter().any(|point| matches!(point, Point::Getopt(_))), "{attached:?}");
        assert!(attached.iter().any(|point| matches!(point, Point::Setopt(_))), "{attached:?}");
        assert_eq!(listeners(&node), 2);
        assert_ne!(node.reported[UID].listeners, 0);
        let held = node.held.clone();
        let ids = node.parts.kernel.links.infos();

        // As after kill -9: everything stays, and the next wire adopts it unchanged.
        drop(node);
        let mut node = place.wire();
        assert!(node.parts.adopted);
        assert_eq!(node.held.cgroups, held.cgroups);
        assert_eq!(points(&node), attached);
        let adopted = node.parts.kernel.links.infos();
        for (name, before) in &ids {
            assert_eq!(adopted[name].id, before.id, "{name} is the same link");
            assert_ne!(adopted[name].program, before.program, "{name} runs the new program");
        }
        assert_eq!((listeners(&node), node.reported[UID].listeners), (0, 0), "nobody held the earlier ones");
        tell(&mut node, 1, vec![pod()]);
        assert_eq!(node.held.cgroups, held.cgroups, "wired at the same time as before");
        assert_eq!(listeners(&node), 2);
        assert_ne!(node.reported[UID].listeners, 0);

        place.end_pod();
        node.verify();
        node.reconcile();
        assert_eq!(state(&node), None);
        let classes: Vec<Class> = node.held.cgroups.values().map(mesh_ebpf::abi::Pod::class).collect();
        assert_eq!(classes.len(), 2);
        assert!(classes.contains(&Class::PodsRoot) && classes.contains(&Class::Agent));
        let cookie = held.gates.keys().next().unwrap();
        assert!(!points(&node).contains(&Point::Gate(*cookie)));
        assert_eq!(listeners(&node), 0);

        drop(node);
        pins::uninstall(&place.pin_root(), &place.cgroup_root).unwrap();
        assert!(!place.pin_root().exists());
    });
}

#[test]
fn somebody_elses_map_under_our_name_is_refused() {
    on_a_node(|| {
        let place = Place::new("foreign");
        let pins = Pins::open(&place.pin_root()).unwrap();
        drop(Programs::load(&pins).unwrap());
        let probes = pins.maps().join("mesh_probes");
        fs::remove_file(&probes).unwrap();
        fs::rename(pins.maps().join("mesh_members"), &probes).unwrap();
        let error = Programs::load(&pins).unwrap_err().to_string();
        assert!(error.contains("mesh_probes") && error.contains("key size"), "{error}");
        drop(pins);
        pins::uninstall(&place.pin_root(), &place.cgroup_root).unwrap();
    });
}
