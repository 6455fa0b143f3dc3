//! The client of the controller: joins, keeps the node's certificate, and keeps a stream of delta
//! ADS and what came over it in [`Node`].
//!
//! A response is acknowledged when everything in it is in the kernel and in the snapshot, so that no
//! relay starts with less than the controller was told; it is refused (NACK) when a resource does not
//! parse, is over a limit or was refused by wire; the refusal names resource, field and value. Of a resource that does not parse the last good one stays; the others of the
//! response are taken. After a break the stream resumes from the versions held, after a restart
//! from those of the snapshot.
//!
//! | module | what it does |
//! |---|---|
//! | [`control`] | where the controller is |
//! | [`invitation`] | what a node that is new joins with: |
//! | [`join`] | a one-time token out of a file, |
//! | [`account`] | or the token of the agent's ServiceAccount |
//! | [`credential`] | the node's own certificate, and keeping it |
//! | [`dial`] | a connection on which both names are proven |
//! | [`attempt`] | one connection: join, stream, renew |
//! | [`session`] | the stream |
//! | [`issuer`] | the workloads' certificates, over the same connection |
//! | [`report`], [`ledger`] | what became of the node's pods, likewise |

mod account;
mod attempt;
mod control;
mod credential;
mod dial;
mod invitation;
mod issuer;
mod join;
mod ledger;
mod report;
mod session;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::backoff::Backoff;
use super::node::Node;
use super::snapshot::Held;
use attempt::{Agent, AttemptError, Ended};

pub(crate) use control::Control;
pub(crate) use invitation::Joining;
pub(crate) use issuer::Controller;

/// While the controller refuses connections, a wait is no longer: another one is about to lead.
const REFUSED_LONGEST: Duration = Duration::from_secs(4);
/// How often to look whether there is something to join with.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What a node needs to reach its controller.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Where the controller listens.
    pub control: Control,
    /// What the node joins with.
    pub joining: Joining,
    /// Where the node's certificate is kept.
    pub run_dir: PathBuf,
}

/// Keeps a stream up for as long as relay runs.
pub(crate) async fn run(node: Rc<Node>, held: Rc<Held>, controller: Rc<Controller>, options: Options) {
    let to = options.control.to_string();
    let mut agent = Agent::new(&node, options);
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(15));
    let mut refused = Backoff::new(Duration::from_millis(200), REFUSED_LONGEST);
    loop {
        let result = agent.attempt(&node, &held, &controller).await;
        if node.discovery.connected.replace(false) {
            node.discovery.as_of.set(Some(SystemTime::now()));
            backoff.reset();
            refused.reset();
        }
        controller.connected(None);
        let trouble = match &result {
            Ok(Ended::Renewed) => continue,
            Ok(Ended::Closed) => "the controller closed the stream".to_owned(),
            Err(error) => error.to_string(),
        };
        if *node.discovery.trouble.borrow() != trouble {
            tracing::warn!(controller = to, trouble, "no discovery; trying again");
        }
        *node.discovery.trouble.borrow_mut() = trouble;
        match result {
            Err(AttemptError::Invitation(_)) => tokio::time::sleep(LOOK_AGAIN).await,
            Err(AttemptError::Dial(error)) if error.is_refusal() => refused.pause().await,
            _ => backoff.pause().await,
        }
    }
}
