//! What the data path would do with a connection, from the maps it reads itself.

use std::net::IpAddr;

use mesh_ebpf::abi::{Backend, BackendKey, Class, Pod, Reason, ServiceKey, Settings, TCP, Workload};
use mesh_ebpf::address::Address;
use mesh_ebpf::egress::{self, Destination, Source, Transport};
use mesh_ebpf::policy::{Mtls, Peer, Question, SetId, Verdict, decide};

use super::super::maps::Maps;
use super::View;
use crate::handover::{Can, CanEndpoint};

impl View<'_> {
    pub(super) fn can(&self, source: IpAddr, dialled: (IpAddr, u16), protocol: u8) -> Can {
        let maps = &self.kernel.maps;
        let key = ServiceKey { address: Address::from(dialled.0), port: dialled.1, protocol, reserved: 0 };
        let source = Address::from(source);
        let service = maps.services.get(&key, 0).ok();
        let (service, endpoints) = match service {
            None => (String::new(), vec![To { address: key.address, port: key.port, flags: 0 }]),
            Some(service) => {
                let name = self.content.services.name(service.id).filter(|name| !name.is_empty());
                let name = name.map_or_else(|| format!("service {:#x}", service.id), str::to_owned);
                let slots = (0..service.slots).filter_map(|slot| {
                    let key = BackendKey { service: service.id, generation: service.generation, slot };
                    maps.backends.get(&key, 0).ok().map(|Backend { address, port, flags, .. }| To {
                        address,
                        port,
                        flags,
                    })
                });
                (name, slots.collect())
            }
        };
        let reason = if endpoints.is_empty() { Reason::NoEndpoint } else { Reason::None };
        let asked = Asked { maps, settings: self.held.settings, source, protocol };
        let endpoints = endpoints.into_iter().map(|to| asked.endpoint(to)).collect();
        Can { service, endpoints, reason }
    }
}

/// Where a connection would be led.
#[derive(Clone, Copy)]
struct To {
    address: Address,
    port: u16,
    /// Of the [`Backend`], 0 where no Service was dialled.
    flags: u16,
}

struct Asked<'a> {
    maps: &'a Maps,
    settings: Settings,
    source: Address,
    protocol: u8,
}

impl Asked<'_> {
    fn endpoint(&self, to: To) -> CanEndpoint {
        let mut answer = CanEndpoint {
            destination: (to.address.into(), to.port),
            allowed: true,
            reason: Reason::None,
            egress: None,
            ingress: None,
            audit: None,
            transport: "plaintext".to_owned(),
        };
        let from = self.maps.local_pod(&self.source);
        if to.address == self.source {
            "direct".clone_into(&mut answer.transport);
            return answer;
        }
        let mut proven = false;
        if let Some(pod) = from {
            proven = self.egress(&pod, to, &mut answer);
        }
        if answer.allowed
            && let Some(pod) = self.maps.local_pod(&to.address)
        {
            self.ingress(&pod, from.filter(|_| proven), to.port, &mut answer);
        }
        answer
    }

    /// The source's side; tells whether the destination will see the source's identity proven.
    fn egress(&self, pod: &Pod, to: To, answer: &mut CanEndpoint) -> bool {
        match pod.class() {
            Class::Wired => {}
            Class::Pending => {
                refuse(answer, Reason::PodPending);
                return false;
            }
            _ => return false,
        }
        let there = self.maps.workload(&to.address);
        let peer = Peer::Proven(there.map_or(0, |workload| workload.group));
        let verdict = self.ask(pod.egress, peer, to.address, to.port);
        answer.egress = Some((pod.egress, verdict.rule));
        note_audit(answer, pod.egress, &verdict);
        // What depends on the request is relay's to judge.
        if !verdict.allowed && !verdict.deferred {
            refuse(answer, Reason::of_rule(verdict.rule));
            return false;
        }
        let source = Source {
            local_proof: self.settings.flags & Settings::LOCAL_PROOF != 0,
            encrypt_always: pod.flags & Pod::ENCRYPT_ALWAYS != 0,
            knows_all: self.settings.flags & Settings::PEERS_INCOMPLETE == 0,
            tcp: self.protocol == TCP,
        };
        let flags = there.map_or(0, |workload| workload.flags);
        let destination = Destination { flags, known: there.is_some(), endpoint: to.flags };
        let mtls = if verdict.deferred { Mtls::Preferred as u8 } else { verdict.mtls };
        match egress::transport(source, destination, mtls) {
            Transport::Direct => "direct".clone_into(&mut answer.transport),
            Transport::Tunnel => {
                "tunnel".clone_into(&mut answer.transport);
                // The destination's relay asks by the name that mTLS proves.
                return true;
            }
            Transport::Plaintext => {}
            Transport::Refused(reason) => refuse(answer, reason),
        }
        // A wired pod's tuple is published whatever the transport.
        source.local_proof
    }

    fn ingress(&self, pod: &Pod, proven: Option<Pod>, port: u16, answer: &mut CanEndpoint) {
        match pod.class() {
            Class::Wired => {}
            Class::Pending => return refuse(answer, Reason::PodPending),
            _ => return,
        }
        let peer = match (proven, self.maps.workload(&self.source)) {
            (Some(source), _) => Peer::Proven(source.group),
            // From another node by the tunnel, unless that node's egress policy says `mtls: Off`, and
            // then that node's own answer is plaintext.
            (None, Some(workload)) if self.comes_by_tunnel(workload) => Peer::Proven(workload.group),
            (None, Some(workload)) if workload.flags & Workload::HOST_NETWORK == 0 => {
                Peer::Claimed(workload.group)
            }
            _ => Peer::Unknown,
        };
        let verdict = self.ask(pod.ingress, peer, self.source, port);
        answer.ingress = Some((pod.ingress, verdict.rule));
        note_audit(answer, pod.ingress, &verdict);
        if !verdict.allowed && !verdict.deferred {
            refuse(answer, Reason::of_rule(verdict.rule));
        }
    }

    fn comes_by_tunnel(&self, source: Workload) -> bool {
        let remote = source.flags & (Workload::ENROLLED | Workload::LOCAL) == Workload::ENROLLED;
        self.protocol == TCP && remote
    }

    fn ask(&self, set: SetId, peer: Peer, address: Address, port: u16) -> Verdict {
        decide(self.maps, set, &Question { peer, address, protocol: self.protocol, port })
    }
}

fn refuse(answer: &mut CanEndpoint, reason: Reason) {
    answer.allowed = false;
    answer.reason = reason;
}

fn note_audit(answer: &mut CanEndpoint, set: SetId, verdict: &Verdict) {
    if verdict.allowed && verdict.audit_denies && answer.audit.is_none() {
        answer.audit = Some((set, verdict.audit_rule));
    }
}
