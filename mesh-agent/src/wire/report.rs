//! Counts each second and samples of open connections each ten seconds, while relay listens.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use mesh_ebpf::abi::{Counter, EventKind, Reason, capacity};
use mesh_ebpf::policy::{Direction, Peer};

use super::judge::{Connection, subject};
use super::maps::Maps;
use super::older::Older;
use super::outbox::Outbox;
use super::roster::{Roster, Wired};
use super::sockets::{Socket, Sockets};
use crate::handover::{Counts, DenialCount, FlowSample};

const COUNT_EVERY: Duration = Duration::from_secs(1);
/// How often in that time it is looked whether a relay has connected.
const LOOKS: u32 = 20;
/// Samples come with every tenth count.
const SAMPLE_EVERY: u32 = 10;

/// What the loop knows and counts tell: filled maps, and whether everything is in place.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    sizes: Arc<Mutex<Vec<(String, u64, u64)>>>,
    local_proof: Arc<AtomicBool>,
}

impl Health {
    /// Publishes (map, entries, capacity) of the maps that the loop fills, and whether every
    /// program is attached and every interface validated.
    pub(super) fn publish(&self, sizes: Vec<(String, u64, u64)>, local_proof: bool) {
        *self.sizes.lock().unwrap_or_else(PoisonError::into_inner) = sizes;
        self.local_proof.store(local_proof, Ordering::Relaxed);
    }
}

/// What reporting needs.
pub(super) struct Reporter {
    /// Handles on the maps.
    pub(super) maps: Maps,
    /// The wired pods.
    pub(super) roster: Roster,
    /// Connections older than their pod's wiring.
    pub(super) older: Older,
    /// What the loop knows.
    pub(super) health: Health,
    /// Where reports go.
    pub(super) outbox: Outbox,
}

impl Reporter {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn start(self) -> io::Result<()> {
        thread::Builder::new().name("report".to_owned()).spawn(move || {
            let mut round = 0u32;
            let (mut flows, mut connected) = (0, false);
            loop {
                connected = self.wait(connected);
                if !connected {
                    continue;
                }
                if round.is_multiple_of(SAMPLE_EVERY) {
                    self.outbox.samples(self.samples());
                    flows = self.maps.flows.keys().filter(Result::is_ok).count() as u64;
                }
                round = round.wrapping_add(1);
                self.outbox.counts(self.counts(flows));
            }
        })?;
        Ok(())
    }

    /// Waits until the next counts are due, which is at once for a relay that has just connected: it takes no connection
    /// before it has heard them. False while there is none.
    fn wait(&self, was_connected: bool) -> bool {
        for _ in 0..LOOKS {
            thread::sleep(COUNT_EVERY / LOOKS);
            if !was_connected && self.outbox.is_connected() {
                return true;
            }
        }
        self.outbox.is_connected()
    }

    fn counts(&self, flows: u64) -> Counts {
        let mut counters = self.maps.counters();
        if let Some(lost) = counters.get_mut(Counter::EventsLost as usize) {
            *lost += self.outbox.dropped();
        }
        let denials = self.denials();
        let mut maps = self.health.sizes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        maps.push(("mesh_flows".to_owned(), flows, u64::from(capacity::FLOWS)));
        maps.push(("mesh_denials".to_owned(), denials.len() as u64, u64::from(capacity::DENIALS)));
        let open_flows = self
            .roster
            .get()
            .iter()
            .filter_map(|pod| {
                let used = self.maps.usage.get(&pod.entry.slot, 0).ok()?;
                Some((pod.entry.uid, used.flows))
            })
            .collect();
        let local_proof = self.health.local_proof.load(Ordering::Relaxed);
        Counts { counters, denials, maps, open_flows, local_proof }
    }

    fn denials(&self) -> Vec<DenialCount> {
        self.maps
            .denials
            .iter()
            .filter_map(Result::ok)
            .map(|(key, count)| DenialCount {
                uid: key.uid,
                set: key.set,
                rule: key.rule,
                reason: Reason::from_number(key.reason),
                direction: direction(key.direction),
                audited: key.kind == EventKind::Audited as u8,
                protocol: key.protocol,
                peer_group: key.peer_group,
                count,
            })
            .collect()
    }

    fn samples(&self) -> Vec<FlowSample> {
        let mut samples = Vec::new();
        for pod in self.roster.get().iter() {
            let Some(netns) = pod.netns() else { continue };
            match Sockets::of(&netns).and_then(|mut sockets| sockets.tcp(true)) {
                Ok(sockets) => {
                    self.older.keep(&pod.uid, &sockets.iter().map(Socket::cookie).collect());
                    self.sample(pod, &sockets, &mut samples);
                }
                Err(error) => tracing::warn!(pod = pod.uid, %error, "cannot sample its connections"),
            }
        }
        samples
    }

    fn sample(&self, pod: &Wired, sockets: &[Socket], samples: &mut Vec<FlowSample>) {
        let listening: HashSet<u16> =
            sockets.iter().filter(|socket| socket.listening).map(|socket| socket.local.1).collect();
        for socket in sockets.iter().filter(|socket| socket.has_peer()) {
            let Some(progress) = socket.progress else { continue };
            let connection = Connection::of(socket, |port| listening.contains(&port));
            // relay tells of what goes through the tunnel, and of its own.
            let Some(subject) = subject(&self.maps, &pod.entry, &connection) else { continue };
            if subject.tunnelled {
                continue;
            }
            let side = subject.side;
            let destination = match side.direction {
                Direction::Egress => socket.remote,
                Direction::Ingress => socket.local,
            };
            samples.push(FlowSample {
                uid: pod.entry.uid,
                peer_group: match side.peer {
                    Peer::Proven(group) | Peer::Claimed(group) => group,
                    Peer::Unknown => 0,
                },
                direction: side.direction,
                cookie: connection.cookie,
                destination: (destination.0.into(), destination.1),
                // The kernel counts the connecting side's SYN as a byte (see `mesh_ebpf::ended`).
                bytes_sent: progress
                    .bytes_sent
                    .saturating_sub(u64::from(side.direction == Direction::Egress)),
                bytes_received: progress.bytes_received,
                rtt_microseconds: progress.rtt_microseconds,
                retransmits: progress.retransmits,
            });
        }
    }
}

fn direction(number: u8) -> Direction {
    if number == Direction::Ingress as u8 { Direction::Ingress } else { Direction::Egress }
}
