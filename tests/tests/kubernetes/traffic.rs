//! Steady traffic from a pod, by `mesh-demo traffic`.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use mesh_tests::cluster::trial::until;
use serde_json::Value;

use crate::scene::Scene;

/// Connections that stay open.
pub(crate) const HELD: u64 = 4;

/// Traffic under way; ended when dropped.
pub(crate) struct Traffic {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// What has come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Count {
    /// New connections that were made and used.
    pub(crate) connections: u64,
    /// Those that were not.
    pub(crate) failed: u64,
    /// How.
    pub(crate) failures: String,
    /// Connections that stayed open, and are.
    pub(crate) open: u64,
    /// Those of them that ended.
    pub(crate) broken: u64,
}

impl Traffic {
    /// Starts it, and waits until connections are made and some are open.
    pub(crate) fn start(scene: &Scene, pod: &str, family: &str, to: &str) -> Self {
        let held = format!("--held={HELD}");
        let argv = ["mesh-demo", "traffic", family, &held, to];
        let pod = scene.pod(pod);
        let mut command = scene.mesh.cluster.enter(&pod, "mesh-echo", &argv).expect("the pod runs");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it is started");
        let (input, output) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let mut traffic = Self { child, input, output: BufReader::new(output) };
        until("traffic to flow", || {
            let count = traffic.count();
            if count.open == HELD && count.connections > 0 { Ok(()) } else { Err(format!("{count:?}")) }
        });
        traffic
    }

    /// All that came of it until now.
    pub(crate) fn count(&mut self) -> Count {
        self.input.write_all(b"\n").expect("mesh-demo runs");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("mesh-demo answers");
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let number = |field: &str| said[field].as_u64().unwrap_or_default();
        Count {
            connections: number("connections"),
            failed: number("failed"),
            failures: said["failures"].to_string(),
            open: number("open"),
            broken: number("broken"),
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
