//! What a connect of a wired pod towards one destination becomes, once its policy allows it.

use crate::abi::{Backend, Reason, Workload};
use crate::policy::Mtls;

/// What is known of the destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Destination {
    /// Flags of the pod at that address ([`Workload`]), 0 when no pod is known there.
    pub flags: u32,
    /// A pod is known there.
    pub known: bool,
    /// Flags of the Service's endpoint that was picked ([`Backend`]), 0 when the address was dialled.
    pub endpoint: u16,
}

/// What is known of the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source {
    /// A published tuple of this node is proof (SEMANTICS 2.2).
    pub local_proof: bool,
    /// `encryption: Always` holds for the pod.
    pub encrypt_always: bool,
    /// Every pod that there is is known by its address.
    pub knows_all: bool,
    /// TCP; UDP has no mTLS yet (SEMANTICS 4.5).
    pub tcp: bool,
}

/// The transport of a connection (SEMANTICS 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// Kernel to kernel on this node, identity proven by the tuple.
    Direct,
    /// Plaintext to where nothing can be proven.
    Plaintext,
    /// Through the tunnel, both names proven by mTLS.
    Tunnel,
    /// Refused, and why.
    Refused(Reason),
}

/// Chooses the transport. `mtls` is a [`Mtls`] number of the rule that allowed.
#[inline(always)]
#[must_use]
pub const fn transport(source: Source, destination: Destination, mtls: u8) -> Transport {
    let enrolled = destination.flags & Workload::ENROLLED != 0;
    let local = destination.flags & Workload::LOCAL != 0;
    // The pod is on its way in or out. Without it neither its group, which rules are by, nor the name
    // to be proven is known; and whoever has the address by now may be another.
    if destination.endpoint & Backend::ENROLLED != 0 && !enrolled {
        return Transport::Refused(Reason::PeerUnknown);
    }
    if mtls == Mtls::Off as u8 {
        return Transport::Plaintext;
    }
    if !enrolled {
        let known = destination.known || destination.endpoint & Backend::PICKED != 0;
        return if mtls == Mtls::Required as u8 {
            Transport::Refused(Reason::EgressMtlsRequired)
        } else if !known && !source.knows_all {
            Transport::Refused(Reason::PeersIncomplete)
        } else {
            Transport::Plaintext
        };
    }
    if !source.tcp {
        return if local && source.local_proof {
            Transport::Direct
        } else if mtls == Mtls::Required as u8 {
            Transport::Refused(Reason::EgressMtlsRequired)
        } else {
            Transport::Plaintext
        };
    }
    let always = source.encrypt_always || destination.flags & Workload::ENCRYPT_ALWAYS != 0;
    if !local || !source.local_proof || always {
        return Transport::Tunnel;
    }
    Transport::Direct
}

#[cfg(test)]
mod tests {
    use super::{Destination, Source, Transport, transport};
    use crate::abi::{Backend, Reason, Workload};
    use crate::policy::Mtls;

    const SOURCE: Source = Source { local_proof: true, encrypt_always: false, knows_all: true, tcp: true };
    const LOCAL: Destination = pod(Workload::ENROLLED | Workload::LOCAL);
    const REMOTE: Destination = pod(Workload::ENROLLED);
    const PLAIN: Destination = pod(0);
    const STRANGER: Destination = Destination { flags: 0, known: false, endpoint: 0 };
    const ALL: [Mtls; 3] = [Mtls::Preferred, Mtls::Required, Mtls::Off];

    const fn pod(flags: u32) -> Destination {
        Destination { flags, known: true, endpoint: 0 }
    }

    #[test]
    fn an_endpoint_that_is_an_enrolled_pod_is_never_reached_in_plaintext_for_want_of_the_pod() {
        let endpoint = Backend::PICKED | Backend::ENROLLED;
        for (before, mtls) in [STRANGER, PLAIN].into_iter().flat_map(|one| ALL.map(|mtls| (one, mtls))) {
            for tcp in [true, false] {
                let source = Source { tcp, ..SOURCE };
                let refused = transport(source, Destination { endpoint, ..before }, mtls as u8);
                assert_eq!(refused, Transport::Refused(Reason::PeerUnknown), "{before:?} {mtls:?}");
            }
        }
        let known = Destination { endpoint, ..REMOTE };
        assert_eq!(transport(SOURCE, known, Mtls::Preferred as u8), Transport::Tunnel);
    }

    #[test]
    fn where_not_every_pod_is_known_an_unknown_address_is_refused() {
        let source = Source { knows_all: false, ..SOURCE };
        let preferred = |destination| transport(source, destination, Mtls::Preferred as u8);
        assert_eq!(preferred(STRANGER), Transport::Refused(Reason::PeersIncomplete));
        assert_eq!(preferred(PLAIN), Transport::Plaintext);
        assert_eq!(preferred(Destination { endpoint: Backend::PICKED, ..STRANGER }), Transport::Plaintext);
        assert_eq!(preferred(REMOTE), Transport::Tunnel);
        assert_eq!(transport(source, STRANGER, Mtls::Off as u8), Transport::Plaintext);
    }

    #[test]
    fn plain_bytes_to_an_enrolled_pod_leave_the_node_only_when_egress_says_off() {
        for mtls in [Mtls::Preferred, Mtls::Required] {
            assert_eq!(transport(SOURCE, REMOTE, mtls as u8), Transport::Tunnel);
        }
        assert_eq!(transport(SOURCE, REMOTE, Mtls::Off as u8), Transport::Plaintext);
    }

    #[test]
    fn same_node_is_direct_while_the_tuple_is_proof() {
        assert_eq!(transport(SOURCE, LOCAL, Mtls::Required as u8), Transport::Direct);
        let without = Source { local_proof: false, ..SOURCE };
        assert_eq!(transport(without, LOCAL, Mtls::Preferred as u8), Transport::Tunnel);
    }

    #[test]
    fn encryption_always_needs_the_tunnel_on_one_node_too() {
        let source = Source { encrypt_always: true, ..SOURCE };
        let destination = pod(Workload::ENROLLED | Workload::LOCAL | Workload::ENCRYPT_ALWAYS);
        for (source, destination) in [(source, LOCAL), (SOURCE, destination)] {
            assert_eq!(transport(source, destination, Mtls::Preferred as u8), Transport::Tunnel);
        }
    }

    #[test]
    fn a_stranger_gets_plaintext_unless_required() {
        assert_eq!(transport(SOURCE, STRANGER, Mtls::Preferred as u8), Transport::Plaintext);
        assert_eq!(
            transport(SOURCE, STRANGER, Mtls::Required as u8),
            Transport::Refused(Reason::EgressMtlsRequired)
        );
    }

    #[test]
    fn udp_has_no_tunnel_and_is_plaintext_across_nodes_unless_required() {
        let udp = Source { tcp: false, ..SOURCE };
        assert_eq!(transport(udp, REMOTE, Mtls::Preferred as u8), Transport::Plaintext);
        assert_eq!(transport(udp, LOCAL, Mtls::Required as u8), Transport::Direct);
        assert_eq!(
            transport(udp, REMOTE, Mtls::Required as u8),
            Transport::Refused(Reason::EgressMtlsRequired)
        );
    }
}
