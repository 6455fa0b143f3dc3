//! The two testbeds and one measurement in either: the same manifests, the same layout, up at the same time.

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

use crate::traffic::{self, Measured, Quantity};

/// Longest wait for the pods of an arm.
const PATIENCE: Duration = Duration::from_secs(30);

const NAMESPACE: &str = "bench";
const CLIENT: &str = "client";
const SERVER: &str = "server";

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
    #[error("the arm {arm}: measuring {quantity} failed: {said}")]
    Client {
        /// Which.
        arm: &'static str,
        /// What was measured.
        quantity: Quantity,
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

/// One testbed with a client and a server on one node.
#[derive(Debug)]
pub struct Arm {
    name: &'static str,
    testbed: Testbed,
    server: SocketAddr,
}

impl Arm {
    /// Brings the arm up, with or without the mesh.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start(manifests: &Path, cni: Cni, mesh: bool) -> Result<Self, Error> {
        let arm = if mesh { "mesh" } else { "no mesh" };
        let failed = |source| Error::Testbed { arm, source };
        let name = format!("bench-{}-{}", std::process::id(), if mesh { "mesh" } else { "plain" });
        let testbed =
            Testbed::builder().name(name).directory(manifests).cni(cni).mesh(mesh).start().map_err(failed)?;
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
        let (quantity_name, server) = (quantity.to_string(), self.server.to_string());
        let milliseconds = time.as_millis().to_string();
        let argv = [
            "mesh-bench",
            "measure",
            "--processor",
            CLIENT_PROCESSOR,
            "--milliseconds",
            &milliseconds,
            &quantity_name,
            &server,
        ];
        let arm = self.name;
        let mut command: Command = self
            .testbed
            .command(NAMESPACE, CLIENT, None, &argv)
            .map_err(|source| Error::Testbed { arm, source })?;
        let output = command.output().map_err(|source| Error::Run { arm, source })?;
        let said = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str::<Measured>(&said).map(|measured| measured.value).map_err(|_| Error::Client {
            arm,
            quantity,
            said: format!("{said}{}", String::from_utf8_lossy(&output.stderr)),
        })
    }

    /// Connections that the mesh has counted as opened so far; none without a mesh.
    ///
    /// # Errors
    /// If the node cannot be scraped.
    pub fn connections_seen(&self) -> Result<u64, Error> {
        let metrics =
            self.testbed.metrics("node-1").map_err(|source| Error::Testbed { arm: self.name, source })?;
        let line =
            metrics.lines().find_map(|line| line.strip_prefix("mesh_kernel_connections_opened_total "));
        Ok(line.and_then(|count| count.trim().parse().ok()).unwrap_or(0))
    }
}
