//! Work on open connections, on a thread of its own so that nothing else waits for it: those that
//! a changed policy denies are closed (SEMANTICS 5.5), those to an endpoint that is gone are
//! aborted (SEMANTICS 6.2). Every few seconds flows without a socket are swept.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use mesh_ebpf::abi::{EventKind, Flow, FlowKey, Origin, ProbeKey, Reason, Settings, TCP, Workload};
use mesh_ebpf::address::Address;
use mesh_ebpf::policy::{Direction, Peer, SetId};

use super::events::{Ending, Endings};
use super::judge::{Connection, Denial, Known, Subject, judge, subject};
use super::maps::{Maps, absent_is_fine};
use super::older::Older;
use super::outbox::Outbox;
use super::roster::{Roster, Wired};
use super::sockets::{Socket, Sockets};
use super::sweep::Sweep;
use crate::handover::FlowEvent;
use crate::sys::clock;

/// How often flows without a socket are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// What is to be done.
#[derive(Debug)]
pub(super) enum Work {
    /// Judge the open connections of these pods anew; of all when none is named.
    Reevaluate(Option<BTreeSet<String>>),
    /// Abort connections to these addresses.
    Gone(Vec<Address>),
}

impl Known for Maps {
    fn flow(&self, key: &FlowKey) -> Option<Flow> {
        Maps::flow(self, key)
    }

    fn workload(&self, address: &Address) -> Option<Workload> {
        Maps::workload(self, address)
    }

    fn probe(&self, key: &ProbeKey) -> bool {
        self.probes.get(key, 0).is_ok()
    }

    fn settings(&self) -> Settings {
        self.settings.get(&0, 0).unwrap_or_default()
    }
}

/// What the work needs.
pub(super) struct Enforcer {
    /// Handles on the maps.
    pub(super) maps: Maps,
    /// The wired pods.
    pub(super) roster: Roster,
    /// Connections older than their pod's wiring.
    pub(super) older: Older,
    /// Where endings are announced.
    pub(super) endings: Endings,
    /// Where events go.
    pub(super) outbox: Outbox,
}

impl Enforcer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn start(mut self) -> io::Result<Sender<Work>> {
        let (sender, receiver): (_, Receiver<Work>) = channel();
        thread::Builder::new().name("enforce".to_owned()).spawn(move || {
            let (mut sweep, mut next_sweep) = (Sweep::default(), Instant::now() + SWEEP_EVERY);
            loop {
                match receiver.recv_timeout(next_sweep.saturating_duration_since(Instant::now())) {
                    Ok(work) => {
                        let began = Instant::now();
                        self.run(&work);
                        tracing::debug!(?work, took = ?began.elapsed(), "went through the open connections");
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                if Instant::now() >= next_sweep {
                    sweep.round(&mut self.maps, &self.roster.get());
                    next_sweep = Instant::now() + SWEEP_EVERY;
                }
            }
        })?;
        Ok(sender)
    }

    fn run(&mut self, work: &Work) {
        let pods = self.roster.get();
        for pod in pods.iter() {
            if let Work::Reevaluate(Some(named)) = work
                && !named.contains(&pod.uid)
            {
                continue;
            }
            let Some(netns) = pod.netns() else { continue };
            let done = Sockets::of(&netns).and_then(|mut sockets| match work {
                Work::Reevaluate(_) => self.reevaluate(pod, &mut sockets),
                Work::Gone(addresses) => self.abort(pod, &mut sockets, addresses),
            });
            if let Err(error) = done {
                tracing::error!(pod = pod.uid, %error, "cannot go through the pod's open connections");
            }
        }
        match work {
            Work::Reevaluate(named) => self.wipe_datagrams(&pods, named.as_ref()),
            Work::Gone(addresses) => self.forget_datagrams(addresses),
        }
    }

    fn reevaluate(&self, pod: &Wired, sockets: &mut Sockets) -> io::Result<()> {
        let older = self.older.of(&pod.uid);
        let tcp = sockets.tcp(false)?;
        let listening: HashSet<u16> =
            tcp.iter().filter(|socket| socket.listening).map(|socket| socket.local.1).collect();
        let udp = sockets.udp()?;
        let all = tcp.iter().chain(&udp);
        for socket in all.filter(|socket| socket.has_peer() || socket.is_redirected()) {
            let connection = Connection {
                tuple: socket.outgoing(),
                cookie: socket.cookie(),
                listening: listening.contains(&socket.local.1),
            };
            let is_older = older.contains(&connection.cookie);
            if let Some(denial) = judge(&self.maps, &pod.entry, &connection, is_older) {
                // Of one older than the wiring the kernel programs know nothing.
                let reporter = denial.subject.side.reporter.filter(|_| !is_older);
                self.end(pod, sockets, socket, Reason::PolicyChanged, denial, reporter)?;
            }
        }
        Ok(())
    }

    fn abort(&self, pod: &Wired, sockets: &mut Sockets, addresses: &[Address]) -> io::Result<()> {
        for socket in sockets.tcp(false)?.iter().chain(&sockets.udp()?) {
            let named = socket.has_peer() && addresses.contains(&socket.remote.0);
            if !named && !socket.is_redirected() {
                continue;
            }
            let connection =
                Connection { tuple: socket.outgoing(), cookie: socket.cookie(), listening: false };
            let Some(subject) = subject(&self.maps, &pod.entry, &connection) else { continue };
            // What the pod serves ends by itself when its client is gone.
            if subject.side.direction == Direction::Egress && addresses.contains(&subject.tuple.destination) {
                let denial = Denial { subject, set: SetId::EMPTY, rule: 0, reason: Reason::EndpointGone };
                self.end(pod, sockets, socket, Reason::EndpointGone, denial, subject.side.reporter)?;
            }
        }
        Ok(())
    }

    fn end(
        &self,
        pod: &Wired,
        sockets: &mut Sockets,
        socket: &Socket,
        reason: Reason,
        denial: Denial,
        reporter: Option<u64>,
    ) -> io::Result<()> {
        let Denial { subject, set, rule, .. } = denial;
        let reporter = reporter.filter(|_| socket.protocol == TCP);
        let ending = Ending { reason, set, rule };
        // The kernel's own report comes with bytes and time; here only its reason is added.
        if let Some(cookie) = reporter {
            self.endings.announce(cookie, ending);
        }
        sockets.destroy(socket)?;
        if reporter.is_none() && !subject.tunnelled {
            self.outbox.event(closed(pod, socket, &subject, ending));
        }
        Ok(())
    }

    /// Tuples of datagrams that the policy denies now; without its entry a datagram is judged anew.
    fn wipe_datagrams(&mut self, pods: &[Wired], named: Option<&BTreeSet<String>>) {
        let mut denied = Vec::new();
        for entry in self.maps.datagrams.iter().filter_map(Result::ok) {
            let (key, flow) = entry;
            for pod in pods.iter().filter(|pod| named.is_none_or(|named| named.contains(&pod.uid))) {
                let sent = flow.origin == Origin::Pod as u8 && flow.uid == pod.entry.uid;
                let received = pod.entry.owns(&key.destination);
                let tuple = if sent {
                    key
                } else if received {
                    key.reversed()
                } else {
                    continue;
                };
                let connection = Connection { tuple, cookie: flow.cookie, listening: received };
                if judge(&self.maps, &pod.entry, &connection, false).is_some() {
                    denied.push(key);
                }
            }
        }
        self.remove_datagrams(&denied);
    }

    fn forget_datagrams(&mut self, addresses: &[Address]) {
        let gone: Vec<FlowKey> = self
            .maps
            .datagrams
            .keys()
            .filter_map(Result::ok)
            .filter(|key| addresses.contains(&key.destination))
            .collect();
        self.remove_datagrams(&gone);
    }

    fn remove_datagrams(&mut self, keys: &[FlowKey]) {
        for key in keys {
            if let Err(error) = absent_is_fine(self.maps.datagrams.remove(key)) {
                tracing::error!(%error, "cannot forget a denied datagram's tuple");
            }
        }
    }
}

fn closed(pod: &Wired, socket: &Socket, subject: &Subject, ending: Ending) -> FlowEvent {
    let side = &subject.side;
    let tuple = match side.direction {
        Direction::Egress => subject.tuple,
        Direction::Ingress => subject.tuple.reversed(),
    };
    let destination = (tuple.destination.into(), tuple.destination_port);
    FlowEvent {
        unix_nanoseconds: clock::unix(),
        kind: EventKind::Closed as u8,
        origin: side.origin as u8,
        reason: ending.reason,
        direction: side.direction,
        set: ending.set,
        rule: ending.rule,
        uid: pod.entry.uid,
        group: pod.entry.group,
        peer_uid: side.peer_uid,
        peer_group: match side.peer {
            Peer::Proven(group) | Peer::Claimed(group) => group,
            Peer::Unknown => 0,
        },
        protocol: tuple.protocol,
        source: (tuple.source.into(), tuple.source_port),
        destination,
        dialled: destination,
        cookie: socket.cookie(),
        duration: 0,
        bytes_sent: 0,
        bytes_received: 0,
        rtt_microseconds: 0,
        retransmits: 0,
    }
}
