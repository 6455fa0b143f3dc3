//! The controller in a cluster: what it asks of the API server and writes there, beside following it
//! ([`source`](crate::source)) and writing [`status`].
//!
//! [`review`] asks whose an agent's token is; [`roots`] tells agents whom to believe before they have
//! a certificate; [`taints`] lets pods onto nodes whose agent is ready. What only one of several
//! controllers may do is done by the one that holds the [`lease`]; [`secret`] is where it finds what the
//! one before it signed with.

mod leadership;
mod lease;
mod review;
mod roots;
mod secret;
mod taints;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kube::Client;
use tokio::sync::{oneshot, watch};

use crate::{
    ca::{Account, Agents, Authority, Keep},
    pipeline::Shared,
    source::{ConnectError, Kubernetes, connect, random},
    status,
};
pub use leadership::Leadership;
use lease::{Outcome, Standing};
use review::Reviewer;

/// The cluster that the controller serves.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    agents: Account,
    /// What this controller is told from its like by.
    me: String,
    state: Arc<secret::State>,
}

impl Cluster {
    /// The cluster of `KUBECONFIG`, of the pod's service account or of `~/.kube/config`. The controller's
    /// own objects are in `namespace`, or where that says; there agents run as `account`. `host` is
    /// what this controller is told by.
    ///
    /// # Errors
    /// When there are no usable address and credentials; whether it can be reached shows later.
    pub async fn connect(
        namespace: Option<String>,
        account: String,
        host: &str,
    ) -> Result<Self, ConnectError> {
        let client = connect().await?;
        let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        Ok(Self::new(client, Account { namespace, name: account }, host))
    }

    fn new(client: Client, agents: Account, host: &str) -> Self {
        // Another name each time: a process that begins anew is not the one that held the lease.
        let me = format!("{host}_{:016x}", random());
        let state = Arc::new(secret::State::new(client.clone(), &agents.namespace, me.clone()));
        Self { client, agents, me, state }
    }

    /// Where the certificate authority's state is kept.
    #[must_use]
    pub fn keep(&self) -> Arc<dyn Keep> {
        self.state.clone()
    }

    /// Agents that prove their node by their ServiceAccount.
    #[must_use]
    pub fn agents(&self) -> Agents {
        Agents::new(self.agents.clone(), Arc::new(Reviewer::new(self.client.clone())))
    }

    /// Begins to follow the API server, for the thread that builds, and to write there what comes of
    /// it, while this controller leads.
    #[must_use]
    pub fn follow(&self, shared: &Shared, authority: &Authority) -> (Kubernetes, Leadership) {
        let (source, statuses) = Kubernetes::start(&self.client);
        let (writes, leads) = watch::channel(false);
        let (told, standing) = watch::channel(Standing::Standby);
        let (stop, stopped) = oneshot::channel();
        let (client, namespace) = (|| self.client.clone(), || self.agents.namespace.clone());
        let election = tokio::spawn(lease::elect(
            client(),
            namespace(),
            self.me.clone(),
            shared.store.sequence(),
            Outcome { standing: told, writes },
            stopped,
        ));
        tokio::spawn(roots::publish(client(), namespace(), authority.trust(), leads.clone()));
        tokio::spawn(taints::remove(
            client(),
            self.agents.clone(),
            statuses.clone(),
            shared.store.clone(),
            leads.clone(),
        ));
        let events = status::Teller::start(client(), &self.me);
        let pods = status::PodWriter {
            conditions: shared.conditions(),
            reports: shared.reports.clone(),
            store: shared.store.clone(),
            acks: shared.acks.clone(),
            seen: statuses.clone(),
            leads: leads.clone(),
            events: events.clone(),
        };
        tokio::spawn(status::write_pods(client(), pods));
        let routes = status::RouteWriter {
            parents: shared.parents(),
            built: shared.store.sequence(),
            seen: statuses.clone(),
            leads: leads.clone(),
            events: events.clone(),
        };
        tokio::spawn(status::write_routes(client(), routes));
        let writer = status::Writer {
            conditions: shared.conditions(),
            store: shared.store.clone(),
            acks: shared.acks.clone(),
            statuses,
            leads,
            events,
        };
        tokio::spawn(status::write_to_cluster(client(), writer));
        (source, Leadership { standing, overtaken: self.state.overtaken(), stop, election })
    }
}
