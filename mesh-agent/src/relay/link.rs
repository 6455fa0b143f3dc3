//! The client's side of the handover: keeps wire told of what is to be enforced, and takes its
//! reports.
//!
//! wire may restart at any time; then everything is told again. One commit is under way at a time:
//! what changes meanwhile gathers in [`Desired`], so a slow wire costs neither memory nor a stop
//! of discovery.
//!
//! [`Desired`]: super::desired::Desired

pub(super) mod frames;
mod session;

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::backoff::Backoff;
use super::node::{Asked, Node};

/// Keeps the connection up for as long as relay runs.
pub(crate) async fn run(node: Rc<Node>, socket: &Path, mut questions: mpsc::Receiver<Asked>) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    loop {
        let trouble = match UnixStream::connect(socket).await {
            Ok(stream) => session::run(&node, stream, &mut questions).await.to_string(),
            Err(error) => {
                format!("{}: {error}; is `mesh-agent wire` running on this node?", socket.display())
            }
        };
        if node.link.connected.replace(false) {
            backoff.reset();
        }
        node.link.synced.set(false);
        if *node.link.trouble.borrow() != trouble {
            tracing::warn!(trouble, "no connection to wire; trying again");
        }
        *node.link.trouble.borrow_mut() = trouble;
        backoff.pause().await;
    }
}
