//! The controller in a cluster: what it asks of the API server and writes there, beside following it
//! ([`source`](crate::source)) and writing status ([`status`](crate::status)).
//!
//! [`review`] asks whose an agent's token is; [`roots`] tells agents whom to believe before they have
//! a certificate; [`taints`] lets pods onto nodes whose agent is ready. What only one replica may do is done by the one that [`elect`](status::elect) names.

mod review;
mod roots;
mod taints;

use std::sync::Arc;

use kube::Client;
use tokio::sync::watch;

use crate::{
    ca::{Account, Agents, Authority},
    pipeline::Shared,
    source::{ConnectError, Kubernetes, connect},
    status,
};
use review::Reviewer;

/// The cluster that the controller serves.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    agents: Account,
}

impl Cluster {
    /// The cluster of `KUBECONFIG`, of the pod's service account or of `~/.kube/config`. The controller's
    /// own objects are in `namespace`, or where that says; there agents run as `account`.
    ///
    /// # Errors
    /// When there are no usable address and credentials; whether it can be reached shows later.
    pub async fn connect(namespace: Option<String>, account: String) -> Result<Self, ConnectError> {
        let client = connect().await?;
        let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        Ok(Self { client, agents: Account { namespace, name: account } })
    }

    /// Agents that prove their node by their ServiceAccount.
    #[must_use]
    pub fn agents(&self) -> Agents {
        Agents::new(self.agents.clone(), Arc::new(Reviewer::new(self.client.clone())))
    }

    /// Begins to follow the API server, for the thread that builds, and to write there what comes of
    /// it. `host` is what this replica is told by.
    #[must_use]
    pub fn follow(&self, host: String, shared: &Shared, authority: &Authority) -> Kubernetes {
        let (source, statuses) = Kubernetes::start(&self.client);
        let (leading, leads) = watch::channel(false);
        let (client, namespace) = (|| self.client.clone(), || self.agents.namespace.clone());
        tokio::spawn(status::elect(client(), namespace(), host, leading));
        tokio::spawn(roots::publish(client(), namespace(), authority.trust(), leads.clone()));
        tokio::spawn(taints::remove(
            client(),
            self.agents.clone(),
            statuses.clone(),
            shared.store.clone(),
            leads.clone(),
        ));
        let writer = status::Writer {
            conditions: shared.conditions(),
            store: shared.store.clone(),
            acks: shared.acks.clone(),
            statuses,
            leads,
        };
        tokio::spawn(status::write_to_cluster(client(), writer));
        source
    }
}
