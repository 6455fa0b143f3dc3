//! A testbed with a client and a server, and one measurement in it. What is compared has two of them: the same
//! manifests, the same layout, up at the same time.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use mesh_tests::{
    node::Cni,
    testbed::{self, Testbed},
};

use crate::{
    setting::Setting,
    traffic::{self, Measured, Quantity},
};

/// Longest wait for the pods of an arm.
const PATIENCE: Duration = Duration::from_secs(30);

/// Namespace and names of the two pods.
pub(crate) const NAMESPACE: &str = "bench";
pub(crate) const CLIENT: &str = "client";
pub(crate) const SERVER: &str = "server";

/// Their nodes; the server is on the first one too where there is only one.
pub(crate) const CLIENT_NODE: &str = "node-1";
pub(crate) const SERVER_NODE: &str = "node-2";

/// The processor that the client stays on; the server is on processor 0, see its manifest.
const CLIENT_PROCESSOR: &str = "1";

/// Why nothing can be measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An arm.
    #[error("the arm {arm}: {source}")]
    Testbed {
        /// Which.
        arm: &'static str,
        /// Why.
        source: testbed::Error,
    },
    /// The server has no address.
    #[error("the arm {arm}: pod {NAMESPACE}/{SERVER} has no IPv4 address")]
    NoAddress {
        /// Which.
        arm: &'static str,
    },
    /// The client failed.
    #[error("the arm {arm}: `mesh-bench {what}` failed: {said}")]
    Client {
        /// Which.
        arm: &'static str,
        /// What it was to do.
        what: String,
        /// What the client said.
        said: String,
    },
    /// A program could not be run.
    #[error("the arm {arm}: cannot run the client: {source}")]
    Run {
        /// Which.
        arm: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// One testbed with a client and a server.
#[derive(Debug)]
pub struct Arm {
    name: &'static str,
    testbed: Testbed,
    server: SocketAddr,
}

impl Arm {
    /// Brings the arm up from these directories, with or without the mesh.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start(manifests: &[&Path], cni: Cni, mesh: bool) -> Result<Self, Error> {
        let arm = if mesh { "mesh" } else { "no mesh" };
        let failed = |source| Error::Testbed { arm, source };
        let name = format!("bench-{}-{}", std::process::id(), if mesh { "mesh" } else { "plain" });
        let builder = Testbed::builder().name(name).cni(cni).mesh(mesh);
        let builder = manifests.iter().fold(builder, |builder, directory| builder.directory(*directory));
        let testbed = builder.start().map_err(failed)?;
        testbed.wait_all_ready(PATIENCE).map_err(failed)?;
        if mesh {
            for pod in [CLIENT, SERVER] {
                testbed.wait_wired(NAMESPACE, pod, PATIENCE).map_err(failed)?;
            }
        }
        let pod = testbed.pod(NAMESPACE, SERVER).map_err(failed)?;
        let address = pod.ip4.map(IpAddr::from).ok_or(Error::NoAddress { arm })?;
        Ok(Self { name: arm, testbed, server: SocketAddr::new(address, traffic::PORT) })
    }

    /// Measures once.
    ///
    /// # Errors
    /// If the client fails.
    pub fn measure(&self, quantity: Quantity, time: Duration) -> Result<f64, Error> {
        let (name, milliseconds) = (quantity.to_string(), time.as_millis().to_string());
        let argv = ["measure", "--processor", CLIENT_PROCESSOR, "--milliseconds", &milliseconds, &name];
        let mut command = self.client(&argv)?;
        let output = command.output().map_err(|source| Error::Run { arm: self.name, source })?;
        let said = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str::<Measured>(&said)
            .map(|measured| measured.value)
            .map_err(|_| self.said(&name, &format!("{said}{}", String::from_utf8_lossy(&output.stderr))))
    }

    /// Connections that the client's node has counted so far on the way that is measured; none without a mesh.
    ///
    /// # Errors
    /// If the node cannot be scraped.
    pub fn connections_seen(&self, setting: Setting) -> Result<u64, Error> {
        let failed = |source| Error::Testbed { arm: self.name, source };
        let metrics = self.testbed.metrics(CLIENT_NODE).map_err(failed)?;
        let line = metrics.lines().find_map(|line| line.strip_prefix(setting.counter())?.strip_prefix(' '));
        Ok(line.and_then(|count| count.trim().parse().ok()).unwrap_or(0))
    }

    /// `mesh-bench` as a client in its pod, with these arguments and the server's address.
    pub(crate) fn client(&self, arguments: &[&str]) -> Result<Command, Error> {
        let server = self.server.to_string();
        let argv: Vec<&str> =
            ["mesh-bench"].into_iter().chain(arguments.iter().copied()).chain([server.as_str()]).collect();
        let failed = |source| Error::Testbed { arm: self.name, source };
        self.testbed.command(NAMESPACE, CLIENT, None, &argv).map_err(failed)
    }

    /// That a client did not do what it should.
    pub(crate) fn said(&self, what: &str, said: &str) -> Error {
        Error::Client { arm: self.name, what: what.to_owned(), said: said.to_owned() }
    }

    /// The testbed below.
    pub(crate) fn testbed(&self) -> &Testbed {
        &self.testbed
    }

    /// The server's address and port.
    pub(crate) fn server(&self) -> SocketAddr {
        self.server
    }
}
