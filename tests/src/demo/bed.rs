//! What the claims are tried on: the testbed, or a real Kubernetes.

mod cluster;
mod testbed;

use std::{fmt, net::IpAddr, path::PathBuf, process::Command, time::Duration};

use nix::unistd::Pid;

use super::Error;
use crate::{
    capture::Capture,
    testbed::{Part, wait_for as testbed_wait_for},
};
pub(super) use cluster::OnCluster;
pub(super) use testbed::OnTestbed;

/// A pod as it is now.
#[derive(Debug, Clone)]
pub(super) struct Pod {
    /// Its namespace.
    pub(super) namespace: String,
    /// Its name.
    pub(super) name: String,
    /// Its uid.
    pub(super) uid: String,
    /// Its node.
    pub(super) node: String,
    /// Whether it is ready.
    pub(super) ready: bool,
    /// Its addresses, once it has them.
    pub(super) addresses: Vec<IpAddr>,
}

impl Pod {
    /// Its address of the family of this `mesh-echo` option.
    pub(super) fn address(&self, family: &str) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| address.is_ipv4() == (family == "-4"))
    }
}

/// A running cluster with the mesh in it.
pub(super) trait Bed: fmt::Debug {
    /// It in a few words.
    fn described(&self) -> String;

    /// The pods of the services that were brought up.
    fn pods(&self) -> Result<Vec<Pod>, Error>;

    /// The handle on a pod's network namespace.
    fn netns(&self, pod: &Pod) -> Result<PathBuf, Error>;

    /// What the agent of its node says of a pod: its `state` of `GET /pods`.
    fn mesh_state(&self, pod: &Pod) -> Result<Option<String>, Error>;

    /// A command in a pod's first container.
    fn command(&self, namespace: &str, pod: &str, argv: &[&str]) -> Result<Command, Error>;

    /// Runs a command in a node's network.
    fn on_node(&self, node: &str, argv: &[&str]) -> Result<std::process::Output, Error>;

    /// The addresses of a Service.
    fn service_addresses(&self, namespace: &str, name: &str) -> Result<Vec<IpAddr>, Error>;

    /// Adds or replaces objects.
    fn apply(&self, yaml: &str) -> Result<(), Error>;

    /// Removes an object; that it is not there is no error.
    fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<(), Error>;

    /// Gives the next pod of a node this address, if it must be told so before; else the pod's own annotation does.
    fn give_next(&self, node: &str, addresses: &[IpAddr]) -> Result<(), Error>;

    /// The metrics of a node, now.
    fn metrics(&self, node: &str) -> Result<String, Error>;

    /// The file that has a node's access log.
    fn access_log(&self, node: &str) -> Result<PathBuf, Error>;

    /// The process of one half of a node's agent.
    fn agent(&self, node: &str, part: Part) -> Result<Pid, Error>;

    /// Kills it and keeps it from running until it is released.
    fn hold_agent(&self, node: &str, part: Part) -> Result<(), Error>;

    /// Lets it run again.
    fn release_agent(&self, node: &str, part: Part) -> Result<(), Error>;

    /// The controller's process.
    fn controller(&self) -> Result<Pid, Error>;

    /// Kills it and keeps it from running until it is released.
    fn hold_controller(&self) -> Result<(), Error>;

    /// Lets it run again.
    fn release_controller(&self) -> Result<(), Error>;

    /// `meshctl`, told where the mesh is.
    fn meshctl(&self) -> Result<Command, Error>;

    /// Begins to capture on the bridge that joins the nodes.
    fn capture(&self, limit: usize) -> Result<Capture, Error>;

    /// How long an object that was applied or deleted may take to hold. An idle machine needs a tenth of it.
    fn change_within(&self) -> Duration;

    /// What the mesh's processes last said.
    fn logs(&self) -> String;

    /// Takes it down, or what was brought up on it.
    fn end(&mut self);
}

/// Waits until `look` succeeds; its last complaint becomes part of the error.
pub(super) fn wait_for<T>(
    what: &str,
    timeout: Duration,
    look: impl FnMut() -> Result<T, String>,
) -> Result<T, Error> {
    Ok(testbed_wait_for(what, timeout, look)?)
}

/// The last lines of a log, under its name.
fn tail(name: &str, text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().rev().take(6).collect();
    lines.reverse();
    format!("{name} last said:\n       {}", lines.join("\n       "))
}

/// The program of that name beside ours.
fn beside(name: &str) -> Result<PathBuf, Error> {
    Ok(std::env::current_exe().map_err(Error::io("find our own program"))?.with_file_name(name))
}
