//! Asks relay whether it is ready, over its admin socket: how kubelet probes the relay of this very pod. Two pods of
//! the agent share the node's network while one replaces the other, so a port would not say whose answer it is.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

/// How long relay may take.
const WITHIN: Duration = Duration::from_secs(3);
/// The longest answer that is read, bytes.
const LONGEST: u64 = 16 << 10;

/// Options of `mesh-agent ready`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Directory with relay's admin.sock: its --pod-dir, or its --run-dir where it has none.
    #[arg(long)]
    pod_dir: PathBuf,
}

impl Options {
    /// Returns when relay is ready.
    ///
    /// # Errors
    /// When it is not, with its reasons, or does not answer.
    pub(crate) fn ask(&self) -> anyhow::Result<()> {
        let socket = self.pod_dir.join("admin.sock");
        let answer = get(&socket).with_context(|| format!("asking relay at {}", socket.display()))?;
        let (head, reasons) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if head.split(' ').nth(1) != Some("200") {
            bail!("relay is not ready: {}", reasons.trim());
        }
        Ok(())
    }
}

fn get(socket: &Path) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.set_write_timeout(Some(WITHIN))?;
    stream.write_all(b"GET /ready HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer)?;
    Ok(answer)
}
