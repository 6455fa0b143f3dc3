//! The client of delta ADS: keeps a stream to the controller and what came over it in [`Node`].
//!
//! A response is acknowledged when everything in it is in the kernel, and refused (NACK) when a
//! resource does not parse, is over a limit or was refused by wire; the refusal names resource,
//! field and value. Of a resource that does not parse the last good one stays; the others of the
//! response are taken. After a break the stream resumes from the versions held.

mod session;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use super::backoff::Backoff;
use super::node::Node;
use super::resource::Kind;

/// Where the controller listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Control(PathBuf);

/// A `--control` that is no address.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no address of a controller; write unix:PATH")]
pub(crate) struct ControlError(String);

impl FromStr for Control {
    type Err = ControlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self(PathBuf::from(path))),
            _ => Err(ControlError(text.to_owned())),
        }
    }
}

impl Control {
    /// The socket.
    fn path(&self) -> &Path {
        &self.0
    }
}

/// Versions of the resources held, by type and name: what a new stream resumes from.
type Versions = BTreeMap<Kind, BTreeMap<String, String>>;

/// Keeps a stream up for as long as relay runs.
pub(crate) async fn run(node: Rc<Node>, control: Control) {
    let mut versions = Versions::new();
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(15));
    loop {
        let result = session::run(&node, &control, &mut versions).await;
        if node.discovery.connected.replace(false) {
            backoff.reset();
        }
        let trouble = match result {
            Ok(()) => "the controller closed the stream".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(controller = %control.path().display(), trouble, "no discovery; trying again");
        *node.discovery.trouble.borrow_mut() = trouble;
        backoff.pause().await;
    }
}

#[cfg(test)]
mod tests {
    use super::Control;

    #[test]
    fn a_controller_is_a_unix_socket() {
        assert!("unix:/run/x/ads.sock".parse::<Control>().is_ok());
        for text in ["", "unix:", "http://x", "/run/ads.sock"] {
            let error = text.parse::<Control>().unwrap_err();
            assert!(error.to_string().contains("write unix:PATH"), "{error}");
        }
    }
}
