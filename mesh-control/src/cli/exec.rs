//! The way into a pod's container: a process there passes its standard input and output on to the
//! admin socket. No port is opened for it, and who may ask is who may `exec` in the mesh's namespace.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{AttachParams, AttachedProcess};
use kube::client::UpgradeConnectionError;
use kube::{Api, Client};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::said::said;

/// Bytes on their way from the container.
const BUFFER: usize = 64 << 10;
/// The most of a failed process's words that is shown, bytes.
const WORDS: u64 = 2 << 10;
/// How long a process that gave no answer may take to say why.
const WORDS_WITHIN: Duration = Duration::from_secs(2);

/// A container, and the command in it that reaches the admin socket.
#[derive(Clone)]
pub(super) struct InPod {
    pub client: Client,
    pub namespace: String,
    pub pod: String,
    pub container: String,
    pub command: Vec<String>,
}

/// A process in a container.
pub(super) struct Process(AttachedProcess);

impl InPod {
    /// Starts the command.
    pub(super) async fn open(&self) -> Result<Process, String> {
        let parameters = AttachParams::default()
            .container(&self.container)
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .max_stdout_buf_size(BUFFER);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let process = pods.exec(&self.pod, &self.command, &parameters).await;
        process.map(Process).map_err(|error| self.why(&error))
    }

    fn why(&self, error: &kube::Error) -> String {
        let Self { namespace, pod, container, .. } = self;
        let refused = match error {
            kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(status)) => status.as_u16(),
            kube::Error::Api(status) => status.code,
            _ => 0,
        };
        let why =
            format!("no command can be run in pod {namespace}/{pod}, container {container}: {}", said(error));
        match refused {
            401 | 403 => format!(
                "{why}; asking takes the verbs get and create for pods/exec in namespace {namespace} (Role mesh-admin there has them)"
            ),
            _ => why,
        }
    }
}

impl Process {
    /// Its standard output and input, as one.
    pub(super) fn stream(&mut self) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>, String> {
        match (self.0.stdout(), self.0.stdin()) {
            (Some(output), Some(input)) => Ok(tokio::io::join(output, input)),
            _ => Err("the process in the container has no input or output".to_owned()),
        }
    }

    /// Why it gave no answer, by its own words or the container runtime's.
    pub(super) async fn told(&mut self) -> Option<String> {
        let errors = self.0.stderr();
        let status = self.0.take_status();
        let words = async {
            let mut words = Vec::new();
            if let Some(errors) = errors {
                let _ = errors.take(WORDS).read_to_end(&mut words).await;
            }
            let words = String::from_utf8_lossy(&words).trim().to_owned();
            if !words.is_empty() {
                return Some(words);
            }
            status?.await?.message
        };
        let words = tokio::time::timeout(WORDS_WITHIN, words).await.ok().flatten()?;
        // From inside a container: nothing of it may move a terminal's cursor.
        Some(words.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect())
    }
}
