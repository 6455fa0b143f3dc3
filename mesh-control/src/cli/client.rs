//! One request to one socket: HTTP/1.1 with JSON.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use super::exec::InPod;
use crate::source::told;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// The longest answer, bytes.
const ANSWER_BYTES: usize = 256 << 20;

/// Why a socket gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// Nobody listens.
    #[error("{who} does not answer at {}: {source}; is it running? its log is in the run directory's logs/", .socket.display())]
    Connect { who: String, socket: PathBuf, source: io::Error },
    /// There is nobody.
    #[error("{who} cannot be asked: {why}")]
    Nowhere { who: String, why: String },
    /// It did not answer in time.
    #[error("{who} did not answer within {} seconds; it may be stopped or overloaded", ANSWER_WITHIN.as_secs())]
    TimedOut { who: String },
    /// The exchange failed.
    #[error("{who} broke off: {why}")]
    Broken { who: String, why: String },
    /// It refused.
    #[error("{who}: {message}")]
    Refused { who: String, status: StatusCode, message: String },
    /// The answer is not what was asked for.
    #[error("{who} answers in another form ({source}); are meshctl and the mesh of one version?")]
    Form { who: String, source: serde_json::Error },
}

impl ClientError {
    /// Whether the other side does not know what was asked about.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, .. })
    }
}

/// Somebody to ask: who it is, for people, and where it listens.
#[derive(Clone)]
pub(super) struct Socket {
    /// Such as `node n1`.
    pub who: String,
    /// Where its admin socket is.
    pub at: At,
}

/// Where an admin socket is.
#[derive(Clone)]
pub(super) enum At {
    /// On this machine.
    Path(PathBuf),
    /// In a pod's container.
    Pod(InPod),
    /// Nobody can be asked, and why.
    Nowhere(String),
}

impl Socket {
    /// Asks for `path`.
    ///
    /// # Errors
    /// When nobody answers, or refuses, or answers something else.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path).await
    }

    /// Has `path` done.
    ///
    /// # Errors
    /// As [`Socket::get`].
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::POST, path).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, ClientError> {
        let who = &self.who;
        let exchange = tokio::time::timeout(ANSWER_WITHIN, self.exchange(method, path));
        let (status, body) = exchange.await.map_err(|_| ClientError::TimedOut { who: who.clone() })??;
        if !status.is_success() {
            #[derive(Deserialize)]
            struct Refusal {
                error: String,
            }
            let message = serde_json::from_slice::<Refusal>(&body)
                .map_or_else(|_| format!("{status} to {path}"), |refusal| refusal.error);
            return Err(ClientError::Refused { who: who.clone(), status, message });
        }
        serde_json::from_slice(&body).map_err(|source| ClientError::Form { who: who.clone(), source })
    }

    async fn exchange(&self, method: Method, path: &str) -> Result<(StatusCode, Bytes), ClientError> {
        let broken = |why: String| ClientError::Broken { who: self.who.clone(), why };
        match &self.at {
            At::Path(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(|source| ClientError::Connect {
                    who: self.who.clone(),
                    socket: socket.clone(),
                    source,
                })?;
                exchange(stream, method, path).await.map_err(broken)
            }
            At::Pod(pod) => {
                let mut process = pod.open().await.map_err(broken)?;
                let answer = exchange(process.stream().map_err(broken)?, method, path).await;
                match answer {
                    Ok(answer) => Ok(answer),
                    Err(why) => Err(broken(process.told().await.unwrap_or(why))),
                }
            }
            At::Nowhere(why) => Err(ClientError::Nowhere { who: self.who.clone(), why: why.clone() }),
        }
    }
}

/// One request and its answer.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    method: Method,
    path: &str,
) -> Result<(StatusCode, Bytes), String> {
    let told = |error: hyper::Error| told(&error);
    let (mut requests, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "mesh")
        // Whoever passes this on ends when the answer does.
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    // Owns `requests`: while that lives, the connection stays open for another one.
    let answered = async move {
        let response = requests.send_request(request).await.map_err(told)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES);
        let body = body.collect().await.map_err(|error| error.to_string())?;
        Ok((status, body.to_bytes()))
    };
    // The connection moves the bytes; the answer is there before or as it ends.
    let (answer, _) = tokio::join!(answered, async {
        let _ = connection.await;
    });
    answer
}

/// Encodes a value for a query string (RFC 3986, 2.1).
pub(super) fn encode(value: &str) -> String {
    value
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
