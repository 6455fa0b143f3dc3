//! Late enrolment (SEMANTICS 1.2): what a pod had open before it was wired.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use mesh_ebpf::abi::{Class, Pod, TUNNEL_PORT};

use super::super::apply::namespace;
use super::super::enforce::Work;
use super::super::judge::accepted_by_the_tunnel;
use super::super::plan::Action;
use super::super::reset::{Order, connection, end, of_the_agent};
use super::super::roster::Wired;
use super::super::sockets::{Socket, Sockets};
use super::Node;
use crate::handover::{Answer, FromWire, PodState, uid_hash};

/// Connections found in a pod just before it is wired.
#[derive(Debug)]
pub(super) struct Found {
    uid: String,
    sockets: Sockets,
    open: Vec<Socket>,
}

impl Node {
    /// Notes pods that run while nothing is enforced on them.
    pub(super) fn note_running(&mut self) {
        for (uid, seen) in self.seen.pods.iter().filter(|(_, seen)| seen.running) {
            let unenforced = match self.decisions.get(uid).map(|decision| decision.state) {
                Some(PodState::Unknown | PodState::Plain) => true,
                Some(PodState::Pending) | None => {
                    // At the first look after start: it ran without an agent, or with one that
                    // had not enrolled it.
                    let held = self.held.cgroups.get(&seen.cgroup).map(Pod::class);
                    !self.looked_once && !matches!(held, Some(Class::Wired | Class::Pending))
                }
                Some(PodState::Wired) => false,
            };
            if unenforced {
                self.ran_before.insert(uid.clone());
            }
        }
    }

    /// Before an action that makes a pod wired: what it has open.
    pub(super) fn open_before(&self, action: &Action, processes: &BTreeMap<u64, u32>) -> Option<Found> {
        let Action::SetCgroup(cgroup, entry) = action else { return None };
        let before = self.held.cgroups.get(cgroup).map(Pod::class);
        if entry.class() != Class::Wired || before == Some(Class::Wired) {
            return None;
        }
        let uid = self.pods.keys().find(|uid| uid_hash(uid) == entry.uid)?.clone();
        let netns = namespace(entry.netns, processes)?;
        let mut sockets = Sockets::of(&netns).ok()?;
        let mut open = sockets.tcp(false).ok()?;
        // Connections to the tunnel's port are the application's only where it listens there itself.
        let serves = open.iter().any(|socket| socket.listening && socket.local.1 == TUNNEL_PORT);
        open.retain(|socket| socket.has_peer() && !entry.owns(&socket.remote.0));
        self.leave_out_the_agents(&uid, &mut sockets, &mut open, serves);
        Some(Found { uid, sockets, open })
    }

    /// A pod that was in the mesh before has tunnels from that time, which go on.
    fn leave_out_the_agents(&self, uid: &str, sockets: &mut Sockets, open: &mut Vec<Socket>, serves: bool) {
        if open.is_empty() {
            return;
        }
        let maps = &self.parts.kernel.maps;
        let recorded = sockets.recorded(maps.socket_storage()).unwrap_or_else(|error| {
            tracing::error!(pod = uid, %error, "which sockets are the agent's is told by the published flows alone");
            HashMap::new()
        });
        open.retain(|socket| {
            let connection = connection(socket);
            let arrived = !serves && accepted_by_the_tunnel(maps, &connection.tuple);
            !arrived && !of_the_agent(maps, recorded.get(&connection.cookie), &connection)
        });
    }

    /// After it: destroys them where mTLS is required, counts them otherwise.
    pub(super) fn settle(&mut self, found: Found) {
        let Found { uid, mut sockets, open } = found;
        if self.ran_before.remove(&uid) || !open.is_empty() {
            self.late.insert(uid.clone());
        }
        let destroy = self.pods.get(&uid).is_some_and(|pod| pod.require_mtls);
        let left =
            if destroy { end(&uid, &mut sockets, &open) } else { open.iter().map(Socket::cookie).collect() };
        if !open.is_empty() {
            tracing::info!(
                pod = uid,
                found = open.len(),
                left = left.len(),
                "the pod had connections before it was wired"
            );
        }
        self.parts.older.note(&uid, left);
    }

    /// Has a pod's connections from before its enrolment changed ended; who works on open connections
    /// answers, or this when it cannot be.
    pub(super) fn reset(&self, id: u64, uid: &str, enrolled: bool) {
        match self.to_reset(uid, enrolled) {
            Ok(pod) => self.send(Work::Reset(Order { id, pod, enrolled, asked: Instant::now() })),
            Err(why) => {
                let answer = Answer::Failed(format!("pod {uid}: {why}"));
                self.parts.outbox.say(FromWire::Answer { id, answer });
            }
        }
    }

    fn to_reset(&self, uid: &str, enrolled: bool) -> Result<Wired, String> {
        let report = self.reported.get(uid).ok_or("it is not on this node")?;
        let expected = if enrolled { PodState::Wired } else { PodState::Plain };
        if report.state != expected {
            return Err(format!("it is {:?}, not {expected:?}: nothing is ended until it is", report.state));
        }
        let seen = self.seen.pods.get(uid).and_then(|seen| Some((seen.cgroup, seen.netns.as_ref()?.pid)));
        let (cgroup, pid) = seen.ok_or("none of its containers runs")?;
        let entry = *self.held.cgroups.get(&cgroup).ok_or("the kernel knows nothing of it yet")?;
        Ok(Wired { uid: uid.to_owned(), entry, pid })
    }
}
