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
    /// No form that is known.
    #[error("`{0}` cannot be enrolled; write a namespace's name, or pod/<name> with --namespace")]
    Target(String),
    /// No form that is known, or no namespace to look in.
    #[error(
        "`{0}` names no object; write pod/<name> or svc/<name> with --namespace, or pod/<namespace>/<name>"
    )]
    Subject(String),
    /// Nobody enforces anything there.
    #[error("the pod is on node `{0}`, and no agent of the mesh is there; `meshctl check` says more")]
    NoAgent(String),
    /// It was not of a Service.
    #[error("--from is who calls a Service; write svc/<name> in front of it")]
    NoCaller,
    /// No node remembers it.
    #[error(
        "no node knows a denial `{0}`; each remembers the latest few thousand, since its relay started, and the access log has every one"
    )]
    NoDenial(String),
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

/// The same with its namespace: `NAME`, `pod/NAME` and `svc/NAME` are of this one.
pub(super) fn qualified(text: &str, namespace: &str) -> String {
    if text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok() {
        return text.to_owned();
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, format!(":{port}")),
        None => (text, String::new()),
    };
    match name.split('/').collect::<Vec<_>>().as_slice() {
        [pod] | ["pod" | "pods", pod] => format!("{namespace}/{pod}{port}"),
        ["pod" | "pods", other, pod] => format!("{other}/{pod}{port}"),
        ["svc" | "service" | "services", service] => format!("svc/{namespace}/{service}{port}"),
        ["service" | "services", other, service] => format!("svc/{other}/{service}{port}"),
        _ => text.to_owned(),
    }
}

/// One object that `meshctl explain` tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// A pod, `NAMESPACE/NAME`.
    Pod(String),
    /// A Service, likewise.
    Service(String),
}

impl Subject {
    /// Reads `pod/NAME`, `svc/NAME`, or either with its namespace; nothing of anything else.
    pub(super) fn parse(text: &str, namespace: Option<&str>) -> Result<Option<Self>, EndpointError> {
        let parts: Vec<&str> = text.split('/').collect();
        let (kind, rest) = parts.split_first().map_or(("", &[][..]), |(kind, rest)| (*kind, rest));
        let named = match (rest, namespace) {
            ([namespace, name], _) => Some((*namespace, *name)),
            ([name], Some(namespace)) => Some((namespace, *name)),
            _ => None,
        };
        let full = || match named {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                Ok(format!("{namespace}/{name}"))
            }
            _ => Err(EndpointError::Subject(text.to_owned())),
        };
        match kind {
            "pod" | "pods" | "po" if !rest.is_empty() => full().map(|name| Some(Self::Pod(name))),
            "svc" | "service" | "services" if !rest.is_empty() => {
                full().map(|name| Some(Self::Service(name)))
            }
            _ => Ok(None),
        }
    }
}

/// `NAMESPACE/NAME` or an address, without the port; nothing for what can only be a Service.
pub(super) fn pod_or_address(text: &str) -> Option<String> {
    let destination = Destination::parse(text).ok()?;
    (!destination.name.starts_with("svc/")).then_some(destination.name)
}

#[cfg(test)]
mod tests {
    use super::{Subject, pod_or_address, qualified};

    #[test]
    fn objects_are_told_from_reasons() {
        let parse =
            |text: &str, namespace| Subject::parse(text, namespace).map_err(|error| error.to_string());
        let pod = |name: &str| Ok(Some(Subject::Pod(name.to_owned())));
        assert_eq!(parse("pod/teller", Some("bank")), pod("bank/teller"));
        assert_eq!(parse("pod/shop/clerk", Some("bank")), pod("shop/clerk"));
        assert_eq!(parse("pod/shop/clerk", None), pod("shop/clerk"));
        assert_eq!(parse("svc/ledger", Some("bank")), Ok(Some(Subject::Service("bank/ledger".to_owned()))));
        assert_eq!(parse("PolicyDenied", Some("bank")), Ok(None));
        for wrong in ["pod/teller", "pod/", "pod//x", "svc/a/b/c"] {
            assert!(parse(wrong, None).unwrap_err().contains(wrong), "{wrong}");
        }
    }

    #[test]
    fn names_get_the_namespace_that_they_lack() {
        for (text, full) in [
            ("teller", "bank/teller"),
            ("pod/teller", "bank/teller"),
            ("pod/shop/clerk", "shop/clerk"),
            ("shop/clerk:80", "shop/clerk:80"),
            ("teller:80", "bank/teller:80"),
            ("svc/ledger", "svc/bank/ledger"),
            ("svc/ledger:9000", "svc/bank/ledger:9000"),
            ("svc/shop/catalog:9200", "svc/shop/catalog:9200"),
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("fd00::1", "fd00::1"),
            ("[fd00::1]:80", "[fd00::1]:80"),
        ] {
            assert_eq!(qualified(text, "bank"), full);
        }
    }

    #[test]
    fn what_may_be_a_pod_is_looked_for() {
        for (text, pod) in [
            ("bank/teller", Some("bank/teller")),
            ("bank/vault:80", Some("bank/vault")),
            ("10.0.0.1:80", Some("10.0.0.1")),
            ("svc/bank/vault:80", None),
            ("teller", None),
        ] {
            assert_eq!(pod_or_address(text).as_deref(), pod, "{text}");
        }
    }
}
