//! The testbed: brought up for the demo and taken down with it.

use std::{fs, net::IpAddr, path::PathBuf, process::Command, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::{Bed, Pod, beside, tail};
use crate::{
    capture::Capture,
    cgroup,
    demo::{Error, stage::NODES},
    testbed::{self, Part, Testbed},
};

/// The supervisor's name for the controller.
const CONTROLLER: &str = "mesh-control";

/// How long the pods may take to be ready.
const PATIENCE: Duration = Duration::from_secs(90);

/// The testbed with the demo's services.
#[derive(Debug)]
pub(in crate::demo) struct OnTestbed {
    testbed: Option<Testbed>,
}

impl OnTestbed {
    /// Brings the objects of a directory up, and `more`, and waits until every pod is ready.
    pub(in crate::demo) fn start(config: &std::path::Path, more: String) -> Result<Self, Error> {
        let name = format!("demo-{}", std::process::id());
        let testbed = Testbed::builder().name(name).directory(config).manifest(more).start()?;
        testbed.wait_all_ready(PATIENCE)?;
        Ok(Self { testbed: Some(testbed) })
    }

    fn testbed(&self) -> Result<&Testbed, Error> {
        self.testbed.as_ref().ok_or_else(|| testbed::Error::NotUp("demo".to_owned()).into())
    }
}

impl From<testbed::Pod> for Pod {
    fn from(pod: testbed::Pod) -> Self {
        let addresses = [pod.ip4.map(IpAddr::from), pod.ip6.map(IpAddr::from)];
        Self {
            addresses: addresses.into_iter().flatten().collect(),
            namespace: pod.namespace,
            name: pod.name,
            uid: pod.uid,
            node: pod.node,
            ready: pod.ready,
        }
    }
}

impl Bed for OnTestbed {
    fn described(&self) -> String {
        "two nodes of the testbed; every pod has a network namespace and a cgroup of its own".to_owned()
    }

    fn pods(&self) -> Result<Vec<Pod>, Error> {
        Ok(self.testbed()?.pods()?.into_iter().map(Pod::from).collect())
    }

    fn netns(&self, pod: &Pod) -> Result<PathBuf, Error> {
        let found = self.testbed()?.pod(&pod.namespace, &pod.name)?.netns();
        found.ok_or_else(|| Error::Unexpected {
            program: "the testbed".to_owned(),
            said: format!("pod {}/{} has no network namespace", pod.namespace, pod.name),
        })
    }

    fn mesh_state(&self, pod: &Pod) -> Result<Option<String>, Error> {
        let testbed = self.testbed()?;
        Ok(testbed.mesh_state(&testbed.pod(&pod.namespace, &pod.name)?)?)
    }

    fn command(&self, namespace: &str, pod: &str, argv: &[&str]) -> Result<Command, Error> {
        Ok(self.testbed()?.command(namespace, pod, None, argv)?)
    }

    fn on_node(&self, node: &str, argv: &[&str]) -> Result<std::process::Output, Error> {
        Ok(self.testbed()?.exec_node(node, argv)?)
    }

    fn service_addresses(&self, namespace: &str, name: &str) -> Result<Vec<IpAddr>, Error> {
        let path = self.testbed()?.layout().overlay("services").join(format!("{namespace}.{name}.yaml"));
        let text = fs::read_to_string(&path).map_err(Error::io(format!("read {}", path.display())))?;
        let object: Value = serde_yaml_ng::from_str(&text).map_err(|error| Error::Testbed(error.into()))?;
        let addresses = object["spec"]["clusterIPs"].as_array().into_iter().flatten();
        Ok(addresses.filter_map(|address| address.as_str()?.parse().ok()).collect())
    }

    fn apply(&self, yaml: &str) -> Result<(), Error> {
        Ok(self.testbed()?.apply(yaml)?)
    }

    fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<(), Error> {
        Ok(self.testbed()?.delete(kind, namespace, name)?)
    }

    fn give_next(&self, _node: &str, _addresses: &[IpAddr]) -> Result<(), Error> {
        Ok(())
    }

    fn metrics(&self, node: &str) -> Result<String, Error> {
        Ok(self.testbed()?.metrics(node)?)
    }

    fn access_log(&self, node: &str) -> Result<PathBuf, Error> {
        Ok(self.testbed()?.node(node).run.join("access.log"))
    }

    fn agent(&self, node: &str, part: Part) -> Result<Pid, Error> {
        Ok(self.testbed()?.agent(node, part)?)
    }

    fn hold_agent(&self, node: &str, part: Part) -> Result<(), Error> {
        Ok(self.testbed()?.hold_agent(node, part)?)
    }

    fn release_agent(&self, node: &str, part: Part) -> Result<(), Error> {
        Ok(self.testbed()?.release_agent(node, part)?)
    }

    fn controller(&self) -> Result<Pid, Error> {
        let cgroup = self.testbed()?.layout().cgroup().join(format!(".{CONTROLLER}"));
        cgroup::processes(&cgroup).first().copied().ok_or_else(|| Error::Unexpected {
            program: "the testbed".to_owned(),
            said: "no controller runs".to_owned(),
        })
    }

    fn hold_controller(&self) -> Result<(), Error> {
        let hold = self.testbed()?.layout().hold(CONTROLLER);
        fs::write(&hold, "").map_err(Error::io(format!("write {}", hold.display())))?;
        let pid = self.controller()?;
        kill(pid, Signal::SIGKILL).map_err(|errno| Error::io(format!("kill {pid}"))(errno.into()))
    }

    fn release_controller(&self) -> Result<(), Error> {
        let hold = self.testbed()?.layout().hold(CONTROLLER);
        fs::remove_file(&hold).map_err(Error::io(format!("remove {}", hold.display())))
    }

    fn meshctl(&self) -> Result<Command, Error> {
        let mut command = Command::new(beside("meshctl")?);
        command.arg("--run-dir").arg(self.testbed()?.layout().run());
        Ok(command)
    }

    fn capture(&self, limit: usize) -> Result<Capture, Error> {
        Ok(Capture::begin(self.testbed()?.layout(), limit)?)
    }

    fn change_within(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn logs(&self) -> String {
        let Some(testbed) = &self.testbed else { return String::new() };
        let mut names = vec![CONTROLLER.to_owned()];
        for node in NODES {
            names.extend([format!("mesh-agent-wire.{node}"), format!("mesh-agent-relay.{node}")]);
        }
        let read = |name: &String| fs::read_to_string(testbed.layout().log(name)).unwrap_or_default();
        names.iter().map(|name| tail(name, &read(name))).collect::<Vec<_>>().join("\n     ")
    }

    fn end(&mut self) {
        self.testbed = None;
    }
}
