//! Is an open connection still allowed: which side of it a pod is, who the peer is, what the
//! present policy says (SEMANTICS 5.5). Pure over what it is told of flows and peers.

#[cfg(test)]
mod tests;

use mesh_ebpf::abi::{Flow, FlowKey, Origin, Pod, ProbeKey, Reason, Settings, TCP, Workload};
use mesh_ebpf::address::Address;
use mesh_ebpf::egress::{self, Destination, Source, Transport};
use mesh_ebpf::policy::{self, Direction, Peer, Question, Rulings, SetId, Verdict};

/// A connection as one of its sockets shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Connection {
    /// The pod's side and the other, as if the pod had connected.
    pub(super) tuple: FlowKey,
    /// Cookie of the pod's socket.
    pub(super) cookie: u64,
    /// A socket of the pod listens on its port.
    pub(super) listening: bool,
}

/// What is known of the mesh: the kernel's maps, or a test's own.
pub(super) trait Known: Rulings {
    /// The published flow of a tuple.
    fn flow(&self, key: &FlowKey) -> Option<Flow>;
    /// The pod of an address.
    fn workload(&self, address: &Address) -> Option<Workload>;
    /// A probe declares this port.
    fn probe(&self, key: &ProbeKey) -> bool;
    /// The node's settings.
    fn settings(&self) -> Settings;
}

/// Which side the pod is on and who the other is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Side {
    /// The pod connected, or accepted.
    pub(super) direction: Direction,
    /// The other, as a policy sees it.
    pub(super) peer: Peer,
    /// Who made the connection.
    pub(super) origin: Origin,
    /// UID hash of the peer where proof tells.
    pub(super) peer_uid: u64,
    /// Cookie of the socket whose end the kernel programs will report; none where they know
    /// nothing of the connection or, as for the node's own, do not report it.
    pub(super) reporter: Option<u64>,
}

/// Why a connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Denial {
    /// Which side.
    pub(super) side: Side,
    /// The set that denies.
    pub(super) set: SetId,
    /// Its rule.
    pub(super) rule: u16,
    /// Why.
    pub(super) reason: Reason,
}

/// Tells which side of a connection the pod is on.
pub(super) fn side(known: &impl Known, connection: &Connection) -> Side {
    let tuple = &connection.tuple;
    let remote = known.workload(&tuple.destination);
    let mine = known.flow(tuple).filter(|flow| {
        flow.origin == Origin::Pod as u8 && (flow.cookie == connection.cookie || tuple.protocol != TCP)
    });
    let egress = |origin, reporter| Side {
        direction: Direction::Egress,
        peer: Peer::Proven(remote.map_or(0, |workload| workload.group)),
        origin,
        peer_uid: 0,
        reporter,
    };
    if mine.is_some() {
        return egress(Origin::Pod, Some(connection.cookie));
    }
    let claimed = match remote {
        Some(workload) if workload.flags & Workload::HOST_NETWORK == 0 => Peer::Claimed(workload.group),
        _ => Peer::Unknown,
    };
    let ingress = |peer, origin, peer_uid, reporter| Side {
        direction: Direction::Ingress,
        peer,
        origin,
        peer_uid,
        reporter,
    };
    let Some(theirs) = known.flow(&tuple.reversed()) else {
        // Nobody published it. Of an accepted one the kernel kept a record on the socket.
        return if connection.listening {
            ingress(claimed, Origin::Unproven, 0, Some(connection.cookie))
        } else {
            egress(Origin::Unproven, None)
        };
    };
    // One connection, one report: that of the connecting side, where that is a pod of this node.
    match Origin::from_number(theirs.origin) {
        Origin::Pod if known.settings().flags & Settings::LOCAL_PROOF != 0 => {
            ingress(Peer::Proven(theirs.group), Origin::Pod, theirs.uid, Some(theirs.cookie))
        }
        Origin::Pod => ingress(claimed, Origin::Unproven, 0, Some(theirs.cookie)),
        Origin::Host => ingress(claimed, Origin::Host, 0, None),
        Origin::Answer | Origin::Unproven => ingress(claimed, Origin::Unproven, 0, None),
    }
}

/// Whether an open connection of `pod` is to be closed. `older` says that it was there before the
/// pod was wired: then only a rule that denies it by name closes it, since live enrolment touches
/// new connections only (SEMANTICS 1.2).
pub(super) fn judge(known: &impl Known, pod: &Pod, connection: &Connection, older: bool) -> Option<Denial> {
    let tuple = &connection.tuple;
    if pod.owns(&tuple.destination) || tuple.destination.is_loopback() {
        return None;
    }
    let side = side(known, connection);
    let (set, port) = match side.direction {
        Direction::Egress => (pod.egress, tuple.destination_port),
        Direction::Ingress => (pod.ingress, tuple.source_port),
    };
    if side.direction == Direction::Ingress && side.origin == Origin::Host {
        let probe = ProbeKey { address: tuple.source, port, protocol: tuple.protocol, reserved: 0 };
        if known.probe(&probe) {
            return None;
        }
    }
    let question = Question { peer: side.peer, address: tuple.destination, protocol: tuple.protocol, port };
    let verdict = policy::decide(known, set, &question);
    let denial = |reason| Denial { side, set, rule: verdict.rule, reason };
    if !verdict.allowed {
        let reason = Verdict::reason(verdict.rule);
        let named = reason == Reason::PolicyDenied;
        return (!older || named).then(|| denial(reason));
    }
    if side.direction == Direction::Egress && !older {
        return refused_transport(known, pod, tuple, verdict.mtls).map(denial);
    }
    None
}

/// A destination that the egress policy now wants encrypted or proven. That one has become
/// enrolled since is no reason: live enrolment touches new connections only.
fn refused_transport(known: &impl Known, pod: &Pod, tuple: &FlowKey, mtls: u8) -> Option<Reason> {
    let source = Source {
        local_proof: known.settings().flags & Settings::LOCAL_PROOF != 0,
        encrypt_always: pod.flags & Pod::ENCRYPT_ALWAYS != 0,
        tcp: tuple.protocol == TCP,
    };
    let flags = known.workload(&tuple.destination).map_or(0, |workload| workload.flags);
    match egress::transport(source, Destination { flags }, mtls) {
        Transport::Refused(Reason::EgressMtlsRequired) => Some(Reason::EgressMtlsRequired),
        _ => None,
    }
}
