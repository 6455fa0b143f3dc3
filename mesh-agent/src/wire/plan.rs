//! The way from what the kernel holds to what it should hold, in an order in which nothing is open
//! in between.
//!
//! Closing comes first (arming, pending entries, proof withdrawn), then what a wired pod rests on
//! (interface checked, entry by address, gate, the agent's listeners), then the entries that open, then what is no longer
//! needed, and last the proof that everything is validated.

#[cfg(test)]
mod tests;

use mesh_ebpf::abi::{Class, Pod, Settings};
use mesh_ebpf::address::Address;

use super::target::{INTERFACES, State};

/// One change of the kernel's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Attach the programs that drop packets of pending pods.
    Arm,
    /// Detach them.
    Disarm,
    /// Write the settings.
    Settings(Settings),
    /// Write the entry of a cgroup.
    SetCgroup(u64, Pod),
    /// Remove it.
    RemoveCgroup(u64),
    /// Write the entry of a local address.
    SetLocal(Address, Pod),
    /// Remove it.
    RemoveLocal(Address),
    /// Write the entry of an interface.
    SetInterface(u32, Pod),
    /// Remove it.
    RemoveInterface(u32),
    /// Attach the packet checks to an interface.
    Validate(u32),
    /// Detach them.
    StopValidating(u32),
    /// Write the entry of a probed port of this pod.
    SetProbe(Address, u16, u64),
    /// Remove it.
    RemoveProbe(Address, u16),
    /// Attach the gate in the namespace of this cookie, of this pod.
    AttachGate(u64, u64),
    /// Detach it.
    DetachGate(u64),
    /// Make the agent's listeners in the namespace of this cookie, of this pod.
    Listen(u64, u64),
    /// Close them.
    StopListening(u64),
}

impl Action {
    /// The pod whose wiring needs it, by UID hash; [`INTERFACES`] where it is the node's proof that
    /// does.
    pub(super) fn needed_by(&self) -> Option<u64> {
        match self {
            Self::SetCgroup(_, pod) | Self::SetLocal(_, pod) => Some(pod.uid),
            // A pod goes without; it is the proof that is then withdrawn (SEMANTICS 2.2).
            Self::SetInterface(..) | Self::Validate(_) => Some(INTERFACES),
            Self::SetProbe(_, _, uid) | Self::AttachGate(_, uid) | Self::Listen(_, uid) => Some(*uid),
            _ => None,
        }
    }
}

/// The actions, in order.
pub(super) fn plan(from: &State, to: &State) -> Vec<Action> {
    let mut actions = Vec::new();
    if to.armed && !from.armed {
        actions.push(Action::Arm);
    }
    let cautious = cautious(&from.settings, &to.settings);
    if cautious != from.settings {
        actions.push(Action::Settings(cautious));
    }
    close(from, to, &mut actions);
    support(from, to, &mut actions);
    open(from, to, &mut actions);
    remove(from, to, &mut actions);
    if from.armed && !to.armed {
        actions.push(Action::Disarm);
    }
    if to.settings != cautious {
        actions.push(Action::Settings(to.settings));
    }
    actions
}

/// The new settings, claiming no proof that both do not claim.
fn cautious(from: &Settings, to: &Settings) -> Settings {
    let claims = from.flags & to.flags & Settings::LOCAL_PROOF;
    Settings { flags: to.flags & !Settings::LOCAL_PROOF | claims, ..*to }
}

/// Entries that close: pods that become pending, and wired pods that moved to another namespace,
/// which has no gate yet.
fn close(from: &State, to: &State, actions: &mut Vec<Action>) {
    for (&cgroup, pod) in &to.cgroups {
        let before = from.cgroups.get(&cgroup);
        if pod.class() == Class::Pending && before != Some(pod) {
            actions.push(Action::SetCgroup(cgroup, *pod));
        }
        let moved = before.is_some_and(|before| {
            before.class() == Class::Wired && pod.class() == Class::Wired && before.netns != pod.netns
        });
        if moved {
            let pending = Pod { class: Class::Pending as u32, ..*pod };
            actions.push(Action::SetCgroup(cgroup, pending));
        }
    }
}

/// What a wired pod rests on.
fn support(from: &State, to: &State, actions: &mut Vec<Action>) {
    for (&index, pod) in &to.interfaces {
        if from.interfaces.get(&index) != Some(pod) {
            actions.push(Action::SetInterface(index, *pod));
        }
        if to.validated.contains(&index) && !from.validated.contains(&index) {
            actions.push(Action::Validate(index));
        }
    }
    for (&(address, port), &uid) in &to.probes {
        if from.probes.get(&(address, port)) != Some(&uid) {
            actions.push(Action::SetProbe(address, port, uid));
        }
    }
    for (&address, pod) in &to.local {
        if from.local.get(&address) != Some(pod) {
            actions.push(Action::SetLocal(address, *pod));
        }
    }
    for (&cookie, &uid) in &to.gates {
        if !from.gates.contains_key(&cookie) {
            actions.push(Action::AttachGate(cookie, uid));
        }
    }
    for (&cookie, &uid) in &to.listeners {
        if !from.listeners.contains_key(&cookie) {
            actions.push(Action::Listen(cookie, uid));
        }
    }
}

/// Entries that open.
fn open(from: &State, to: &State, actions: &mut Vec<Action>) {
    for (&cgroup, pod) in &to.cgroups {
        if pod.class() != Class::Pending && from.cgroups.get(&cgroup) != Some(pod) {
            actions.push(Action::SetCgroup(cgroup, *pod));
        }
    }
}

/// What nothing needs any more. A gate and its listeners go after the entries that named its pod
/// wired.
fn remove(from: &State, to: &State, actions: &mut Vec<Action>) {
    let gone = |actions: &mut Vec<Action>, action| actions.push(action);
    for cgroup in from.cgroups.keys().filter(|key| !to.cgroups.contains_key(*key)) {
        gone(actions, Action::RemoveCgroup(*cgroup));
    }
    for cookie in from.gates.keys().filter(|key| !to.gates.contains_key(*key)) {
        gone(actions, Action::DetachGate(*cookie));
    }
    for cookie in from.listeners.keys().filter(|key| !to.listeners.contains_key(*key)) {
        gone(actions, Action::StopListening(*cookie));
    }
    for address in from.local.keys().filter(|key| !to.local.contains_key(*key)) {
        gone(actions, Action::RemoveLocal(*address));
    }
    for (address, port) in from.probes.keys().filter(|key| !to.probes.contains_key(*key)) {
        gone(actions, Action::RemoveProbe(*address, *port));
    }
    for index in from.validated.iter().filter(|key| !to.validated.contains(*key)) {
        gone(actions, Action::StopValidating(*index));
    }
    for index in from.interfaces.keys().filter(|key| !to.interfaces.contains_key(*key)) {
        gone(actions, Action::RemoveInterface(*index));
    }
}

impl State {
    /// The state after an action.
    pub(super) fn after(&mut self, action: &Action) {
        match *action {
            Action::Arm => self.armed = true,
            Action::Disarm => self.armed = false,
            Action::Settings(settings) => self.settings = settings,
            Action::SetCgroup(cgroup, pod) => {
                self.cgroups.insert(cgroup, pod);
            }
            Action::RemoveCgroup(cgroup) => {
                self.cgroups.remove(&cgroup);
            }
            Action::SetLocal(address, pod) => {
                self.local.insert(address, pod);
            }
            Action::RemoveLocal(address) => {
                self.local.remove(&address);
            }
            Action::SetInterface(index, pod) => {
                self.interfaces.insert(index, pod);
            }
            Action::RemoveInterface(index) => {
                self.interfaces.remove(&index);
            }
            Action::Validate(index) => {
                self.validated.insert(index);
            }
            Action::StopValidating(index) => {
                self.validated.remove(&index);
            }
            Action::SetProbe(address, port, uid) => {
                self.probes.insert((address, port), uid);
            }
            Action::RemoveProbe(address, port) => {
                self.probes.remove(&(address, port));
            }
            Action::AttachGate(cookie, uid) => {
                self.gates.insert(cookie, uid);
            }
            Action::DetachGate(cookie) => {
                self.gates.remove(&cookie);
            }
            Action::Listen(cookie, uid) => {
                self.listeners.insert(cookie, uid);
            }
            Action::StopListening(cookie) => {
                self.listeners.remove(&cookie);
            }
        }
    }
}
