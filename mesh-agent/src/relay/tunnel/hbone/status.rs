//! Why a request is refused: a reason of ours, as a status code with an error type, and back.

use http::StatusCode;
use mesh_ebpf::abi::Reason;

use super::proxy_status::ProxyStatus;

/// How a refusal is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The answer's status.
    pub status: StatusCode,
    /// Its error type (RFC 9209, section 2.3).
    pub error: &'static str,
}

/// How the destination's side answers a request that ends for `reason`.
#[must_use]
pub(crate) fn refusal(reason: Reason) -> Refusal {
    let (status, error) = match reason {
        Reason::BadRequest => (StatusCode::BAD_REQUEST, "http_request_error"),
        Reason::PolicyDenied
        | Reason::NoRuleAllows
        | Reason::DefaultDenied
        | Reason::MtlsRequired
        | Reason::PolicyMissing
        | Reason::PolicyChanged => (StatusCode::UNAUTHORIZED, "http_request_denied"),
        Reason::UpstreamRefused => (StatusCode::SERVICE_UNAVAILABLE, "connection_refused"),
        Reason::UpstreamTimedOut => (StatusCode::SERVICE_UNAVAILABLE, "connection_timeout"),
        Reason::UpstreamUnreachable => (StatusCode::SERVICE_UNAVAILABLE, "destination_ip_unroutable"),
        Reason::RelayExhausted => (StatusCode::SERVICE_UNAVAILABLE, "connection_limit_reached"),
        Reason::Draining | Reason::EndpointGone => {
            (StatusCode::SERVICE_UNAVAILABLE, "destination_unavailable")
        }
        _ => (StatusCode::SERVICE_UNAVAILABLE, "proxy_internal_error"),
    };
    Refusal { status, error }
}

/// What the source's side makes of an answer; `None` for 200.
#[must_use]
pub(crate) fn reason(status: StatusCode, said: Option<&ProxyStatus>) -> Option<Reason> {
    let error = said.map_or("", |said| said.error.as_str());
    Some(match status {
        StatusCode::OK => return None,
        StatusCode::BAD_REQUEST => Reason::BadRequest,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Reason::PeerDenied,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
            match error {
                "connection_refused" => Reason::UpstreamRefused,
                "connection_timeout" => Reason::UpstreamTimedOut,
                "destination_ip_unroutable" | "destination_not_found" => Reason::UpstreamUnreachable,
                "connection_limit_reached" => Reason::RelayExhausted,
                _ => Reason::PeerFailed,
            }
        }
        _ => Reason::PeerNotHbone,
    })
}

#[cfg(test)]
mod tests {
    use super::{reason, refusal};
    use crate::relay::tunnel::hbone;
    use http::StatusCode;
    use mesh_ebpf::abi::Reason;

    #[test]
    fn what_one_side_refuses_the_other_understands() {
        for (refused, understood) in [
            (Reason::BadRequest, Reason::BadRequest),
            (Reason::PolicyDenied, Reason::PeerDenied),
            (Reason::NoRuleAllows, Reason::PeerDenied),
            (Reason::UpstreamRefused, Reason::UpstreamRefused),
            (Reason::UpstreamTimedOut, Reason::UpstreamTimedOut),
            (Reason::UpstreamUnreachable, Reason::UpstreamUnreachable),
            (Reason::RelayExhausted, Reason::RelayExhausted),
            (Reason::Draining, Reason::PeerFailed),
            (Reason::SocketUnavailable, Reason::PeerFailed),
        ] {
            let answer = hbone::refusal(&refusal(refused), "because \"so\"");
            let said = hbone::proxy_status(answer.headers()).unwrap();
            assert_eq!(said.details, "because \"so\"");
            assert_eq!(reason(answer.status(), Some(&said)), Some(understood), "{refused:?}");
        }
    }

    #[test]
    fn foreign_answers_are_understood_too() {
        assert_eq!(reason(StatusCode::OK, None), None);
        assert_eq!(reason(StatusCode::SERVICE_UNAVAILABLE, None), Some(Reason::PeerFailed));
        assert_eq!(reason(StatusCode::FORBIDDEN, None), Some(Reason::PeerDenied));
        assert_eq!(reason(StatusCode::NOT_FOUND, None), Some(Reason::PeerNotHbone));
        assert_eq!(reason(StatusCode::NO_CONTENT, None), Some(Reason::PeerNotHbone));
    }
}
