//! Waiting for parts of the cluster, and saying which one is to blame if they do not come.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{Error, machine::Endings, place::Place};

/// How many lines of a log are shown.
const TAIL: usize = 20;

/// A daemon that ended this often will not come.
const HOPELESS: u32 = 5;

/// A part of the cluster that is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    /// The machine.
    pub(super) machine: &'a str,
    /// The daemon.
    pub(super) daemon: &'a str,
    /// What it shall do.
    pub(super) purpose: &'a str,
}

impl Part<'_> {
    /// Waits until `done` says so; fails with the daemon's log if it does not in time or keeps ending.
    pub(super) fn wait(self, longest: Duration, mut done: impl FnMut() -> bool) -> Result<(), Error> {
        let start = Instant::now();
        while !done() {
            let endings = Endings::read(&Place::log(self.machine, self.daemon));
            let fail = |how: String| Err(self.blame(format!("{how}; it shall {}", self.purpose)));
            if endings.count >= HOPELESS {
                return fail(format!(
                    "it ended {} times, the last time with {}",
                    endings.count, endings.last
                ));
            }
            if start.elapsed() > longest {
                return fail(format!("not ready after {} s", longest.as_secs()));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn blame(self, problem: String) -> Error {
        blame(self.machine, self.daemon, problem)
    }
}

/// An error that shows the end of a program's log.
pub(super) fn blame(machine: &str, program: &str, problem: String) -> Error {
    let log = Place::log(machine, program);
    let (machine, component) = (machine.to_owned(), program.to_owned());
    Error::Component { machine, component, problem, tail: tail(&log), log }
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(TAIL)..];
    if shown.is_empty() { "(nothing)".to_owned() } else { shown.join("\n") }
}
