//! What relay says, entry by entry. A wrong entry is refused by name; the rest goes on.

use std::collections::BTreeSet;

use mesh_ebpf::address::Address;
use mesh_ebpf::policy::SetId;

use super::super::content::{PeerChange, check_pod, no_twin, room_for_pod};
use super::Node;
use crate::handover::{Answer, FromWire, LocalPod, Question, ToWire, VERSION, uid_hash};

impl Node {
    /// Takes one message. Those of a relay that has been replaced are void.
    pub(super) fn told(&mut self, session: u64, message: ToWire) {
        if session < self.session {
            return;
        }
        match message {
            ToWire::Hello { .. } => self.hello(session),
            ToWire::Node(settings) => self.unknown_closed = settings.unknown_closed,
            ToWire::Pod(pod) => self.pod(pod),
            ToWire::PodGone { uid } => {
                self.pods.remove(&uid);
                self.epochs.remove(&uid);
            }
            ToWire::Peer(peer) => {
                let epoch = self.parts.content.epoch;
                let set = self.parts.content.peers.set(&mut self.parts.kernel.maps, &peer, epoch);
                match set {
                    Ok(PeerChange::Group) => self.changed.everything = true,
                    Ok(PeerChange::None) => {}
                    Err(error) => self.refuse(format!("peer {}", peer.address), &error),
                }
            }
            ToWire::PeerGone { address } => {
                match self.parts.content.peers.remove(&mut self.parts.kernel.maps, address) {
                    Ok(true) => self.gone.push(Address::from(address)),
                    Ok(false) => {}
                    Err(error) => self.refuse(format!("peer {address}"), &error),
                }
            }
            ToWire::Service(service) => {
                let epoch = self.parts.content.epoch;
                let maps = &mut self.parts.kernel.maps;
                if let Err(error) = self.parts.content.services.set(maps, &service, epoch) {
                    self.refuse(format!("service {}", service.id), &error);
                }
            }
            ToWire::ServiceGone { id } => {
                let maps = &mut self.parts.kernel.maps;
                if let Err(error) = self.parts.content.services.remove(maps, id) {
                    self.refuse(format!("service {id}"), &error);
                }
            }
            ToWire::Set(set) => {
                let epoch = self.parts.content.epoch;
                let maps = &mut self.parts.kernel.maps;
                if let Err(error) = self.parts.content.sets.set(maps, &set, epoch) {
                    self.refuse(format!("set {:#x}", set.id.0), &error);
                }
            }
            ToWire::SetGone { id } => self.parts.content.sets.unwanted(id),
            ToWire::Synced => self.synced(),
            ToWire::Commit { sequence } => self.commits.push(sequence),
            ToWire::Serves { uid, listeners } => {
                if let Err(error) = self.parts.kernel.taken_up(uid_hash(&uid), listeners) {
                    self.refuse(format!("pod {uid}"), &error);
                }
            }
            ToWire::Ask { id, question: Question::Reset { uid, enrolled } } => self.reset(id, &uid, enrolled),
            ToWire::Ask { id, question } => {
                let answer = self.answer(&question);
                self.parts.outbox.say(FromWire::Answer { id, answer });
            }
        }
    }

    /// A relay connected: it is told what is here, and an epoch begins in which it tells its own.
    fn hello(&mut self, session: u64) {
        self.session = session;
        self.parts.content.epoch += 1;
        self.parts.content.peers.begin();
        self.commits.clear();
        let (adopted, succeeds) = (self.parts.adopted, self.parts.succeeds);
        self.parts.outbox.greet(session, FromWire::Hello { version: VERSION, adopted, succeeds });
        for report in self.reported.values() {
            self.parts.outbox.say(FromWire::Pod(report.clone()));
        }
        tracing::info!(node = self.parts.name, session, "relay is connected");
    }

    fn pod(&mut self, pod: LocalPod) {
        let others = self.pods.len() - usize::from(self.pods.contains_key(&pod.uid));
        let hash = uid_hash(&pod.uid);
        let twin = self.pods.keys().find(|uid| **uid != pod.uid && uid_hash(uid) == hash);
        let checked = check_pod(&pod).and_then(|()| no_twin(&pod, twin)).and_then(|()| room_for_pod(others));
        if let Err(error) = checked {
            self.refuse(format!("pod {}", pod.uid), &error);
            return;
        }
        let before = self.pods.get(&pod.uid);
        let same_policy = before.is_some_and(|before| {
            (before.ingress, before.egress, before.group, before.encrypt_always, &before.probe_ports)
                == (pod.ingress, pod.egress, pod.group, pod.encrypt_always, &pod.probe_ports)
        });
        if !same_policy {
            self.changed.pods.insert(pod.uid.clone());
        }
        self.epochs.insert(pod.uid.clone(), self.parts.content.epoch);
        self.pods.insert(pod.uid.clone(), pod);
    }

    /// relay has told its full state: what it did not name goes.
    fn synced(&mut self) {
        self.synced = true;
        let epoch = self.parts.content.epoch;
        let epochs = &mut self.epochs;
        epochs.retain(|_, named| *named == epoch);
        self.pods.retain(|uid, _| epochs.contains_key(uid));
        let named = self.named_sets();
        let gone = self.parts.content.sweep(&mut self.parts.kernel.maps, &named);
        self.gone.extend(gone);
        // A whole state came through in one go.
        crate::sys::memory::give_back();
    }

    /// Sets that a pod names, in the kernel or to be.
    pub(super) fn named_sets(&self) -> BTreeSet<SetId> {
        let wanted = self.pods.values().flat_map(|pod| [pod.ingress, pod.egress]);
        let held = self
            .held
            .cgroups
            .values()
            .chain(self.held.local.values())
            .chain(self.held.interfaces.values())
            .flat_map(|pod| [pod.ingress, pod.egress]);
        wanted.chain(held).collect()
    }

    fn refuse(&self, what: String, error: &impl std::fmt::Display) {
        tracing::warn!(node = self.parts.name, what, %error, "an entry of relay's is refused");
        self.parts.outbox.say(FromWire::Refused { what, why: error.to_string() });
    }

    fn answer(&self, question: &Question) -> Answer {
        let view = super::super::answer::View {
            kernel: &self.parts.kernel,
            content: &self.parts.content,
            held: &self.held,
            reports: &self.reported,
            pods: &self.pods,
            trouble: &self.trouble,
        };
        view.answer(question)
    }
}
