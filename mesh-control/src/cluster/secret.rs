//! The certificate authority's state in a Secret of the controller's namespace, so that whichever
//! controller leads signs with the same root.
//!
//! Every write names the version that it replaces, and who takes over writes first of all: from then on
//! whatever the one of before still wants to write is refused. Who finds that somebody else has written
//! does not go on with what it has in memory: it is told [`overtaken`](State::overtaken), and ends.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, api::PostParams};
use sha2::{Digest as _, Sha256};
use tokio::{runtime::Handle, sync::watch, time::timeout};

use crate::{
    ca::{Keep, KeepError},
    source::{random, told, wait},
};

/// The Secret's name.
const NAME: &str = "mesh-authority";
/// What it holds.
const KEY: &str = "state.json";
/// Its type, by which no other controller takes it for its own.
const TYPE: &str = "mesh.internal/authority";
/// Who wrote it last.
const WRITER: &str = "mesh.internal/written-by";
/// The API server must answer within this.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Somebody else's writes between a look and a write are waited out this often.
const TRIES: usize = 4;
/// So many texts that may have been written are known for this process's own.
const OWN: usize = 16;

/// The Secret, as one controller knows it.
#[derive(Debug)]
pub(super) struct State {
    api: Api<Secret>,
    namespace: String,
    me: String,
    runtime: Handle,
    known: Mutex<Known>,
    overtaken: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Known {
    /// Of the Secret; nothing while there is none.
    version: Option<String>,
    /// Hashes of what this process wrote last, or tried to since: an answer may have got lost.
    own: VecDeque<[u8; 32]>,
    failures: u32,
    /// Nothing is tried before, and why.
    rests: Option<(Instant, String)>,
}

/// Why nothing was written.
enum Failure {
    /// Somebody else wrote.
    Overtaken,
    /// Anything else, which may pass.
    Passing(String),
}

impl State {
    /// The Secret of a namespace, as `me` writes it. Calls of [`Keep`] wait on this runtime, so they
    /// must not come from a thread that drives it.
    pub(super) fn new(client: Client, namespace: &str, me: String) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            me,
            runtime: Handle::current(),
            known: Mutex::default(),
            overtaken: watch::Sender::new(false),
        }
    }

    /// Becomes true when somebody else has written.
    pub(super) fn overtaken(&self) -> watch::Receiver<bool> {
        self.overtaken.subscribe()
    }

    fn failed(&self, action: &'static str, why: String) -> KeepError {
        KeepError::Elsewhere { place: self.place(), action, why }
    }

    /// Reads it, and makes it this process's to write.
    async fn claim(&self, known: &mut Known) -> Result<Option<String>, Failure> {
        for _ in 0..TRIES {
            let Some(secret) = self.api.get_opt(NAME).await.map_err(passing)? else {
                *known = Known::default();
                return Ok(None);
            };
            let text = text(&secret).map_err(Failure::Passing)?;
            let claimed = self.secret(secret.metadata.resource_version, &text);
            match self.api.replace(NAME, &PostParams::default(), &claimed).await {
                Ok(secret) => {
                    *known = Known { version: secret.metadata.resource_version, ..Known::default() };
                    known.own.push_back(hash(&text));
                    return Ok(Some(text));
                }
                // The one of before wrote meanwhile, or it was removed: look again.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(passing(error)),
            }
        }
        Err(Failure::Passing("somebody else goes on writing it".to_owned()))
    }

    async fn write(&self, known: &mut Known, text: &str) -> Result<(), Failure> {
        known.own.push_back(hash(text));
        if known.own.len() > OWN {
            known.own.pop_front();
        }
        for _ in 0..TRIES {
            let secret = self.secret(known.version.clone(), text);
            let written = match known.version {
                None => self.api.create(&PostParams::default(), &secret).await,
                Some(_) => self.api.replace(NAME, &PostParams::default(), &secret).await,
            };
            match written {
                Ok(secret) => {
                    *known = Known { version: secret.metadata.resource_version, ..Known::default() };
                    known.own.push_back(hash(text));
                    return Ok(());
                }
                // It was removed. What it said is known here, and its end would be everybody's.
                Err(kube::Error::Api(status)) if status.code == 404 && known.version.is_some() => {
                    known.version = None;
                }
                Err(kube::Error::Api(status)) if status.code == 409 => self.look(known).await?,
                Err(error) => return Err(passing(error)),
            }
        }
        Err(Failure::Passing("somebody else goes on changing it".to_owned()))
    }

    /// Finds out who wrote: this process, whose answer got lost; somebody who left what it says alone;
    /// or another controller.
    async fn look(&self, known: &mut Known) -> Result<(), Failure> {
        let secret = self.api.get_opt(NAME).await.map_err(passing)?;
        let Some(secret) = secret else {
            known.version = None;
            return Ok(());
        };
        let writer = secret.metadata.annotations.as_ref().and_then(|all| all.get(WRITER));
        let own =
            writer == Some(&self.me) && text(&secret).is_ok_and(|text| known.own.contains(&hash(&text)));
        if !own {
            return Err(Failure::Overtaken);
        }
        known.version = secret.metadata.resource_version;
        Ok(())
    }

    fn secret(&self, version: Option<String>, text: &str) -> Secret {
        let label = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        Secret {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                resource_version: version,
                labels: Some(label("app.kubernetes.io/part-of", "mesh")),
                annotations: Some(label(WRITER, &self.me)),
                ..ObjectMeta::default()
            },
            type_: Some(TYPE.to_owned()),
            data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(text.as_bytes().to_vec()))])),
            ..Secret::default()
        }
    }

    /// Runs one exchange with the API server.
    fn exchange<T>(
        &self,
        action: &'static str,
        exchange: impl AsyncFnOnce(&mut Known) -> Result<T, Failure>,
    ) -> Result<T, KeepError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, why)) = known.rests.as_ref().filter(|(until, _)| Instant::now() < *until) {
            return Err(self.failed(action, why.clone()));
        }
        let result = self.runtime.block_on(timeout(ANSWER_LIMIT, exchange(&mut known)));
        let why = match result {
            Ok(Ok(value)) => {
                (known.failures, known.rests) = (0, None);
                return Ok(value);
            }
            Ok(Err(Failure::Overtaken)) => {
                self.overtaken.send_replace(true);
                "another controller has written it since: this one ends, and stands by when it is started again".to_owned()
            }
            Ok(Err(Failure::Passing(why))) => why,
            Err(_) => "the API server does not answer".to_owned(),
        };
        known.failures = known.failures.saturating_add(1);
        known.rests = Some((Instant::now() + wait(known.failures, random()), why.clone()));
        Err(self.failed(action, why))
    }
}

impl Keep for State {
    fn place(&self) -> String {
        format!("Secret {}/{NAME}", self.namespace)
    }

    fn load(&self) -> Result<Option<String>, KeepError> {
        self.exchange("read", async |known| self.claim(known).await)
    }

    fn save(&self, text: &str) -> Result<(), KeepError> {
        self.exchange("written", async |known| self.write(known, text).await)
    }
}

fn passing(error: kube::Error) -> Failure {
    Failure::Passing(match error {
        kube::Error::Api(status) if status.code == 403 => format!(
            "{}; check the Role of the controller (get and update secrets {NAME}, create secrets)",
            status.message
        ),
        error => told(&error),
    })
}

fn text(secret: &Secret) -> Result<String, String> {
    let bytes = secret.data.as_ref().and_then(|data| data.get(KEY));
    let bytes = bytes.ok_or_else(|| {
        format!("it has no key {KEY}; restore it, or remove the Secret to begin anew with another root")
    })?;
    String::from_utf8(bytes.0.clone()).map_err(|_| format!("{KEY} is not text; restore it"))
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}
