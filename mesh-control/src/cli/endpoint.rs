//! What `meshctl can` is asked about.

use std::net::{IpAddr, SocketAddr};

/// What is dialled, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    /// An address, `<namespace>/<name>` or `svc/<namespace>/<name>`.
    pub name: String,
    /// The port, if one was written.
    pub port: Option<u16>,
}

/// What was asked about cannot be read or found.
#[derive(Debug, thiserror::Error)]
pub(super) enum EndpointError {
    /// No form that is known.
    #[error(
        "`{0}` is no destination; write <namespace>/<pod>:<port>, svc/<namespace>/<name>[:<port>] or <address>:<port>"
    )]
    Destination(String),
    /// No form that is known.
    #[error("`{0}` is no source; write <namespace>/<pod> or an address")]
    Source(String),
    /// No node knows it.
    #[error(
        "no node has a pod `{0}`; `kubectl get pods`-style names are <namespace>/<name>, and a pod must be scheduled to be asked about"
    )]
    NoPod(String),
    /// No node knows it.
    #[error("no node knows `{0}`; neither a pod nor a Service of that name is told to any node")]
    Unknown(String),
}

impl Destination {
    /// Reads a destination.
    pub(super) fn parse(text: &str) -> Result<Self, EndpointError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self { name: address.to_string(), port: None });
        }
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return Ok(Self { name: socket.ip().to_string(), port: Some(socket.port()) });
        }
        let wrong = || EndpointError::Destination(text.to_owned());
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => {
                let port = port.parse::<u16>().ok().filter(|&port| port != 0).ok_or_else(wrong)?;
                (name, Some(port))
            }
            None => (text, None),
        };
        let parts: Vec<&str> = name.split('/').collect();
        let has_form = matches!(parts.as_slice(), ["svc", _, _] | [_, _]);
        if !has_form || parts.iter().any(|part| part.is_empty()) {
            return Err(wrong());
        }
        Ok(Self { name: name.to_owned(), port })
    }
}

/// Reads a source: an address or a pod.
pub(super) fn source(text: &str) -> Result<Result<IpAddr, (String, String)>, EndpointError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Ok(address));
    }
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(Err((namespace.to_owned(), name.to_owned())))
        }
        _ => Err(EndpointError::Source(text.to_owned())),
    }
}
