//! What each way for a request to end means, and what to check.

use mesh_ebpf::abi::Reason;

use crate::relay::engine::record::Ending;
use crate::relay::telemetry::reasons::{self, Told};

/// Whether a request that ended so was refused by the mesh or failed on the way, other than by policy.
pub(super) const fn is_failure(ending: Ending) -> bool {
    match ending {
        Ending::Forwarded
        | Ending::Answered
        | Ending::Switched
        | Ending::ClientGone
        | Ending::Denied
        | Ending::Revoked => false,
        Ending::NoRoute
        | Ending::BadRoute
        | Ending::BadRequest
        | Ending::HeadTooLarge
        | Ending::ClientTimeout
        | Ending::ClientStuck
        | Ending::NoEndpoint
        | Ending::ConnectFailed
        | Ending::Overflow
        | Ending::UpstreamReset
        | Ending::UpstreamProtocol
        | Ending::TimedOut => true,
    }
}

/// What to tell of an ending.
pub(crate) const fn told(ending: Ending) -> Told {
    let (meaning, check) = match ending {
        Ending::Forwarded => ("the endpoint's answer went to the client whole", ""),
        Ending::Answered => ("a route answered by itself: a redirect, or a CORS preflight", ""),
        Ending::Switched => ("the connection was switched to another protocol, and ended", ""),
        Ending::NoRoute => return reasons::told(Reason::NoRoute),
        Ending::BadRoute => (
            "the rule that matches cannot be applied: a backend or a filter of it is not valid (500)",
            "the route's conditions, `ResolvedRefs` and `Accepted`; the detail of the line",
        ),
        Ending::Denied => (
            "a policy denies the request (403; gRPC PERMISSION_DENIED)",
            "the policy and the rule that the line names; `meshctl can SRC DST METHOD PATH`",
        ),
        Ending::BadRequest => (
            "the request is not what HTTP allows, or its path cannot be normalised safely (400)",
            "the detail of the line, and the client that sends it",
        ),
        Ending::HeadTooLarge => (
            "the request's head is over its bound (431, 414)",
            "cookies and other headers that grow; the detail of the line has the bound",
        ),
        Ending::ClientTimeout => {
            ("the client did not finish the request in time (408)", "the client, and the network to it")
        }
        Ending::ClientGone => ("the client went away before the answer was whole", ""),
        Ending::ClientStuck => {
            ("the client took nothing of the answer for too long", "whether the client reads its connection")
        }
        Ending::NoEndpoint => return reasons::told(Reason::NoEndpoint),
        Ending::ConnectFailed => (
            "no endpoint could be connected (503)",
            "the detail of the line; what `meshctl explain` tells of connections to this endpoint",
        ),
        Ending::Overflow => (
            "relay is at a bound of its own: requests or connections of one pod (503)",
            "`mesh_engine_connections_open`, and whether the endpoints answer in time",
        ),
        Ending::UpstreamReset => (
            "the endpoint closed or reset the connection before its answer was whole",
            "the application's log, its keep-alive timeout, and whether its pod ended",
        ),
        Ending::UpstreamProtocol => (
            "the endpoint's answer is not what HTTP allows",
            "`appProtocol` and the name of the Service's port, and what the application speaks there",
        ),
        Ending::TimedOut => (
            "the route's timeout passed (504)",
            "`timeouts` of the route's rule, and how long the backend takes",
        ),
        Ending::Revoked => (
            "ended by the mesh while it was open: its policy changed, or its endpoint is gone",
            "what changed in the policies that select the pod, and whether the pod was to end",
        ),
    };
    Told { meaning, check }
}

#[cfg(test)]
mod tests {
    use super::{is_failure, told};
    use crate::relay::engine::record::Ending;
    use crate::relay::telemetry::reasons;
    use mesh_ebpf::abi::Reason;

    #[test]
    fn every_ending_has_its_texts_and_shares_a_name_only_with_the_same() {
        let documentation = include_str!("../../../../../docs/telemetry.md");
        for ending in Ending::ALL {
            let told = told(ending);
            assert!(!told.meaning.is_empty() && !told.meaning.ends_with('.'), "{ending:?}");
            assert!(!is_failure(ending) || !told.check.is_empty(), "{ending:?}");
            assert!(!told.check.ends_with('.'), "{ending:?}");
            let row = format!("\n| `{}` |", ending.name());
            assert!(documentation.contains(&row), "docs/telemetry.md lacks {ending:?}");
            if let Some(reason) = Reason::ALL.into_iter().find(|reason| reason.name() == ending.name()) {
                assert_eq!(reasons::told(reason), told, "{ending:?}");
            }
        }
    }
}
