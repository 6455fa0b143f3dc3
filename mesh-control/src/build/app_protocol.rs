//! What is spoken on a Service's port, as far as the Service says so.

use mesh_api::resources::AppProtocol;

/// By `appProtocol` (KEP-3726), else by what the port's name has before its first `-`.
///
/// `appProtocol` names Kubernetes' own protocols, those of IANA, or, with a prefix, anybody's. A
/// protocol of IANA's that is not HTTP is as good as TCP; of anybody's nothing is known. Of names of ports only those
/// count that say something by convention, because a name is needed anyhow where there are several ports.
pub(super) fn app_protocol(declared: Option<&str>, port_name: &str) -> AppProtocol {
    match declared.filter(|declared| !declared.is_empty()) {
        Some(declared) => of_declared(&declared.to_ascii_lowercase()),
        None => of_name(port_name.split('-').next().unwrap_or_default()),
    }
}

fn of_declared(declared: &str) -> AppProtocol {
    match declared {
        "kubernetes.io/h2c" => AppProtocol::Http2,
        "kubernetes.io/ws" => AppProtocol::Websocket,
        "kubernetes.io/wss" => AppProtocol::Tls,
        other if other.contains('/') => AppProtocol::Unknown,
        other => match of_name(other) {
            AppProtocol::Unknown => AppProtocol::Tcp,
            known => known,
        },
    }
}

fn of_name(name: &str) -> AppProtocol {
    match name {
        "http" | "http1" => AppProtocol::Http1,
        "http2" | "h2c" => AppProtocol::Http2,
        "grpc" => AppProtocol::Grpc,
        "ws" | "websocket" => AppProtocol::Websocket,
        "https" | "tls" | "wss" => AppProtocol::Tls,
        "tcp" => AppProtocol::Tcp,
        _ => AppProtocol::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::resources::AppProtocol::{Grpc, Http1, Http2, Tcp, Tls, Unknown, Websocket};

    use super::app_protocol;

    #[test]
    fn what_is_declared_goes_before_the_name() {
        for (declared, name, expected) in [
            (None, "http", Http1),
            (None, "http-admin", Http1),
            (None, "grpc-web", Grpc),
            (None, "https", Tls),
            (None, "main", Unknown),
            (None, "", Unknown),
            (None, "httpbin", Unknown),
            (Some(""), "http", Http1),
            (Some("kubernetes.io/h2c"), "http", Http2),
            (Some("kubernetes.io/ws"), "", Websocket),
            (Some("kubernetes.io/wss"), "", Tls),
            (Some("HTTP"), "tcp", Http1),
            (Some("postgresql"), "http", Tcp),
            (Some("example.com/odd"), "http", Unknown),
        ] {
            assert_eq!(app_protocol(declared, name), expected, "{declared:?} {name}");
        }
    }
}
