//! What each reason means and what to check: the one place for the texts of log, admin socket and
//! `meshctl explain`.

use mesh_ebpf::abi::Reason;

/// What to tell people of a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    /// What it means, in one line.
    pub meaning: &'static str,
    /// What to look at; empty where nothing is wrong.
    pub check: &'static str,
}

/// Whether a reason tells of something that failed on the way through the tunnel, and not of a
/// decision or an ordinary end.
pub(crate) const fn is_failure(reason: Reason) -> bool {
    let numbered = reason as u16 >= Reason::NoCertificate as u16;
    matches!(reason, Reason::ListenerMissing) || (numbered && !is_denial(reason))
}

/// Whether a reason is a decision of a policy, or of the mesh for want of one: what `denied` means.
/// Anything else that never opened has failed, whoever gave up.
pub(crate) const fn is_denial(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::PolicyDenied
            | Reason::NoRuleAllows
            | Reason::DefaultDenied
            | Reason::MtlsRequired
            | Reason::EgressMtlsRequired
            | Reason::PolicyMissing
            | Reason::PolicyChanged
            | Reason::L7RequiredNotHttp
    )
}

/// Of connections and requests alike.
const NO_ROUTE: (&str, &str) = (
    "routes are attached to the Service's port, and no rule of them takes the request (404), or the server name that a TLS client asks for",
    "`meshctl explain svc/NAME` for the routes that apply to this caller, in order",
);

/// What to tell of a reason.
pub(crate) const fn told(reason: Reason) -> Told {
    let (meaning, check) = match reason {
        Reason::None => ("", ""),
        Reason::PolicyDenied => ("a rule denies it", "the policy and the rule that the line names"),
        Reason::NoRuleAllows => (
            "a policy selects the pod and no rule of it allows this",
            "whether a rule names this source or destination and this container port",
        ),
        Reason::DefaultDenied => (
            "MeshConfig denies what no policy decides",
            "`spec.defaults.access`, `spec.defaults.egress.access` and `spec.namespaces[]` of MeshConfig",
        ),
        Reason::MtlsRequired => (
            "MeshConfig requires mTLS and the source is not proven",
            "whether the source is enrolled and wired: `meshctl status`",
        ),
        Reason::EgressMtlsRequired => (
            "the egress rule requires mTLS, and the destination is not enrolled; or it is UDP, and not to a pod of the same node that the kernel proves to",
            "whether the destination is to be enrolled, or the rule's `mtls` is too strict; UDP has no tunnel",
        ),
        Reason::ListenerMissing => (
            "the agent's listener is not there, so the tunnel cannot be reached",
            "the log of `mesh-agent wire` on this node; a pod that was just wired gets its listener at once. A network namespace that the pod nested in its own has none",
        ),
        Reason::PolicyMissing => (
            "the pod's compiled policy is not in the kernel yet",
            "`meshctl status`: is relay connected to wire and to the controller?",
        ),
        Reason::NoEndpoint => (
            "the Service has no endpoint",
            "readiness of its pods, `internalTrafficPolicy`, names of target ports",
        ),
        Reason::PodPending => ("the pod is enrolled and not wired yet", "`meshctl status` names why"),
        Reason::PodUnknown => (
            "discovery does not know the pod and `enrolment.unknown` is Closed",
            "whether the controller sees the pod, and is connected: `meshctl status`",
        ),
        Reason::FlowQuota => (
            "the pod has 131,072 connections open, or 512 while three quarters of the node's 262,144 are taken, or sends UDP on more than 20,000 new tuples in a second",
            "connections that the application does not close, sockets it makes for every datagram",
        ),
        Reason::SourceSpoofed => (
            "the packet's source address is not the pod's",
            "raw sockets, routes and container networks of the pod's own",
        ),
        Reason::NeighbourSpoofed => (
            "the ARP or neighbour-discovery sender is not the pod's",
            "raw sockets, routes and container networks of the pod's own",
        ),
        Reason::NotPublished => (
            "no socket that the mesh saw sent this",
            "NAT in the pod's namespace, nested namespaces, raw sockets",
        ),
        Reason::ProtocolDenied => (
            "a protocol other than TCP and UDP under default deny",
            "whether the pod needs it: rules can name TCP and UDP ports only",
        ),
        Reason::Malformed => ("the packet cannot be judged", "path MTU, and who sends such packets"),
        Reason::AddressUnknown => {
            ("to an address that the pod is not known by", "secondary addresses in the pod")
        }
        Reason::VipHidden => (
            "another load balancer translated the Service address before the mesh saw it",
            "socket load balancing of the CNI plugin: turn it off for enrolled pods",
        ),
        Reason::PeerUnknown => (
            "the Service's endpoint is an enrolled pod that this node does not know (yet, or any more), so it is not reached in plaintext",
            "whether it goes on: `meshctl status` names what discovery could not deliver",
        ),
        Reason::PeersIncomplete => (
            "nobody is known at the address, and the node has no room for every pod of the mesh",
            "`meshctl status`: more pods than a node can know; a rule with `mtls: Off` opens addresses outside the mesh",
        ),
        Reason::DeliveryUnknown => (
            "from an address that only relay delivers from, without a delivery of relay's",
            "`mesh_kernel_flows_full_total` and `mesh_kernel_socket_storage_failed_total` of this node: a delivery found no room",
        ),
        Reason::Finished => ("both sides finished", ""),
        Reason::Reset => ("reset by either side", "the logs of both applications"),
        Reason::Refused => (
            "refused by the destination: nothing listens there, or its policy refuses",
            "whether the application listens, and the refusals of the destination's node",
        ),
        Reason::TimedOut => ("no answer", "routes and packet filters between the nodes"),
        Reason::Unreachable => ("unreachable", "routes between the nodes"),
        Reason::Cancelled => ("the application gave up connecting", "its connect timeout"),
        Reason::PolicyChanged => (
            "closed by the mesh after a policy change denied it",
            "what changed in the policies that select the pod",
        ),
        Reason::EndpointGone => (
            "closed by the mesh because its endpoint, or the pod itself, is gone",
            "whether the pod was to end; if it is there, whether discovery is fresh: `meshctl status`",
        ),
        Reason::NoCertificate => (
            "the pod's identity has no valid certificate yet",
            "`meshctl identity` for the last renewal error, and `meshctl ca status`: does the controller run and issue?",
        ),
        Reason::CertificateUntrusted => (
            "the peer's certificate does not chain to a root of the trust domain",
            "`meshctl ca status`: do both nodes have the root that issued it? A peer outside this mesh needs its certificates from the same root",
        ),
        Reason::CertificateExpired => (
            "the peer's certificate has expired",
            "the clocks of both nodes, and `meshctl identity --expiring 1h` for why the peer did not renew",
        ),
        Reason::CertificateNotYetValid => {
            ("the peer's certificate is not valid yet", "the clocks of both nodes and of the controller")
        }
        Reason::CertificateRevoked => (
            "the peer's certificate was issued to a node that has been removed",
            "whether the node was to be removed; if not, let it join again: `meshctl ca join NODE`",
        ),
        Reason::TrustDomainMismatch => (
            "the peer's identity is of another trust domain",
            "`spec.trustDomain` of the MeshConfig on both sides; two meshes may share these addresses",
        ),
        Reason::NameMismatch => (
            "the peer proved another identity than the destination's pod has",
            "whether the address was given to another pod just now (a retry then works), and whether discovery is fresh: `meshctl status`",
        ),
        Reason::NoClientCertificate => (
            "the peer showed no certificate",
            "what connects to port 15008: only a mesh agent with a certificate is served there",
        ),
        Reason::TlsFailed => (
            "the TLS handshake failed",
            "the detail of the line; whether something between the nodes ends TLS, and whether the peer speaks TLS 1.3",
        ),
        Reason::TunnelRefused => (
            "the tunnel port of the destination's pod answered with a RST",
            "whether the destination's agent runs and its pod is wired: `meshctl status`; a NetworkPolicy or firewall may reject port 15008",
        ),
        Reason::TunnelTimedOut => (
            "the tunnel port of the destination's pod does not answer",
            "NetworkPolicies, security groups and firewalls between the nodes: TCP 15008 must be let through",
        ),
        Reason::TunnelUnreachable => (
            "there is no route to the destination's pod",
            "routes between the nodes, and whether the destination's node is up",
        ),
        Reason::PeerNotHbone => (
            "what answers at the tunnel port does not speak HBONE",
            "which process of the destination's pod or node listens at 15008, and whether the destination is enrolled there",
        ),
        Reason::PeerDenied => (
            "the destination's policy refused it",
            "`meshctl can SRC DST`, and `meshctl explain --node` of the destination's node, which names the rule",
        ),
        Reason::PeerFailed => (
            "the tunnel's other end reset the connection or went away",
            "whether the destination's agent was restarted or its pod ended: the log of relay there",
        ),
        Reason::UpstreamRefused => (
            "the destination's application refused the connection",
            "whether it listens at this port, on the pod's address and not on 127.0.0.1 only",
        ),
        Reason::UpstreamTimedOut => (
            "the destination's application did not answer",
            "whether its accept queue is full, or a packet filter in the pod drops",
        ),
        Reason::UpstreamUnreachable => (
            "the destination's application cannot be reached from its own node",
            "addresses and routes inside the destination's pod",
        ),
        Reason::BadRequest => (
            "the tunnel request was malformed, or not for this pod",
            "the peer's version and view of discovery: the `:authority` must be an address and port of the pod that was dialled",
        ),
        Reason::RelayExhausted => (
            "relay is at a bound of its own: open files, handshakes or streams",
            "`mesh_tunnel_*` metrics of the node for what is full; the open-file limit of `mesh-agent relay`",
        ),
        Reason::Draining => (
            "relay is shutting down",
            "nothing if relay was restarted or upgraded: a retry goes to the next one",
        ),
        Reason::FlowUnknown => (
            "a connection at the pod's outbound listener that no socket of the pod published",
            "what in the pod connects to 127.64.0.0/10 by itself; `mesh_kernel_flows_full_total`",
        ),
        Reason::SocketUnavailable => (
            "wire gave no socket in the pod's namespace",
            "whether `mesh-agent wire` runs on this node and the pod still does: `meshctl status`",
        ),
        Reason::L7RequiredNotHttp => (
            "only rules about requests would allow it, and it does not speak HTTP",
            "whether the port is one of HTTP; a rule without `http` and `grpc` lets a source through whatever it speaks",
        ),
        Reason::NoRoute => NO_ROUTE,
    };
    Told { meaning, check }
}

#[cfg(test)]
mod tests {
    use super::{is_denial, is_failure, told};
    use mesh_ebpf::abi::Reason;

    #[test]
    fn every_reason_has_its_texts_and_every_failure_says_what_to_check() {
        let documentation = include_str!("../../../../docs/telemetry.md");
        for reason in Reason::ALL.into_iter().filter(|reason| *reason != Reason::None) {
            let told = told(reason);
            assert!(!told.meaning.is_empty(), "{reason:?}");
            assert!(!is_failure(reason) || !told.check.is_empty(), "{reason:?}");
            assert!(!(is_failure(reason) && is_denial(reason)), "{reason:?}");
            assert!(!told.meaning.ends_with('.') && !told.check.ends_with('.'), "{reason:?}");
            assert!(
                documentation.contains(&format!("`{}`", reason.name())),
                "docs/telemetry.md lacks {reason:?}"
            );
        }
        assert!(is_failure(Reason::SocketUnavailable) && !is_failure(Reason::EndpointGone));
    }
}
