//! The node's process: prepares its network, then does as the supervisor says until that goes away.

use std::{
    io::{self, BufRead as _, Write as _},
    sync::{Arc, mpsc},
    thread,
};

use super::{Config, Desired, Report, cni, dns, kubelet, proxy};
use crate::layout::{self, Layout};

/// Why a node cannot go on.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum Error {
    /// Its paths cannot be told.
    Layout(#[from] layout::Error),
    /// Its network cannot be set up.
    Network(#[from] NetworkError),
    /// DNS cannot be served.
    Dns(#[from] DnsError),
    /// The supervisor's lines cannot be read.
    #[error("cannot read what the supervisor wants: {0}")]
    Input(#[from] io::Error),
    /// The supervisor's lines are not what it writes.
    #[error("the supervisor's wish is not valid: {0}")]
    Wish(#[from] serde_json::Error),
}

/// The node's network cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the node's network: {0}")]
pub struct NetworkError(#[from] cni::Error);

/// DNS cannot be served.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DnsError(#[from] dns::Error);

/// Runs the node in the caller's network namespace: wishes come in on standard input, reports go out on standard
/// output. Returns when the input ends.
///
/// # Errors
/// If its network or DNS cannot be set up, or the input is not valid.
pub fn run(config: Config) -> Result<(), Error> {
    let layout = Layout::new(&config.testbed)?;
    cni::prepare_node(&config).map_err(NetworkError)?;
    proxy::apply(&config, &[]).map_err(|error| NetworkError(error.into()))?;
    let dns = dns::Server::start(&config.dns).map_err(DnsError)?;

    let (reports, outgoing) = mpsc::channel();
    thread::spawn(move || report(&outgoing));
    let context = Arc::new(kubelet::Context::new(config, layout, reports));
    // Nobody listens once the node is being taken down.
    let _ = context.reports.send(Report::Up);
    let mut kubelet = kubelet::Kubelet::new(Arc::clone(&context));
    let mut services = Vec::new();
    for line in io::stdin().lock().lines() {
        let desired: Desired = serde_json::from_str(&line?)?;
        if desired.services != services {
            dns.replace(dns::Zone::new(&desired.services));
            if let Err(error) = proxy::apply(&context.config, &desired.services) {
                tracing::error!(%error, "Service addresses are not translated as they should be");
            }
            services.clone_from(&desired.services);
        }
        kubelet.reconcile(&desired);
    }
    Ok(())
}

fn report(outgoing: &mpsc::Receiver<Report>) {
    let mut output = io::stdout().lock();
    for report in outgoing {
        let line = serde_json::to_string(&report).expect("a report is plain data");
        // The supervisor is gone: so is the reason to report.
        if writeln!(output, "{line}").and_then(|()| output.flush()).is_err() {
            return;
        }
    }
}
