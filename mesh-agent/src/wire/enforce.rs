//! Work on open connections, on a thread of its own so that nothing else waits for it: those that
//! a changed policy denies are closed (SEMANTICS 5.5), those to an endpoint that is gone are
//! aborted (SEMANTICS 6.2). Every few seconds flows without a socket are swept.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use mesh_ebpf::abi::{Class, EventKind, Flow, FlowKey, Origin, ProbeKey, Reason, Settings, TCP, Workload};
use mesh_ebpf::address::Address;
use mesh_ebpf::policy::{Direction, Peer, SetId};

use super::events::{Ending, Endings};
use super::judge::{Connection, Denial, Known, Subject, judge, subject};
use super::maps::{Maps, absent_is_fine};
use super::older::Older;
use super::outbox::Outbox;
use super::reset::{Order, reset};
use super::roster::{Roster, Wired};
use super::sockets::{Socket, Sockets};
use super::sweep::Sweep;
use crate::handover::{Answer, Ended, FlowEvent, FromWire};
use crate::sys::clock;

/// How often flows without a socket are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// How long before relay sees a connection reset it is told why: the two come to it by different
/// threads.
const HEAD_START: Duration = Duration::from_millis(10);

/// What is to be done.
#[derive(Debug)]
pub(super) enum Work {
    /// Judge the open connections of these pods anew; of all when none is named.
    Reevaluate(Option<BTreeSet<String>>),
    /// Abort connections to these addresses.
    Gone(Vec<Address>),
    /// End what a pod has open from before it came into the mesh, or left it, and answer.
    Reset(Order),
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

    fn is_agent(&self, cgroup: u64) -> bool {
        self.pods.get(&cgroup, 0).is_ok_and(|entry| entry.class() == Class::Agent)
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
        match work {
            Work::Reevaluate(named) => {
                let concerned = |pod: &&Wired| named.as_ref().is_none_or(|named| named.contains(&pod.uid));
                for pod in pods.iter().filter(concerned) {
                    Self::enter(pod, |sockets| self.reevaluate(pod, sockets));
                }
                self.wipe_datagrams(&pods, named.as_ref());
            }
            Work::Gone(addresses) => {
                for pod in pods.iter() {
                    Self::enter(pod, |sockets| self.abort(pod, sockets, addresses));
                }
                self.forget_datagrams(addresses);
            }
            Work::Reset(order) => {
                let answer = match order.overtaken(&pods, Instant::now()) {
                    Some(why) => Answer::Failed(why),
                    None => reset(&self.maps, &self.older, order),
                };
                self.outbox.say(FromWire::Answer { id: order.id, answer });
            }
        }
    }

    /// Goes through a pod's sockets.
    fn enter(pod: &Wired, go: impl FnOnce(&mut Sockets) -> io::Result<()>) {
        let Some(netns) = pod.netns() else { return };
        if let Err(error) = Sockets::of(&netns).and_then(|mut sockets| go(&mut sockets)) {
            tracing::error!(pod = pod.uid, %error, "cannot go through the pod's open connections");
        }
    }

    fn reevaluate(&self, pod: &Wired, sockets: &mut Sockets) -> io::Result<()> {
        let older = self.older.of(&pod.uid);
        let (tcp, udp) = (sockets.tcp(false)?, sockets.udp()?);
        let listening: HashSet<u16> =
            tcp.iter().filter(|socket| socket.listening).map(|socket| socket.local.1).collect();
        let mut doomed = Vec::new();
        for socket in tcp.iter().chain(&udp).filter(|socket| socket.has_peer() || socket.is_redirected()) {
            let connection = Connection::of(socket, |port| listening.contains(&port));
            let is_older = older.contains(&connection.cookie);
            if let Some(mut denial) = judge(&self.maps, &pod.entry, &connection, is_older) {
                if is_older {
                    // Of one older than the wiring the kernel programs know nothing.
                    denial.subject.side.reporter = None;
                }
                doomed.push((socket, denial));
            }
        }
        self.end(pod, sockets, Reason::PolicyChanged, &doomed)
    }

    fn abort(&self, pod: &Wired, sockets: &mut Sockets, addresses: &[Address]) -> io::Result<()> {
        let (tcp, udp) = (sockets.tcp(false)?, sockets.udp()?);
        let mut doomed = Vec::new();
        for socket in tcp.iter().chain(&udp) {
            let named = socket.has_peer() && addresses.contains(&socket.remote.0);
            if !named && !socket.is_redirected() {
                continue;
            }
            let connection = Connection::of(socket, |_| false);
            let Some(subject) = subject(&self.maps, &pod.entry, &connection) else { continue };
            // What the pod serves ends by itself when its client is gone.
            if subject.side.direction == Direction::Egress && addresses.contains(&subject.tuple.destination) {
                let reason = Reason::EndpointGone;
                doomed.push((socket, Denial { subject, set: SetId::EMPTY, rule: 0, reason }));
            }
        }
        self.end(pod, sockets, Reason::EndpointGone, &doomed)
    }

    /// Ends connections of a pod. Who reports their ends, with bytes and time, is told the reason
    /// first: the reader of the kernel's reports, and relay for what is in the tunnel.
    fn end(
        &self,
        pod: &Wired,
        sockets: &mut Sockets,
        reason: Reason,
        doomed: &[(&Socket, Denial)],
    ) -> io::Result<()> {
        let reporter = |socket: &Socket, denial: &Denial| {
            denial.subject.side.reporter.filter(|_| socket.protocol == TCP)
        };
        let tunnelled = || doomed.iter().filter(|(_, denial)| denial.subject.tunnelled);
        for (socket, denial) in doomed {
            if let Some(cookie) = reporter(socket, denial) {
                self.endings.announce(cookie, Ending { reason, set: denial.set, rule: denial.rule });
            }
        }
        if tunnelled().next().is_some() {
            self.outbox.ended(tunnelled().map(|(_, denial)| ended(reason, denial)));
            thread::sleep(HEAD_START);
        }
        for (socket, denial) in doomed {
            sockets.destroy(socket)?;
            if reporter(socket, denial).is_none() && !denial.subject.tunnelled {
                self.outbox.event(closed(pod, socket, reason, denial));
            }
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
                let connection = Connection { tuple, cookie: flow.cookie, listening: received, cgroup: 0 };
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

fn ended(reason: Reason, denial: &Denial) -> Ended {
    let tuple = &denial.subject.tuple;
    Ended {
        source: (tuple.source.into(), tuple.source_port),
        destination: (tuple.destination.into(), tuple.destination_port),
        reason,
        set: denial.set,
        rule: denial.rule,
    }
}

fn closed(pod: &Wired, socket: &Socket, reason: Reason, denial: &Denial) -> FlowEvent {
    let Subject { side, tuple, .. } = &denial.subject;
    let tuple = match side.direction {
        Direction::Egress => *tuple,
        Direction::Ingress => tuple.reversed(),
    };
    let destination = (tuple.destination.into(), tuple.destination_port);
    FlowEvent {
        unix_nanoseconds: clock::unix(),
        kind: EventKind::Closed as u8,
        origin: side.origin as u8,
        reason,
        direction: side.direction,
        set: denial.set,
        rule: denial.rule,
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
