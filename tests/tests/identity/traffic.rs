//! Traffic that goes on while something happens: new connections all the time, and some that stay open.

use std::{
    process::{Child, Stdio},
    time::Duration,
};

use mesh_tests::trial::{Held, Trial};

/// New connections one after another, and held ones, from one pod to an address of another in each family.
pub(super) struct Traffic {
    callers: Vec<Child>,
    held: Vec<Held>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) ok: usize,
    pub(super) failed: Vec<String>,
    pub(super) ended: Vec<String>,
}

impl Traffic {
    pub(super) fn start(cluster: &Trial, from: &str, to: &str) -> Self {
        let (mut callers, mut held) = (Vec::new(), Vec::new());
        for address in cluster.resolve(to) {
            held.push(cluster.hold(from, address, Duration::from_millis(50)));
            let to = address.to_string();
            let argv = ["mesh-echo", "client", "tcp", &to, "--count", "1000000", "--interval", "10"];
            let mut command = cluster.command(from, &argv);
            callers.push(command.stdout(Stdio::piped()).spawn().unwrap());
        }
        Self { callers, held }
    }

    /// Ends it and counts.
    pub(super) fn stop(self) -> Tally {
        let ended = self.held.iter().filter_map(|held| held.end(Duration::from_millis(1))).collect();
        let mut tally = Tally { ended, ..Tally::default() };
        for mut caller in self.callers {
            caller.kill().unwrap();
            let output = caller.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            tally.ok += text.lines().filter(|line| line.starts_with("answer: ")).count();
            tally.failed.extend(text.lines().filter(|line| line.contains(") after ")).map(str::to_owned));
        }
        tally
    }
}

impl Tally {
    /// Prints it, and fails if a connection failed or ended.
    pub(super) fn assert_whole(&self, what: &str) {
        println!(
            "{what}: {} new connections, {} failed, {} held ones ended",
            self.ok,
            self.failed.len(),
            self.ended.len()
        );
        assert!(self.ok > 50, "{what}: hardly any traffic: {self:?}");
        assert!(self.failed.is_empty() && self.ended.is_empty(), "{what}: {self:?}");
    }
}
