//! A cluster, by the conventions of kubectl: which API server, as whom, and where the mesh is in it.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Request;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::ListParams;
use kube::config::{InClusterError, KubeConfigOptions, KubeconfigError};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Config, Resource};
use mesh_api::labels::MODE;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Arguments;
use super::client::{At, Socket};
use super::exec::InPod;
use super::node::Node;
use super::pods::{Part, chosen, leader, run_dir};
use super::said::said;

/// A connection must be there within this.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// An answer of the API server must be there within this.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Objects in a page of a list.
const PAGE: u32 = 500;
/// Whose holder is the controller that agents are served by.
const LEASE: &str = "mesh-control";

/// Which API server, as whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kubeconfig {
    /// The file; else `KUBECONFIG`, `~/.kube/config`.
    file: Option<PathBuf>,
    /// The context; else the file's current one.
    context: Option<String>,
    /// The pod's own service account, and no file.
    in_pod: bool,
}

/// Why the API server does not say.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClusterError {
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig cannot be used: {0}; see --kubeconfig, --context, KUBECONFIG and ~/.kube/config")]
    Kubeconfig(#[from] KubeconfigError),
    /// The pod's own service account cannot be used.
    #[error(
        "the pod's service account cannot be used: {0}; see that automountServiceAccountToken is not false"
    )]
    InCluster(#[from] InClusterError),
    /// It refused or is away.
    #[error("{what}: {}", said(.source))]
    Asking { what: String, source: kube::Error },
    /// It is slow.
    #[error("{what}: the API server did not answer within {} seconds", ANSWER_LIMIT.as_secs())]
    TimedOut { what: String },
    /// The mesh is not there.
    #[error(
        "there is no agent of the mesh in namespace {namespace} (pods labelled {}); `meshctl install | kubectl apply --server-side -f -` installs it, and --mesh-namespace names another place", Part::Agent.selector()
    )]
    NoAgents { namespace: String },
    /// It has not this node.
    #[error("there is no agent on node `{wanted}`; there are on: {known}")]
    UnknownNode { wanted: String, known: String },
    /// There is no such pod.
    #[error("there is no pod {0}")]
    NoPod(String),
    /// It has no node yet.
    #[error("pod {0} is on no node yet: `kubectl describe pod` says what it waits for")]
    Unscheduled(String),
}

impl ClusterError {
    /// Whether it may be otherwise in a moment.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Kubeconfig(_) | Self::InCluster(_) => false,
            Self::Asking { source: kube::Error::Api(status), .. } => !matches!(status.code, 401 | 403),
            _ => true,
        }
    }

    /// Whether what was asked for does not exist.
    pub(super) fn is_not_there(&self) -> bool {
        matches!(self, Self::Asking { source: kube::Error::Api(status), .. } if status.code == 404)
    }
}

impl Kubeconfig {
    /// What the command line says.
    pub(super) fn named(arguments: &Arguments) -> Option<Self> {
        let (file, context) = (arguments.kubeconfig.clone(), arguments.context.clone());
        (file.is_some() || context.is_some()).then_some(Self { file, context, in_pod: false })
    }

    /// What the environment says.
    pub(super) fn found() -> Option<Self> {
        let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        if set("KUBECONFIG") {
            return Some(Self::default());
        }
        if set("KUBERNETES_SERVICE_HOST") {
            return Some(Self { in_pod: true, ..Self::default() });
        }
        let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"));
        home.filter(|path| exists(path)).map(|_| Self::default())
    }

    async fn config(&self) -> Result<Config, ClusterError> {
        if self.in_pod {
            return Ok(Config::incluster()?);
        }
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        match &self.file {
            Some(path) => {
                let file = kube::config::Kubeconfig::read_from(path)?;
                Ok(Config::from_custom_kubeconfig(file, &options).await?)
            }
            None => Ok(Config::from_kubeconfig(&options).await?),
        }
    }
}

/// A cluster, and where the mesh is in it.
#[derive(Clone)]
pub(super) struct Cluster {
    pub client: Client,
    /// The mesh's namespace.
    pub mesh: String,
}

impl Cluster {
    pub(super) async fn connect(kubeconfig: &Kubeconfig, mesh: String) -> Result<Self, ClusterError> {
        let mut config = kubeconfig.config().await?;
        config.connect_timeout = Some(CONNECT_LIMIT);
        config.default_retry = false;
        let what = "no client can be made of the cluster's address and credentials".to_owned();
        let client = Client::try_from(config).map_err(|source| ClusterError::Asking { what, source })?;
        Ok(Self { client, mesh })
    }

    /// The namespace of what is named without one.
    pub(super) fn namespace(&self) -> &str {
        self.client.default_namespace()
    }

    /// Waits for an answer, but not for ever; `what` was being done.
    pub(super) async fn answer<T>(
        &self,
        what: impl Into<String>,
        asked: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ClusterError> {
        let what = what.into();
        match tokio::time::timeout(ANSWER_LIMIT, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(ClusterError::Asking { what, source }),
            Err(_) => Err(ClusterError::TimedOut { what }),
        }
    }

    /// All objects of a kind, page by page.
    pub(super) async fn list<K>(&self, api: Api<K>, selected: ListParams) -> Result<Vec<K>, ClusterError>
    where
        K: Clone + DeserializeOwned + Debug + Resource<DynamicType = ()>,
    {
        let mut parameters = selected.limit(PAGE);
        let mut all = Vec::new();
        loop {
            let page = self.answer(format!("listing {}", K::plural(&())), api.list(&parameters)).await?;
            all.extend(page.items);
            match page.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => parameters = parameters.continue_token(&next),
                None => return Ok(all),
            }
        }
    }

    /// All objects of a kind, of every namespace.
    pub(super) async fn all<K>(&self) -> Result<Vec<K>, ClusterError>
    where
        K: Clone + DeserializeOwned + Debug + Resource<DynamicType = ()>,
    {
        self.list(Api::all(self.client.clone()), ListParams::default()).await
    }

    /// The items of a list of a kind that need not be defined; there are none then.
    pub(super) async fn raw(&self, path: &str) -> Result<Vec<Value>, ClusterError> {
        let what = format!("listing {path}");
        let request =
            http_request(path).map_err(|source| ClusterError::Asking { what: what.clone(), source })?;
        match self.answer(what, self.client.request::<Value>(request)).await {
            Ok(mut list) => Ok(match list["items"].take() {
                Value::Array(items) => items,
                _ => Vec::new(),
            }),
            Err(error) if error.is_not_there() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// What the API server passes on as text.
    pub(super) async fn text(&self, path: &str) -> Result<String, ClusterError> {
        let what = format!("reading {path}");
        let request =
            http_request(path).map_err(|source| ClusterError::Asking { what: what.clone(), source })?;
        self.answer(what, self.client.request_text(request)).await
    }

    /// All objects of a kind in the mesh's namespace.
    pub(super) async fn of_mesh<K>(&self, selector: &str) -> Result<Vec<K>, ClusterError>
    where
        K: Clone + DeserializeOwned + Debug + Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let api = Api::namespaced(self.client.clone(), &self.mesh);
        self.list(api, ListParams::default().labels(selector)).await
    }

    /// The agents by node, or the one that is wanted.
    pub(super) async fn nodes(&self, wanted: Option<&str>) -> Result<Vec<Node>, ClusterError> {
        let pods = chosen(self.of_mesh(&Part::Agent.selector()).await?);
        if pods.is_empty() {
            return Err(ClusterError::NoAgents { namespace: self.mesh.clone() });
        }
        let known = pods.keys().cloned().collect::<Vec<_>>().join(", ");
        let nodes: Vec<Node> = pods
            .into_iter()
            .filter(|(node, _)| wanted.is_none_or(|wanted| wanted == node))
            .map(|(name, pod)| Node { agent: self.socket(format!("node {name}"), Part::Agent, &pod), name })
            .collect();
        match wanted {
            Some(wanted) if nodes.is_empty() => {
                Err(ClusterError::UnknownNode { wanted: wanted.to_owned(), known })
            }
            _ => Ok(nodes),
        }
    }

    /// The controller that serves the agents.
    pub(super) async fn controller(&self) -> Result<Socket, ClusterError> {
        let pods: Vec<Pod> = self.of_mesh(&Part::Controller.selector()).await?;
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), &self.mesh);
        // Without the right to read it any replica that is ready is asked.
        let lease = self.answer("reading the Lease", leases.get_opt(LEASE)).await.ok().flatten();
        let holder = lease.and_then(|lease| lease.spec?.holder_identity);
        let who = "the controller".to_owned();
        Ok(match leader(&pods, holder.as_deref()) {
            Some(pod) => self.socket(who, Part::Controller, pod),
            None => Socket {
                who,
                at: At::Nowhere(format!(
                    "no pod of Deployment {}/{} runs; `kubectl -n {0} describe deployment {1}` says why",
                    self.mesh,
                    Part::Controller.name()
                )),
            },
        })
    }

    /// The admin socket in a pod of the mesh.
    pub(super) fn socket(&self, who: String, part: Part, pod: &Pod) -> Socket {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let at = match part.trouble(pod) {
            Some(trouble) => At::Nowhere(format!("pod {}/{name} {trouble}", self.mesh)),
            None => At::Pod(InPod {
                client: self.client.clone(),
                namespace: self.mesh.clone(),
                pod: name,
                container: part.container().to_owned(),
                command: part.command(&run_dir(pod, part.container())),
            }),
        };
        Socket { who, at }
    }

    /// What the labels of a pod and its namespace ask for.
    pub(super) async fn asked(&self, namespace: &str, name: &str) -> Result<String, ClusterError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let pod = self.answer(format!("reading pod {namespace}/{name}"), pods.get_opt(name)).await?;
        // Who may not read namespaces sees the pod's own label only.
        let of = self.answer(format!("reading namespace {namespace}"), namespaces.get_opt(namespace)).await;
        let mode = |labels: Option<BTreeMap<String, String>>| {
            labels.and_then(|mut labels| labels.remove(MODE)).unwrap_or_else(|| "-".to_owned())
        };
        let of_pod = mode(pod.and_then(|pod| pod.metadata.labels));
        let of_namespace = match of {
            Ok(of) => mode(of.and_then(|of| of.metadata.labels)),
            Err(_) => "not readable".to_owned(),
        };
        Ok(format!("{MODE}: pod {of_pod}, namespace {of_namespace}"))
    }

    /// The node of a pod, `NAMESPACE/NAME` or an address; nothing for an address of no pod.
    pub(super) async fn home(&self, of: &str) -> Result<Option<String>, ClusterError> {
        let pod = match of.split_once('/') {
            Some((namespace, name)) => {
                let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
                let pod = self.answer(format!("reading pod {of}"), pods.get_opt(name)).await?;
                Some(pod.ok_or_else(|| ClusterError::NoPod(of.to_owned()))?)
            }
            None => {
                let parameters = ListParams::default().fields(&format!("status.podIP={of}"));
                let pods: Vec<Pod> = self.list(Api::all(self.client.clone()), parameters).await?;
                let own = |pod: &Pod| !pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
                pods.into_iter().find(own)
            }
        };
        match pod.map(|pod| pod.spec.and_then(|spec| spec.node_name)) {
            None => Ok(None),
            Some(None) => Err(ClusterError::Unscheduled(of.to_owned())),
            Some(node) => Ok(node),
        }
    }
}

/// Whether there is a file that conventions would find.
fn exists(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}

fn http_request(path: &str) -> Result<Request<Vec<u8>>, kube::Error> {
    Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)
}
