//! Doing to the mesh's processes what happens to them: stopping, killing, keeping them away.

use std::{fmt, fs};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Error, Testbed};
use crate::cgroup;

/// A half of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The privileged one.
    Wire,
    /// The one without capabilities.
    Relay,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Wire { "wire" } else { "relay" })
    }
}

impl Testbed {
    /// The process of one half of a node's agent.
    ///
    /// # Errors
    /// If it does not run.
    pub fn agent(&self, node: &str, part: Part) -> Result<Pid, Error> {
        let is_part = |pid: &Pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = command.split(|byte| *byte == 0);
            words.next().is_some_and(|program| program.ends_with(b"mesh-agent"))
                && words.next() == Some(part.to_string().as_bytes())
        };
        cgroup::processes(&self.node(node).agent_cgroup())
            .into_iter()
            .find(is_part)
            .ok_or_else(|| Error::NoAgent { node: node.to_owned(), part: part.to_string() })
    }

    /// Sends a signal to one half of a node's agent. One that ends is started again, unless it is held back.
    ///
    /// # Errors
    /// If it does not run.
    pub fn signal_agent(&self, node: &str, part: Part, signal: Signal) -> Result<(), Error> {
        kill(self.agent(node, part)?, signal).map_err(std::io::Error::from)?;
        Ok(())
    }

    /// Stops it as SIGSTOP does.
    ///
    /// # Errors
    /// If it does not run.
    pub fn pause_agent(&self, node: &str, part: Part) -> Result<(), Error> {
        self.signal_agent(node, part, Signal::SIGSTOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// If it does not run.
    pub fn resume_agent(&self, node: &str, part: Part) -> Result<(), Error> {
        self.signal_agent(node, part, Signal::SIGCONT)
    }

    /// Kills it with SIGKILL and keeps it from being started again, until [`Testbed::release_agent`].
    ///
    /// # Errors
    /// If it does not run.
    pub fn hold_agent(&self, node: &str, part: Part) -> Result<(), Error> {
        fs::write(self.hold_file(node, part), "")?;
        self.signal_agent(node, part, Signal::SIGKILL)
    }

    /// Lets it be started again.
    ///
    /// # Errors
    /// If it was not held back.
    pub fn release_agent(&self, node: &str, part: Part) -> Result<(), Error> {
        Ok(fs::remove_file(self.hold_file(node, part))?)
    }

    fn hold_file(&self, node: &str, part: Part) -> std::path::PathBuf {
        self.layout.hold(&format!("mesh-agent-{part}.{node}"))
    }
}
