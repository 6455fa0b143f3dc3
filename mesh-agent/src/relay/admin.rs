//! The node's admin socket: JSON for `meshctl`, over HTTP/1.1 on a Unix socket that only the
//! owner of the run directory may open.
//!
//! | request | answer |
//! |---|---|
//! | `GET /status` | what the node enforces, and what is wrong |
//! | `GET /ready` | 200 if this relay is ready, else 503 and why not |
//! | `GET /pods` | its pods |
//! | `GET /can?source=&destination=&port=&protocol=` | the verdict of the loaded policy; with `&method=&target=&host=&header=` on a request |
//! | `GET /routes?service=` | the routes of a Service, for whom they are, in order |
//! | `GET /dump?flows=N` | programs, links, maps, pods, flows |
//! | `GET /check` | kernel features |
//! | `GET /failures?pod=` | the most recent refusals and failures, with what to check |
//! | `GET /denial?id=` | the denied request whose caller was told this identifier |
//! | `GET /reasons` | what each reason means |
//! | `GET /identities` | certificates of the node's identities |
//! | `POST /reset?pod=&enrolled=` | ends the pod's connections from before it came into the mesh (`true`), or those that the mesh still carries though it left (`false`): `{ended, left}` |
//! | `PUT /log?level=` | level of the access log until relay ends: Denied, All, Off; empty = as configured |

mod can;
mod endpoint;
mod failures;
mod identities;
mod log_level;
mod pods;
mod query;
mod reset;
mod routes;
mod status;
mod trust;

use std::rc::Rc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;

use super::node::{AskError, Node};
use super::scrape;
use super::serve::{self, Answer};
use crate::handover::{self, Question};
use query::Query;

const JSON: &str = "application/json";
/// Flows listed by a dump that does not say how many.
const FLOWS: u32 = 100;
/// The most flows a dump may ask for.
const FLOWS_LIMIT: u32 = 100_000;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
enum AdminError {
    /// A parameter is missing or is not what it should be.
    #[error("parameter {name} is {value:?}: {problem}")]
    Parameter { name: &'static str, value: String, problem: &'static str },
    /// A name that this node does not know.
    #[error("{what} `{name}` is not known on this node")]
    Unknown { what: &'static str, name: String },
    /// wire has to answer and did not.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// wire answered something else.
    #[error("wire answered another question")]
    Mismatch,
}

impl AdminError {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Parameter { .. } => StatusCode::BAD_REQUEST,
            Self::Unknown { .. } => StatusCode::NOT_FOUND,
            Self::Ask(_) | Self::Mismatch => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Answers one request. Bodies are never read.
pub(crate) async fn respond(node: Rc<Node>, request: Request<Incoming>) -> Answer {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let result = match (request.method(), request.uri().path()) {
        (&Method::GET, "/status") => json(&status::status(&node)),
        (&Method::GET, "/ready") => Ok(scrape::ready(&node)),
        (&Method::GET, "/pods") => json(&pods::pods(&node)),
        (&Method::GET, "/failures") => failures::failures(&node, &query),
        (&Method::GET, "/denial") => failures::denial(&node, &query),
        (&Method::GET, "/reasons") => json(&failures::reasons()),
        (&Method::GET, "/identities") => json(&identities::identities(&node)),
        (&Method::GET, "/can") => can::answer(&node, &query).await.map(|can| json_of(&can)),
        (&Method::GET, "/routes") => routes::answer(&node, &query).map(|routes| json_of(&routes)),
        (&Method::GET, "/dump") => dump(&node, &query).await,
        (&Method::GET, "/check") => check(&node).await,
        (&Method::POST, "/reset") => reset::reset(&node, &query).await.map(|done| json_of(&done)),
        (&Method::PUT, "/log") => set_log_level(&node, &query),
        (method, path) => {
            let message = format!("there is no {method} {path} here");
            Ok(error(StatusCode::NOT_FOUND, &message))
        }
    };
    result.unwrap_or_else(|failure: AdminError| error(failure.status(), &failure.to_string()))
}

fn json<T: Serialize>(value: &T) -> Result<Answer, AdminError> {
    Ok(json_of(value))
}

fn json_of<T: Serialize>(value: &T) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => serve::answer(StatusCode::OK, JSON, body),
        Err(failure) => error(StatusCode::INTERNAL_SERVER_ERROR, &failure.to_string()),
    }
}

fn error(status: StatusCode, message: &str) -> Answer {
    let body = serde_json::json!({ "error": message });
    serve::answer(status, JSON, body.to_string())
}

async fn dump(node: &Node, query: &Query) -> Result<Answer, AdminError> {
    let flows = query.number("flows")?.unwrap_or(FLOWS).min(FLOWS_LIMIT);
    match node.ask(Question::Dump { flows }).await? {
        handover::Answer::Dump(text) => Ok(serve::answer(StatusCode::OK, JSON, text)),
        _ => Err(AdminError::Mismatch),
    }
}

async fn check(node: &Node) -> Result<Answer, AdminError> {
    match node.ask(Question::Check).await? {
        handover::Answer::Check(features) => json(&features),
        _ => Err(AdminError::Mismatch),
    }
}

fn set_log_level(node: &Node, query: &Query) -> Result<Answer, AdminError> {
    let level = log_level::of_name(query.text("level"))?;
    let mut telemetry = node.telemetry.borrow_mut();
    telemetry.override_log_level(level);
    json(&serde_json::json!({ "access_log": log_level::name_of(telemetry.log_level()) }))
}
