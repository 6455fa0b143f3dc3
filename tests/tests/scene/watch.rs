//! Watching what arrives at a pod while something is sent to it.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::Child,
};

use mesh_tests::testbed::Testbed;

use super::NAMESPACE;

/// Packets of one protocol that arrive at a pod, from one address and port.
#[derive(Debug)]
pub(crate) struct Watch {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Watch {
    /// Begins to count; returns once nothing can be missed. Port 0 is any.
    pub(crate) fn begin(bed: &Testbed, pod: &str, protocol: u8, from: SocketAddr) -> Self {
        Self::expect(bed, pod, protocol, from, 0)
    }

    /// The same for packets that are to arrive: its end waits for them.
    pub(crate) fn expect(bed: &Testbed, pod: &str, protocol: u8, from: SocketAddr, packets: u64) -> Self {
        let (protocol, packets) = (protocol.to_string(), packets.to_string());
        let (address, port) = (from.ip().to_string(), from.port().to_string());
        let mut argv =
            vec!["mesh-forge", "watch", "--protocol", &protocol, "--from", &address, "--expect", &packets];
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

    /// Ends the watch once what was sent so far has arrived, and gives the count.
    pub(crate) fn packets(mut self) -> u64 {
        drop(self.child.stdin.take());
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        self.child.wait().unwrap();
        line.trim()
            .strip_prefix("packets=")
            .and_then(|count| count.parse().ok())
            .expect("mesh-forge watch prints a count")
    }
}
