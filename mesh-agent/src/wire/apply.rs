//! Carrying out one action on the kernel. What to do and in which order is decided in
//! [`super::plan`]; here is only how.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use mesh_ebpf::abi::{Class, Pod, PodUse, ProbeKey, TCP};
use mesh_ebpf::address::Address;

use super::earlier::Earlier;
use super::links::{ALWAYS, ARMED, LinkError, Links, Point};
use super::listeners::{Listeners, Pair, keys};
use super::maps::{MapFailure, Maps, absent_is_fine};
use super::plan::Action;
use super::target::State;
use crate::sys::netns::Netns;

/// Why an action was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    /// A map.
    #[error(transparent)]
    Map(#[from] MapFailure),
    /// A link.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A pod's namespace went away meanwhile.
    #[error("the network namespace of cookie {0} is gone")]
    NamespaceGone(u64),
    /// The agent's sockets inside a pod.
    #[error("making the agent's listeners in the pod: {0} (is its loopback interface up?)")]
    Listeners(#[source] io::Error),
}

/// The kernel's side.
pub(super) struct Kernel {
    /// Handles on the maps.
    pub(super) maps: Maps,
    /// Everything that is attached.
    pub(super) links: Links,
    /// The agent's listeners inside pods.
    pub(super) listeners: Listeners,
    /// Pods that the relay of an earlier wire still serves.
    pub(super) earlier: Earlier,
}

fn on(map: &'static str) -> impl FnOnce(aya::maps::MapError) -> MapFailure {
    move |source| MapFailure { map, source }
}

impl Kernel {
    /// Carries out one action. `processes` gives a process in the namespace of a cookie.
    ///
    /// # Errors
    /// When the kernel refuses; the state is as before then.
    pub(super) fn apply(
        &mut self,
        action: &Action,
        processes: &BTreeMap<u64, u32>,
    ) -> Result<(), ApplyError> {
        let maps = &mut self.maps;
        match *action {
            Action::Arm => {
                for hook in ARMED {
                    self.links.attach_cgroup(hook)?;
                }
            }
            Action::Disarm => {
                for hook in ARMED {
                    self.links.detach(Point::Cgroup(hook));
                }
            }
            Action::Settings(settings) => {
                maps.settings.set(0, settings, 0).map_err(on("mesh_settings"))?;
            }
            Action::SetCgroup(cgroup, pod) => {
                maps.pods.insert(cgroup, pod, 0).map_err(on("mesh_pods"))?;
            }
            Action::RemoveCgroup(cgroup) => {
                absent_is_fine(maps.pods.remove(&cgroup)).map_err(on("mesh_pods"))?;
            }
            Action::SetLocal(address, pod) => {
                maps.local.insert(address, pod, 0).map_err(on("mesh_local"))?;
            }
            Action::RemoveLocal(address) => {
                absent_is_fine(maps.local.remove(&address)).map_err(on("mesh_local"))?;
            }
            Action::SetInterface(index, pod) => {
                maps.interfaces.insert(index, pod, 0).map_err(on("mesh_ifaces"))?;
                self.links.judge_other_protocols(index, pod.flags & Pod::INGRESS_DENIES_OTHER != 0)?;
            }
            Action::RemoveInterface(index) => {
                absent_is_fine(maps.interfaces.remove(&index)).map_err(on("mesh_ifaces"))?;
            }
            Action::Validate(index) => self.links.attach_interface(index)?,
            Action::StopValidating(index) => {
                self.links.detach(Point::FromPod(index));
                self.links.detach(Point::ToPod(index));
            }
            Action::SetProbe(address, port, _) => {
                maps.probes.insert(probe(address, port), 1, 0).map_err(on("mesh_probes"))?;
            }
            Action::RemoveProbe(address, port) => {
                absent_is_fine(maps.probes.remove(&probe(address, port))).map_err(on("mesh_probes"))?;
            }
            Action::AttachGate(cookie, _) => {
                let netns = namespace(cookie, processes).ok_or(ApplyError::NamespaceGone(cookie))?;
                self.links.attach_gate(cookie, &netns)?;
            }
            Action::DetachGate(cookie) => self.links.detach(Point::Gate(cookie)),
            Action::Listen(cookie, uid) => {
                let netns = namespace(cookie, processes).ok_or(ApplyError::NamespaceGone(cookie))?;
                let pair = Pair::open(&netns).map_err(ApplyError::Listeners)?;
                if !self.earlier.serves(cookie) {
                    self.place(cookie, &pair)?;
                }
                self.listeners.keep(cookie, uid, pair);
            }
            Action::StopListening(cookie) => {
                for key in keys(cookie) {
                    absent_is_fine(maps.listeners.remove(&key)).map_err(on("mesh_listeners"))?;
                }
                self.listeners.close(cookie);
                self.earlier.forget(cookie);
            }
        }
        Ok(())
    }

    /// Has the gate hand a namespace's connections to these listeners, in place of an earlier wire's.
    ///
    /// # Errors
    /// When the map refuses.
    pub(super) fn place(&mut self, netns: u64, pair: &Pair) -> Result<(), MapFailure> {
        for (key, listener) in pair.keyed(netns) {
            self.maps.listeners.insert(key, listener, 0).map_err(on("mesh_listeners"))?;
        }
        Ok(())
    }

    /// What an earlier wire left.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub(super) fn held(&self) -> Result<State, MapFailure> {
        let maps = &self.maps;
        let mut state = State {
            settings: maps.settings.get(&0, 0).map_err(on("mesh_settings"))?,
            cgroups: maps.pods.iter().collect::<Result<_, _>>().map_err(on("mesh_pods"))?,
            local: maps.local.iter().collect::<Result<_, _>>().map_err(on("mesh_local"))?,
            interfaces: maps.interfaces.iter().collect::<Result<_, _>>().map_err(on("mesh_ifaces"))?,
            ..State::default()
        };
        let of = |pods: &mut dyn Iterator<Item = &Pod>| pods.next().map_or(0, |pod| pod.uid);
        for key in maps.probes.keys() {
            let key = key.map_err(on("mesh_probes"))?;
            let uid = of(&mut state.local.get(&key.address).into_iter());
            state.probes.insert((key.address, key.port), uid);
        }
        let mut armed = 0;
        for point in self.links.points() {
            match point {
                Point::Gate(cookie) => {
                    let mut wired = state
                        .cgroups
                        .values()
                        .filter(|pod| pod.netns == cookie && pod.class() == Class::Wired);
                    let uid = of(&mut wired);
                    state.gates.insert(cookie, uid);
                }
                Point::FromPod(index) => {
                    state.validated.insert(index);
                }
                Point::ToPod(_) | Point::Getopt(_) | Point::Setopt(_) => {}
                Point::Cgroup(hook) => armed += usize::from(ARMED.contains(&hook)),
            }
        }
        state.armed = armed == ARMED.len();
        Ok(state)
    }

    /// Checks every link, attaches again what belongs to the cgroup root and to the cgroups of
    /// agents, and takes out of `held` what was not in place. Gives what was wrong.
    pub(super) fn verify(&mut self, held: &mut State, agents: &[PathBuf]) -> Vec<String> {
        let mut wrong = Vec::new();
        for (point, why) in self.links.verify() {
            match point {
                Point::Cgroup(hook) if ARMED.contains(&hook) => held.armed = false,
                // Attached again below.
                Point::Cgroup(_) | Point::Getopt(_) | Point::Setopt(_) => {}
                Point::Gate(cookie) => {
                    held.gates.remove(&cookie);
                }
                Point::FromPod(index) => {
                    held.validated.remove(&index);
                }
                Point::ToPod(index) => {
                    held.interfaces.remove(&index);
                }
            }
            // A namespace or an interface that ended is the ordinary end of a pod.
            if matches!(point, Point::Cgroup(_)) {
                wrong.push(format!("{}: {why}", point.name()));
            } else {
                tracing::debug!(link = point.name(), why, "link removed");
            }
        }
        for hook in ALWAYS {
            if let Err(error) = self.links.attach_cgroup(hook) {
                wrong.push(error.to_string());
            }
        }
        for agent in agents.iter().filter(|path| path.is_dir()) {
            if let Err(error) = self.links.attach_options(agent) {
                wrong.push(error.to_string());
            }
        }
        // Before relay has come to this wire, what is adopted may be its.
        if agents.len() > 1 {
            self.links.keep_options(agents);
        }
        wrong
    }

    /// Whether nothing counts under a slot any more; wipes it if so.
    pub(super) fn wipe_unused(&mut self, slot: u32) -> bool {
        let unused = self.maps.usage.get(&slot, 0).is_ok_and(|used| used.flows == 0);
        unused && self.maps.usage.set(slot, PodUse::default(), 0).is_ok()
    }
}

fn probe(address: Address, port: u16) -> ProbeKey {
    ProbeKey { address, port, protocol: TCP, reserved: 0 }
}

/// The namespace of a cookie, by a process in it.
pub(super) fn namespace(cookie: u64, processes: &BTreeMap<u64, u32>) -> Option<Netns> {
    let netns = Netns::of_process(*processes.get(&cookie)?).ok()?;
    (netns.cookie().ok()? == cookie).then_some(netns)
}
