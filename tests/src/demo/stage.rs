//! The cluster that the claims are tried on, and the few things that every claim does with it.

use std::{
    cell::RefCell,
    fs,
    io::{BufRead as _, BufReader},
    net::{IpAddr, SocketAddr},
    path::Path,
    process::{Child, Output},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Deserialize as _;
use serde_json::Value;

use super::{Error, access_log::Mark, call::Call, kernel_objects, scrape::Scrape};
use crate::{
    cgroup,
    testbed::{Part, Testbed},
};

/// The node of most pods, and of all claims that need only one.
pub(super) const NODE: &str = "node-1";

/// The other one.
pub(super) const OTHER_NODE: &str = "node-2";

/// Both.
pub(super) const NODES: [&str; 2] = [NODE, OTHER_NODE];

/// The supervisor's name for the controller.
const CONTROLLER: &str = "mesh-control";

/// How long the cluster may take to be there, and the mesh to come back.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the certificate of a workload is valid here; it is renewed after about half of that.
pub(super) const WORKLOAD_TTL: &str = "30s";

/// A pod of the demo, by namespace and name.
#[derive(Debug, Clone, Copy)]
pub(super) struct PodName(pub(super) &'static str, pub(super) &'static str);

/// Enrolled: the one who may open the vault.
pub(super) const TELLER: PodName = PodName("bank", "teller");
/// Enrolled, of another namespace.
pub(super) const CLERK: PodName = PodName("shop", "clerk");
/// Enrolled, on the other node.
pub(super) const AUDITOR: PodName = PodName("bank", "auditor");
/// Not enrolled.
pub(super) const MAINFRAME: PodName = PodName("legacy", "mainframe");

impl std::fmt::Display for PodName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.0, self.1)
    }
}

/// Both address families, as `mesh-echo` options and for people.
pub(super) const FAMILIES: [(&str, &str); 2] = [("-4", "IPv4"), ("-6", "IPv6")];

/// The running cluster.
#[derive(Debug)]
pub(super) struct Stage {
    /// The testbed below it.
    pub(super) testbed: Testbed,
    /// What the agent held and had counted when it was killed, until it is back.
    pub(super) before_kill: RefCell<Option<BeforeKill>>,
    took: Duration,
}

/// What is to be found again once the agent is back.
#[derive(Debug)]
pub(super) struct BeforeKill {
    /// Kernel objects that wire held.
    pub(super) held: kernel_objects::Held,
    /// Refusals counted.
    pub(super) denied: f64,
}

impl Stage {
    /// Brings the services of `config` up with the mesh, and waits until both are there. Certificates live for the
    /// shortest time there is, so that they are renewed while the demo runs.
    pub(super) fn set_up(config: &Path) -> Result<Self, Error> {
        let start = Instant::now();
        let name = format!("demo-{}", std::process::id());
        let testbed =
            Testbed::builder().name(name).directory(config).manifest(short_lives(config)?).start()?;
        for pod in testbed.wait_all_ready(PATIENCE)? {
            let state = if pod.namespace == MAINFRAME.0 { "Plain" } else { "Wired" };
            testbed.wait_mesh_state(&pod.namespace, &pod.name, state, PATIENCE)?;
        }
        Ok(Self { testbed, before_kill: RefCell::new(None), took: start.elapsed() })
    }

    /// The cluster in a few lines.
    pub(super) fn described(&self) -> Result<String, Error> {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut text = format!(
            "kernel {}; two nodes, up in {:.1} s; every pod has a network namespace and a cgroup of its own\n",
            kernel.trim(),
            self.took.as_secs_f64()
        );
        for pod in self.testbed.pods()? {
            let addresses = [pod.ip4.map(IpAddr::from), pod.ip6.map(IpAddr::from)].into_iter().flatten();
            let addresses: Vec<String> = addresses.map(|address| address.to_string()).collect();
            let state = self.testbed.mesh_state(&pod)?.unwrap_or_else(|| "unknown".to_owned());
            let name = format!("{}/{}", pod.namespace, pod.name);
            text.push_str(&format!("  {} {name:<18} {state:<6} {}\n", pod.node, addresses.join(" ")));
        }
        Ok(text.trim_end().to_owned())
    }

    /// One TCP call from a pod, which asks the server whom it sees.
    pub(super) fn call(&self, from: PodName, to: &str, family: &str) -> Result<Call, Error> {
        Call::read(&self.run(from, &["mesh-echo", "client", family, "tcp", to])?)
    }

    /// Runs a command in a pod to its end.
    pub(super) fn run(&self, pod: PodName, argv: &[&str]) -> Result<Output, Error> {
        Ok(self.testbed.exec(pod.0, pod.1, argv)?)
    }

    /// Opens a connection from a pod that stays open, and exchanges a byte every few milliseconds.
    pub(super) fn hold(&self, from: PodName, to: &str, family: &str) -> Result<Held, Error> {
        let argv = ["mesh-echo", "hold", family, "--interval=5", "--duration=60000", to];
        let mut child = self.testbed.spawn(from.0, from.1, &argv)?;
        let output = child
            .stdout
            .take()
            .ok_or_else(|| Error::io("read from mesh-echo")(std::io::ErrorKind::BrokenPipe.into()))?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line).map_err(Error::io("read from mesh-echo"))?;
        let sockets = line.trim().strip_prefix("holding ").and_then(|rest| rest.split_once(" -> "));
        let parsed = sockets.and_then(|(client, server)| Some((client.parse().ok()?, server.parse().ok()?)));
        match parsed {
            Some((client, dialled)) => Ok(Held { child, output, client, dialled }),
            None => Err(Error::Unexpected { program: format!("mesh-echo hold {to} in {from}"), said: line }),
        }
    }

    /// The cluster address of a Service that the family has, by the testbed's own record.
    pub(super) fn vip(&self, namespace: &str, service: &str, family: &str) -> Result<IpAddr, Error> {
        let path = self.testbed.layout().overlay("services").join(format!("{namespace}.{service}.yaml"));
        let text = fs::read_to_string(&path).map_err(Error::io(format!("read {}", path.display())))?;
        let object: Value = serde_yaml_ng::from_str(&text).map_err(|error| Error::Testbed(error.into()))?;
        let addresses = object["spec"]["clusterIPs"].as_array().into_iter().flatten();
        let mut addresses = addresses.filter_map(|address| address.as_str()?.parse::<IpAddr>().ok());
        addresses.find(|address| address.is_ipv4() == (family == "-4")).ok_or_else(|| Error::Unexpected {
            program: format!("Service {namespace}/{service}"),
            said: text.clone(),
        })
    }

    /// The metrics of the node of most pods, now.
    pub(super) fn scrape(&self) -> Result<Scrape, Error> {
        self.scrape_of(NODE)
    }

    /// The metrics of a node, now.
    pub(super) fn scrape_of(&self, node: &str) -> Result<Scrape, Error> {
        Ok(Scrape(self.testbed.metrics(node)?))
    }

    /// Scrapes until `wanted` holds: the kernel's counts reach the relay once a second.
    pub(super) fn scrape_until(&self, what: &str, wanted: impl Fn(&Scrape) -> bool) -> Result<Scrape, Error> {
        let found = self.testbed.wait_for(what, Duration::from_secs(5), || {
            let scrape = self.scrape().map_err(|error| error.to_string())?;
            if wanted(&scrape) { Ok(scrape) } else { Err(String::new()) }
        });
        Ok(found?)
    }

    /// The end of the access log of the node of most pods.
    pub(super) fn log_mark(&self) -> Mark {
        self.log_mark_of(NODE)
    }

    /// The end of a node's access log now.
    pub(super) fn log_mark_of(&self, node: &str) -> Mark {
        Mark::now(self.testbed.node(node).run.join("access.log"))
    }

    /// The controller's process.
    pub(super) fn controller(&self) -> Result<Pid, Error> {
        let cgroup = self.testbed.layout().cgroup().join(format!(".{CONTROLLER}"));
        cgroup::processes(&cgroup).first().copied().ok_or_else(|| Error::Unexpected {
            program: "the testbed".to_owned(),
            said: "no controller runs".to_owned(),
        })
    }

    /// Kills the controller with SIGKILL and keeps it from being started again, until it is released.
    pub(super) fn hold_controller(&self) -> Result<(), Error> {
        let hold = self.testbed.layout().hold(CONTROLLER);
        fs::write(&hold, "").map_err(Error::io(format!("write {}", hold.display())))?;
        let pid = self.controller()?;
        kill(pid, Signal::SIGKILL).map_err(|errno| Error::io(format!("kill {pid}"))(errno.into()))
    }

    /// Lets the controller be started again.
    pub(super) fn release_controller(&self) -> Result<(), Error> {
        let hold = self.testbed.layout().hold(CONTROLLER);
        fs::remove_file(&hold).map_err(Error::io(format!("remove {}", hold.display())))
    }

    /// Asks `meshctl`; gives what it printed as JSON and its exit code.
    pub(super) fn meshctl(&self, arguments: &[&str]) -> Result<(Value, Option<i32>), Error> {
        let program =
            std::env::current_exe().map_err(Error::io("find our own program"))?.with_file_name("meshctl");
        let mut command = std::process::Command::new(&program);
        command.arg("--run-dir").arg(self.testbed.layout().run()).args(["-o", "json"]).args(arguments);
        let output = command.output().map_err(Error::io(format!("run {}", program.display())))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let value = serde_json::from_str(&text).map_err(|source| Error::Json {
            what: format!(
                "the output of `meshctl {}`: {text}{}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            ),
            source,
        })?;
        Ok((value, output.status.code()))
    }

    /// The process of one half of the agent.
    pub(super) fn agent(&self, part: Part) -> Result<Pid, Error> {
        Ok(self.testbed.agent(NODE, part)?)
    }

    /// Waits until both halves run again and the relay says that every pod of before is as it was.
    pub(super) fn wait_back(&self) -> Result<(), Error> {
        for pod in self.testbed.pods()? {
            let state = if pod.namespace == MAINFRAME.0 { "Plain" } else { "Wired" };
            self.testbed.wait_mesh_state(&pod.namespace, &pod.name, state, PATIENCE)?;
        }
        Ok(())
    }

    /// What the mesh's processes last said, for a claim that failed.
    pub(super) fn logs(&self) -> String {
        let mut names = vec![CONTROLLER.to_owned()];
        for node in NODES {
            names.extend([format!("mesh-agent-wire.{node}"), format!("mesh-agent-relay.{node}")]);
        }
        let tail = |name: &String| {
            let text = fs::read_to_string(self.testbed.layout().log(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().rev().take(6).collect();
            let lines: Vec<&str> = lines.into_iter().rev().collect();
            format!("{name} last said:\n       {}", lines.join("\n       "))
        };
        names.iter().map(tail).collect::<Vec<_>>().join("\n     ")
    }
}

/// The MeshConfig of `config` with the shortest life of workload certificates that there is.
fn short_lives(config: &Path) -> Result<String, Error> {
    let reading = || Error::io(format!("read {}", config.display()));
    for entry in fs::read_dir(config).map_err(reading())? {
        let text = fs::read_to_string(entry.map_err(reading())?.path()).map_err(reading())?;
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let invalid = |error: serde_yaml_ng::Error| Error::Testbed(error.into());
            let mut object = Value::deserialize(document).map_err(invalid)?;
            if object["kind"] == "MeshConfig" {
                object["spec"]["ca"]["workloadTTL"] = WORKLOAD_TTL.into();
                return serde_yaml_ng::to_string(&object).map_err(invalid);
            }
        }
    }
    Err(Error::Unexpected {
        program: config.display().to_string(),
        said: "there is no MeshConfig".to_owned(),
    })
}

/// An open connection of a `mesh-echo hold` in a pod; ended when dropped.
#[derive(Debug)]
pub(super) struct Held {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    /// The client's own address.
    pub(super) client: SocketAddr,
    /// Whom the client believes to talk to.
    pub(super) dialled: SocketAddr,
}

impl Held {
    /// Waits until the connection ends by itself; gives when that was seen, and the client's last words.
    pub(super) fn wait_end(
        &mut self,
        testbed: &Testbed,
        patience: Duration,
    ) -> Result<(Instant, String), Error> {
        let child = &mut self.child;
        let ended =
            testbed.wait_for("an open connection to be closed", patience, || match child.try_wait() {
                Ok(None) => Err("it is still open".to_owned()),
                _ => Ok(Instant::now()),
            })?;
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(Error::io("read from mesh-echo"))?;
        Ok((ended, line.trim().to_owned()))
    }

    /// Whether it is open still.
    pub(super) fn is_open(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
