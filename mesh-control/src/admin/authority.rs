//! What the admin socket answers about certificates.
//!
//! | request | answer |
//! |---|---|
//! | `GET /ca` | [`CaReport`](crate::ca::CaReport) |
//! | `POST /ca/rotate` | the same, the replacement of the root begun |
//! | `GET /identities` | [`IdentitiesReport`](crate::ca::IdentitiesReport) |
//! | `POST /join?node=N` | [`JoinReport`](crate::ca::JoinReport), a new join file written |
//!
//! A refusal is `{"error": "..."}` with a status of 4xx or 5xx.

use http_body_util::Full;
use hyper::{Method, Response, StatusCode, body::Bytes};

use super::{json, refuse};
use crate::ca::{Authority, CaError, Timestamp};

/// Answers a request; nothing where the path is none of these.
pub(super) fn respond(
    method: &Method,
    path: &str,
    query: Option<&str>,
    authority: &Authority,
) -> Option<Response<Full<Bytes>>> {
    let now = Timestamp::now();
    let wanted = match path {
        "/ca" | "/identities" => Method::GET,
        "/ca/rotate" | "/join" => Method::POST,
        _ => return None,
    };
    if *method != wanted {
        return Some(refuse(StatusCode::METHOD_NOT_ALLOWED, &format!("{wanted} only")));
    }
    Some(match path {
        "/ca" => json(&authority.report(now)),
        "/identities" => json(&authority.identities(now)),
        "/ca/rotate" => authority.rotate(now).map_or_else(|error| refused(&error), |report| json(&report)),
        _ => match node(query) {
            Some(node) => {
                authority.invite_again(node, now).map_or_else(|error| refused(&error), |report| json(&report))
            }
            None => refuse(StatusCode::BAD_REQUEST, "name the node: POST /join?node=N"),
        },
    })
}

/// The value of `node`. A node's name has no character that a query must escape.
fn node(query: Option<&str>) -> Option<&str> {
    let mut pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, value)| *key == "node" && !value.is_empty()).map(|(_, value)| value)
}

fn refused(error: &CaError) -> Response<Full<Bytes>> {
    let status = match error {
        CaError::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        CaError::UnderWay(_) | CaError::NotOurs(_) | CaError::NoJoinFiles(_) => StatusCode::CONFLICT,
        CaError::NoSuchNode(_) => StatusCode::NOT_FOUND,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    refuse(status, &error.to_string())
}
