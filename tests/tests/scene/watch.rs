//! Watching what arrives at a pod while something is sent to it.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::Child,
};

use mesh_tests::testbed::Testbed;

use super::NAMESPACE;

/// How long a watch lasts: what is sent on one machine arrives in far less.
const LASTS_MS: u32 = 600;

/// Packets of one protocol that arrive at a pod, from one address and port.
#[derive(Debug)]
pub(crate) struct Watch {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Watch {
    /// Begins to count; returns once nothing can be missed. Port 0 is any.
    pub(crate) fn begin(bed: &Testbed, pod: &str, protocol: u8, from: SocketAddr) -> Self {
        let (protocol, lasts) = (protocol.to_string(), LASTS_MS.to_string());
        let (address, port) = (from.ip().to_string(), from.port().to_string());
        let mut argv =
            vec!["mesh-forge", "watch", "--protocol", &protocol, "--from", &address, "--for", &lasts];
        argv.extend(from.is_ipv6().then_some("-6"));
        if from.port() != 0 {
            argv.extend(["--from-port", &port]);
        }
        let mut child = bed.spawn(NAMESPACE, pod, &argv).unwrap();
        let mut lines = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(line.starts_with("watching="), "mesh-forge watch in {pod}: {line}");
        Self { child, lines }
    }

    /// Waits for the end of the watch and gives the count.
    pub(crate) fn packets(mut self) -> u64 {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        self.child.wait().unwrap();
        line.trim()
            .strip_prefix("packets=")
            .and_then(|count| count.parse().ok())
            .expect("mesh-forge watch prints a count")
    }
}
