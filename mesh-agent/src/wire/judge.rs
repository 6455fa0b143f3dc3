//! Is an open connection still allowed: which side of it a pod is, who the peer is, what the
//! present policy says (SEMANTICS 5.5). Pure over what it is told of flows and peers.

#[cfg(test)]
mod tests;

use mesh_ebpf::abi::{Flow, FlowKey, Origin, Pod, ProbeKey, Reason, Settings, TCP, TUNNEL_PORT, Workload};
use mesh_ebpf::address::Address;
use mesh_ebpf::egress::{self, Destination, Source, Transport};
use mesh_ebpf::policy::{self, Direction, Mtls, Peer, Question, Rulings, SetId};

use super::sockets::Socket;

/// A connection as one of its sockets shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Connection {
    /// The pod's side and the other, as if the pod had connected.
    pub(super) tuple: FlowKey,
    /// Cookie of the pod's socket.
    pub(super) cookie: u64,
    /// A socket of the pod listens on its port.
    pub(super) listening: bool,
    /// The cgroup that its socket, or the listener, was made in; 0 where nobody knows.
    pub(super) cgroup: u64,
}

impl Connection {
    /// As its socket shows it. `listening` tells at which ports the pod listens.
    pub(super) fn of(socket: &Socket, listening: impl Fn(u16) -> bool) -> Self {
        Self {
            tuple: socket.outgoing(),
            cookie: socket.cookie(),
            listening: listening(socket.local.1),
            cgroup: socket.cgroup,
        }
    }
}

/// What is known of the mesh: the kernel's maps, or a test's own.
pub(super) trait Known: Rulings {
    /// The published flow of a tuple.
    fn flow(&self, key: &FlowKey) -> Option<Flow>;
    /// The flow that the pod's own socket of a connection published.
    fn own_flow(&self, connection: &Connection) -> Option<Flow> {
        self.flow(&connection.tuple).filter(|flow| flow.cookie == connection.cookie)
    }
    /// The pod of an address.
    fn workload(&self, address: &Address) -> Option<Workload>;
    /// A probe declares this port.
    fn probe(&self, key: &ProbeKey) -> bool;
    /// The node's settings.
    fn settings(&self) -> Settings;
    /// Whether a cgroup is an agent's.
    fn is_agent(&self, cgroup: u64) -> bool;
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

/// A connection that is a pod's with somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subject {
    /// Which side the pod is on.
    pub(super) side: Side,
    /// The pod's side and the other, as if the pod had connected. Through the tunnel the other is
    /// the endpoint behind it.
    pub(super) tuple: FlowKey,
    /// Through the tunnel: relay reports it, and relay's peer judges its other end.
    pub(super) tunnelled: bool,
}

/// Why a connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Denial {
    /// What is to be closed.
    pub(super) subject: Subject,
    /// The set that denies.
    pub(super) set: SetId,
    /// Its rule.
    pub(super) rule: u16,
    /// Why.
    pub(super) reason: Reason,
}

/// What a connection in a pod's namespace is to the pod's policy: `None` within the pod, for the
/// agent's own sockets in there (tunnels, deliveries, what it accepted), whose ends relay judges by
/// the names that mTLS proved, and for what relay routes, where it judges each endpoint.
pub(super) fn subject(known: &impl Known, pod: &Pod, connection: &Connection) -> Option<Subject> {
    let tuple = &connection.tuple;
    let mine = known.own_flow(connection);
    if mine.is_some_and(|flow| flow.flags & Flow::ENGINE != 0) {
        return None;
    }
    if let Some(flow) = mine.filter(|flow| flow.flags & Flow::TUNNELLED != 0) {
        let group = known.workload(&flow.endpoint).map_or(0, |workload| workload.group);
        return Some(Subject {
            side: Side {
                direction: Direction::Egress,
                peer: Peer::Proven(group),
                origin: Origin::Pod,
                peer_uid: 0,
                reporter: None,
            },
            tuple: FlowKey {
                destination: flow.endpoint,
                destination_port: flow.endpoint_port,
                ..connection.tuple
            },
            tunnelled: true,
        });
    }
    let of_the_agent = mine.is_some_and(|flow| flow.origin == Origin::Agent as u8)
        || (mine.is_none() && known.is_agent(connection.cgroup));
    let other = &tuple.destination;
    let within = pod.owns(other) || other.is_loopback() || other.is_redirect();
    if of_the_agent || within || accepted_by_the_tunnel(known, tuple) {
        return None;
    }
    Some(Subject { side: side(known, connection), tuple: *tuple, tunnelled: false })
}

/// A tunnel from elsewhere: to its port, and not from a pod of this node that the kernel vouches for,
/// whose connections to that port are the application's.
pub(super) fn accepted_by_the_tunnel(known: &impl Known, tuple: &FlowKey) -> bool {
    let proven =
        |flow: Flow| flow.origin == Origin::Pod as u8 && known.settings().flags & Settings::LOCAL_PROOF != 0;
    tuple.protocol == TCP
        && tuple.source_port == TUNNEL_PORT
        && known.flow(tuple).is_none()
        && !known.flow(&tuple.reversed()).is_some_and(proven)
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
        // The kernel programs do not report what relay has connected for the pod.
        let reporter = Some(connection.cookie).filter(|_| !known.is_agent(connection.cgroup));
        return egress(Origin::Pod, reporter);
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
        Origin::Answer | Origin::Unproven | Origin::Agent => ingress(claimed, Origin::Unproven, 0, None),
    }
}

/// Whether an open connection of `pod` is to be closed. `older` says that it was there before the
/// pod was wired: then only a rule that denies it by name closes it, since live enrolment touches
/// new connections only (SEMANTICS 1.2).
pub(super) fn judge(known: &impl Known, pod: &Pod, connection: &Connection, older: bool) -> Option<Denial> {
    let subject = subject(known, pod, connection)?;
    let Subject { side, tuple, tunnelled } = subject;
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
    let denial = |reason| Denial { subject, set, rule: verdict.rule, reason };
    // What relay has connected for the pod it judges by request; for the sake of an audit nothing ends.
    if verdict.deferred && (older || verdict.audit_denies || known.is_agent(connection.cgroup)) {
        return None;
    }
    if !verdict.allowed {
        let reason = Reason::of_rule(verdict.rule);
        let named = reason == Reason::PolicyDenied;
        return (!older || named).then(|| denial(reason));
    }
    if side.direction == Direction::Egress && !older && !tunnelled {
        return refused_transport(known, pod, &tuple, verdict.mtls).map(denial);
    }
    None
}

/// A destination that the egress policy now wants encrypted or proven, by a connection that is not
/// in the tunnel. That one has become enrolled since is no reason: live enrolment touches new
/// connections only.
fn refused_transport(known: &impl Known, pod: &Pod, tuple: &FlowKey, mtls: u8) -> Option<Reason> {
    let source = Source {
        local_proof: known.settings().flags & Settings::LOCAL_PROOF != 0,
        encrypt_always: pod.flags & Pod::ENCRYPT_ALWAYS != 0,
        // What was not known at the connect is known no better now.
        knows_all: true,
        tcp: tuple.protocol == TCP,
    };
    let there = known.workload(&tuple.destination);
    let flags = there.map_or(0, |workload| workload.flags);
    let destination = Destination { flags, known: there.is_some(), endpoint: 0 };
    match egress::transport(source, destination, mtls) {
        Transport::Refused(Reason::EgressMtlsRequired) => Some(Reason::EgressMtlsRequired),
        Transport::Tunnel if mtls == Mtls::Required as u8 => Some(Reason::EgressMtlsRequired),
        _ => None,
    }
}
