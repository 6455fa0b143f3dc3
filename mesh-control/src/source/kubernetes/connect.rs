//! Finds the API server, by the conventions of every Kubernetes client.

use std::{env, error::Error, time::Duration};

use kube::{
    Client, Config,
    config::{InClusterError, KubeConfigOptions, KubeconfigError},
};

/// A connection must be there within this.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be used.
    #[error(
        "the kubeconfig cannot be used: {0}; correct KUBECONFIG, or the file it names (without it: ~/.kube/config)"
    )]
    Kubeconfig(#[from] KubeconfigError),
    /// The pod's own service account cannot be used.
    #[error(
        "the pod's service account cannot be used: {0}; see that automountServiceAccountToken is not false"
    )]
    InCluster(#[from] InClusterError),
    /// The client cannot be made of what was found.
    #[error("no client can be made of the cluster's address and credentials: {0}")]
    Client(#[from] kube::Error),
}

/// A client of the API server: of `KUBECONFIG` where that is set, of the pod's service account in a
/// pod, else of `~/.kube/config`. It does not try to reach it.
///
/// # Errors
/// When what was found cannot be used.
pub async fn connect() -> Result<Client, ConnectError> {
    let in_pod = env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let mut config = if env::var_os("KUBECONFIG").is_none() && in_pod {
        Config::incluster()?
    } else {
        Config::from_kubeconfig(&KubeConfigOptions::default()).await?
    };
    config.connect_timeout = Some(CONNECT_LIMIT);
    // Who asks decides when to ask again.
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// An error with its causes: the outermost alone says no more than that connecting failed.
pub(crate) fn told(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some say their cause themselves.
        if !told.ends_with(&text) {
            told = format!("{told}: {text}");
        }
        cause = error.source();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::told;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Outer(&'static str, #[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("connection refused")]
    struct Inner;

    #[test]
    fn every_cause_is_told_once() {
        assert_eq!(told(&Outer("connecting", Inner)), "connecting: connection refused");
        assert_eq!(told(&Outer("no way: connection refused", Inner)), "no way: connection refused");
    }
}
