//! An open connection between two pods that is watched to its end.

use std::{
    io::{BufRead as _, BufReader, Lines},
    net::SocketAddr,
    process::{Child, ChildStdout},
};

use mesh_tests::testbed::Testbed;

/// `mesh-echo hold` in a pod: a byte to and fro every 20 ms.
#[derive(Debug)]
pub(crate) struct Held {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// The client's address and port.
    pub(crate) source: String,
}

impl Held {
    /// Opens it; it ends by itself after `milliseconds`.
    pub(crate) fn open(bed: &Testbed, namespace: &str, pod: &str, to: SocketAddr, milliseconds: u32) -> Self {
        let (to, duration) = (to.to_string(), milliseconds.to_string());
        let argv = ["mesh-echo", "hold", &to, "--interval", "20", "--duration", &duration];
        let mut child = bed.spawn(namespace, pod, &argv).unwrap();
        let mut lines = BufReader::new(child.stdout.take().expect("its output is a pipe")).lines();
        let first = lines.next().expect("mesh-echo hold prints how it begins").unwrap();
        let source = first.strip_prefix("holding ").and_then(|rest| rest.split_whitespace().next());
        let source = source.unwrap_or_else(|| panic!("{pod} to {to}: {first}")).to_owned();
        Self { child, lines, source }
    }

    /// Waits for its end and gives what was said of it.
    pub(crate) fn end(mut self) -> String {
        let last = self.lines.next().and_then(Result::ok).unwrap_or_default();
        self.child.wait().unwrap();
        last
    }

    /// Whether it still is open.
    pub(crate) fn is_open(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Ended already, if the test came to its end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
