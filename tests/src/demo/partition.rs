//! A node that the controller's word does not reach: everything else of its network works.

use nix::unistd::Pid;

use super::{Error, stage::Stage};
use crate::testbed::Part;

const TABLE: &str = "inet demo_partition";

/// Cut off until this is dropped.
#[derive(Debug)]
pub(super) struct Partition<'a> {
    stage: &'a Stage,
    node: &'static str,
}

impl<'a> Partition<'a> {
    /// Drops what the controller sends to the node.
    pub(super) fn of(stage: &'a Stage, node: &'static str) -> Result<Self, Error> {
        let port = control_port(stage.bed.agent(node, Part::Relay)?)?;
        let partition = Self { stage, node };
        partition.nft(&format!(
            "add table {TABLE}; \
             add chain {TABLE} in {{ type filter hook input priority 0; }}; \
             add rule {TABLE} in tcp sport {port} drop"
        ))?;
        Ok(partition)
    }

    fn nft(&self, rules: &str) -> Result<(), Error> {
        let output = self.stage.bed.on_node(self.node, &["nft", rules])?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Error::Unexpected { program: format!("nft on {}", self.node), said })
    }
}

impl Drop for Partition<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.nft(&format!("delete table {TABLE}")) {
            eprintln!("{} stays cut off: {error}", self.node);
        }
    }
}

/// The port at which a relay reaches its controller, by its own command line.
fn control_port(relay: Pid) -> Result<u16, Error> {
    let path = format!("/proc/{relay}/cmdline");
    let text = std::fs::read_to_string(&path).map_err(Error::io(format!("read {path}")))?;
    let option = text.split('\0').find_map(|word| word.strip_prefix("--control="));
    option.and_then(|address| address.rsplit_once(':')?.1.parse().ok()).ok_or_else(|| Error::Unexpected {
        program: "the relay's command line".to_owned(),
        said: text.clone(),
    })
}
