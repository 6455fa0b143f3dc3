//! How a pod may go to an endpoint, and by which transport: what the kernel decides of a connect to
//! it, for what relay connects in the pod's name.

use std::net::SocketAddr;

use mesh_ebpf::abi::{Backend, Reason, TCP};
use mesh_ebpf::address::Address;
use mesh_ebpf::egress::{Destination, Source, Transport, transport};
use mesh_ebpf::policy::{Mtls, Peer, Question, rule};

use crate::relay::tunnel::failure::Failure;
use crate::relay::world::{Resident, Whereabouts, World};

/// An endpoint that a Service or the application named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Where it is.
    pub at: SocketAddr,
    /// A Service picked it.
    pub picked: bool,
    /// The Service says that it is an enrolled pod.
    pub enrolled: bool,
}

/// A way that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    /// The transport; never a refusal.
    pub transport: Transport,
    /// The rule of the pod's egress set that admitted it.
    pub rule: u16,
    /// The rule by which the Audit policies would have denied it.
    pub audit_rule: Option<u16>,
    /// Whether it depends on each request.
    pub deferred: bool,
    /// The group of the pod there, 0 where there is none, or several.
    pub group: u64,
}

/// What the egress policy is asked about an endpoint.
pub(crate) fn question(there: Option<Whereabouts>, at: SocketAddr) -> Question {
    let group = there.map_or(0, |there| there.group);
    Question { peer: Peer::Proven(group), address: Address::from(at.ip()), protocol: TCP, port: at.port() }
}

/// The way of a pod to an endpoint.
///
/// # Errors
/// When its egress policy denies it, or what the policy wants of the transport cannot be had.
pub(crate) fn way(world: &World, pod: &Resident, to: Endpoint) -> Result<Way, Failure> {
    let there = world.whereabouts(to.at.ip());
    let group = there.map_or(0, |there| there.group);
    if pod.addresses.contains(&to.at.ip()) {
        // The pod itself: always allowed and never in the tunnel (SEMANTICS 6.4).
        let transport = Transport::Direct;
        return Ok(Way { transport, rule: rule::DEFAULT, audit_rule: None, deferred: false, group });
    }
    let verdict = pod.egress.decide(&question(there, to.at));
    if !verdict.allowed && !verdict.deferred {
        return Err(denied(pod, verdict.rule, to.at));
    }
    let source = Source {
        local_proof: world.has_local_proof(),
        encrypt_always: pod.encrypt_always,
        // Unlike the kernel's maps, what relay knows has no bound to outgrow.
        knows_all: true,
        tcp: true,
    };
    let mut endpoint = 0;
    if to.picked {
        endpoint |= Backend::PICKED;
    }
    if to.enrolled {
        endpoint |= Backend::ENROLLED;
    }
    let flags = there.map_or(0, |there| there.flags);
    let destination = Destination { flags, known: there.is_some(), endpoint };
    // Of what depends on the request another rule may allow it than the one that put it off; by the
    // tunnel or with proof every rule is satisfied, and that plaintext is allowed is asked with each request.
    let mtls = if verdict.deferred { Mtls::Preferred as u8 } else { verdict.mtls };
    match transport(source, destination, mtls) {
        Transport::Refused(reason) => Err(refused(pod, reason, to.at)),
        transport => Ok(Way {
            transport,
            rule: verdict.rule,
            audit_rule: (verdict.allowed && verdict.audit_denies).then_some(verdict.audit_rule),
            deferred: verdict.deferred,
            group,
        }),
    }
}

fn denied(pod: &Resident, number: u16, to: SocketAddr) -> Failure {
    let by = match (pod.egress.rule(number), number) {
        (Some((policy, rule)), _) => format!("{policy} {rule}"),
        (None, rule::MISSING) => "its policy, which is not there yet".to_owned(),
        (None, _) => "MeshConfig/default defaults.egress".to_owned(),
    };
    let text = format!("{}/{} may not connect to {to}: {by}", pod.namespace, pod.name);
    Failure::new(Reason::of_rule(number), text)
}

fn refused(pod: &Resident, reason: Reason, to: SocketAddr) -> Failure {
    let why = match reason {
        Reason::EgressMtlsRequired => "the rule that allows it requires mTLS, and no enrolled pod is there",
        Reason::PeerUnknown => "its Service says that it is an enrolled pod, and no pod is known there",
        _ => "no transport that the policy allows leads there",
    };
    Failure::new(reason, format!("{}/{} to {to}: {why}", pod.namespace, pod.name))
}
