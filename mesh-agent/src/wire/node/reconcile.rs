//! One look and what follows from it.

use std::collections::{BTreeMap, BTreeSet};

use mesh_ebpf::abi::{Class, Settings};
use mesh_ebpf::address::Address;

use super::super::enforce::Work;
use super::super::plan::{Action, plan};
use super::super::roster::Wired;
use super::super::target::{INTERFACES, Inputs, State, target};
use super::Node;
use crate::handover::{FromWire, PodReport, PodState, uid_hash};
use crate::sys::clock;

/// Rounds of planning in one look: the second is for what failed in the first.
const ROUNDS: usize = 3;
/// Depth of pod directories while none is known; nothing is that deep.
const NO_LEVELS: (u32, u32) = (u32::MAX >> 1, 0);

impl Node {
    /// Looks at the node and brings the kernel to where it should be.
    pub(super) fn reconcile(&mut self) {
        if let Err(error) = self.look() {
            tracing::error!(node = self.parts.name, %error, "cannot look at the node; nothing is changed");
            return;
        }
        self.note_running();
        self.assign_slots();
        let processes: BTreeMap<u64, u32> = self
            .seen
            .pods
            .values()
            .filter_map(|seen| seen.netns.as_ref().map(|netns| (netns.cookie, netns.pid)))
            .collect();
        for _ in 0..ROUNDS {
            let wanted = self.target();
            let failed = self.go(&wanted, &processes);
            if !failed {
                break;
            }
        }
        self.looked_once = true;
        self.after();
    }

    fn look(&mut self) -> std::io::Result<()> {
        // A directory made before its parent was watched shows only by looking again.
        let mut tree = self.parts.finder.scan()?;
        for _ in 0..ROUNDS {
            self.parts.watcher.watch(&tree.watch);
            let again = self.parts.finder.scan()?;
            let settled = again == tree;
            tree = again;
            if settled {
                break;
            }
        }
        let seen = self.parts.observer.look(&tree, &self.pods, &self.seen)?;
        self.tree = tree;
        self.seen = seen;
        Ok(())
    }

    fn assign_slots(&mut self) {
        let held = self.held.cgroups.values().map(|pod| pod.uid);
        let alive: BTreeSet<u64> = self.pods.keys().map(|uid| uid_hash(uid)).chain(held).collect();
        self.slots.retain(&alive);
        for uid in self.pods.keys().map(|uid| uid_hash(uid)) {
            self.slots.ensure(uid, |slot| self.parts.kernel.wipe_unused(slot));
        }
    }

    fn target(&mut self) -> State {
        let slots = self
            .pods
            .keys()
            .map(|uid| uid_hash(uid))
            .filter_map(|uid| Some((uid, self.slots.get(uid)?)))
            .collect();
        let (first, last) = self.tree.levels.unwrap_or(NO_LEVELS);
        let root = self.tree.roots.iter().map(|root| root.level).min().unwrap_or(NO_LEVELS.0);
        let inputs = Inputs {
            synced: self.synced,
            unknown_closed: self.unknown_closed,
            peers_complete: self.parts.content.peers.complete(),
            pods: &self.pods,
            sets: self.parts.content.sets.ids(),
            seen: &self.seen,
            slots: &slots,
            failures: &self.failures,
            deaf: &self.deaf,
            fixed: &self.fixed(),
            levels: (first, last, root),
            node_netns: self.parts.observer.node,
            now: clock::monotonic(),
        };
        let (state, decisions) = target(&inputs, &self.held);
        self.decisions = decisions;
        state
    }

    /// Carries out the plan; tells whether something failed. What a failed action was needed for
    /// is left out, so that no entry opens without what it rests on.
    fn go(&mut self, wanted: &State, processes: &BTreeMap<u64, u32>) -> bool {
        let mut failed = BTreeSet::new();
        for action in plan(&self.held, wanted) {
            let needed_by = action.needed_by();
            if needed_by.is_some_and(|uid| uid != INTERFACES && failed.contains(&uid)) {
                continue;
            }
            if self.claims_too_much(&action, &failed) {
                continue;
            }
            let found = self.open_before(&action, processes);
            match self.parts.kernel.apply(&action, processes) {
                Ok(()) => {
                    self.held.after(&action);
                    if let Some(found) = found {
                        self.settle(found);
                    }
                }
                Err(error) => {
                    let key = needed_by.unwrap_or(INTERFACES);
                    tracing::warn!(node = self.parts.name, ?action, %error, "not done; tried again");
                    failed.insert(key);
                    match action {
                        Action::Listen(..) => self.deaf.insert(key, error.to_string()),
                        _ => self.failures.insert(key, error.to_string()),
                    };
                }
            }
        }
        !failed.is_empty()
    }

    /// Proof must not be claimed after an interface could not be validated.
    fn claims_too_much(&self, action: &Action, failed: &BTreeSet<u64>) -> bool {
        match action {
            Action::Settings(settings) => {
                !failed.is_empty()
                    && settings.flags & Settings::LOCAL_PROOF != 0
                    && self.held.settings.flags & Settings::LOCAL_PROOF == 0
            }
            _ => false,
        }
    }

    /// What follows once the kernel is where it should be.
    fn after(&mut self) {
        let named = self.named_sets();
        self.parts.content.sets.collect(&mut self.parts.kernel.maps, &named);
        self.publish();
        self.report();
        if !self.gone.is_empty() {
            let gone = std::mem::take(&mut self.gone);
            self.send(Work::Gone(gone));
        }
        if self.synced && !self.alone {
            self.parts.pins.remove_other_schemas();
            self.alone = true;
        }
        if self.commits.is_empty() {
            return;
        }
        let changed = std::mem::take(&mut self.changed);
        if changed.everything || !changed.pods.is_empty() {
            self.send(Work::Reevaluate((!changed.everything).then_some(changed.pods)));
        }
        let mut settings = self.held.settings;
        settings.generation = settings.generation.wrapping_add(1);
        if self.parts.kernel.apply(&Action::Settings(settings), &BTreeMap::new()).is_ok() {
            self.held.settings = settings;
        }
        for sequence in std::mem::take(&mut self.commits) {
            self.parts.outbox.say(FromWire::Applied { sequence });
        }
    }

    pub(super) fn send(&self, work: Work) {
        if self.parts.work.send(work).is_err() {
            tracing::error!(node = self.parts.name, "the thread that works on open connections is gone");
        }
    }

    fn publish(&self) {
        let wired = self
            .seen
            .pods
            .iter()
            .filter_map(|(uid, seen)| {
                let entry = *self.held.cgroups.get(&seen.cgroup)?;
                let pid = seen.netns.as_ref().filter(|netns| netns.cookie == entry.netns)?.pid;
                (entry.class() == Class::Wired).then(|| Wired { uid: uid.clone(), entry, pid })
            })
            .collect();
        self.parts.roster.publish(wired);
        let mut sizes = self.parts.content.sizes();
        for (map, entries) in [
            ("mesh_pods", self.held.cgroups.len()),
            ("mesh_local", self.held.local.len()),
            ("mesh_ifaces", self.held.interfaces.len()),
        ] {
            let capacity = u64::from(mesh_ebpf::abi::capacity::PODS);
            sizes.push((map.to_owned(), entries as u64, capacity));
        }
        let listeners = self.held.listeners.len() as u64 * 2;
        let capacity = u64::from(mesh_ebpf::abi::capacity::LISTENERS);
        sizes.push(("mesh_listeners".to_owned(), listeners, capacity));
        let proof = self.held.settings.flags & Settings::LOCAL_PROOF != 0;
        self.parts.health.publish(sizes, proof && self.trouble.is_empty());
    }

    /// Tells relay what changed of the pods.
    fn report(&mut self) {
        let reports: BTreeMap<String, PodReport> =
            self.seen.pods.keys().filter_map(|uid| Some((uid.clone(), self.report_of(uid)?))).collect();
        for (uid, report) in &reports {
            if self.reported.get(uid) != Some(report) {
                tracing::info!(
                    node = self.parts.name,
                    pod = self.pods.get(uid).map_or(uid.as_str(), |pod| pod.name.as_str()),
                    state = ?report.state,
                    reason = report.reason,
                    late = report.late_enrolled,
                    "pod"
                );
                self.parts.outbox.say(FromWire::Pod(report.clone()));
            }
        }
        let gone: Vec<String> =
            self.reported.keys().filter(|uid| !reports.contains_key(*uid)).cloned().collect();
        for uid in gone {
            // Its namespace goes with it: whoever still talks to it would only time out.
            let addresses = self.pods.get(&uid).filter(|pod| !pod.host_network);
            self.gone
                .extend(addresses.into_iter().flat_map(|pod| &pod.addresses).map(|ip| Address::from(*ip)));
            self.ran_before.remove(&uid);
            self.late.remove(&uid);
            self.parts.older.forget(&uid);
            self.parts.outbox.say(FromWire::PodGone { uid });
        }
        self.reported = reports;
    }

    fn report_of(&self, uid: &str) -> Option<PodReport> {
        let seen = self.seen.pods.get(uid)?;
        let decision = self.decisions.get(uid)?;
        let netns = seen.netns.as_ref();
        let interfaces = netns.map(|netns| &netns.interfaces);
        let validated = interfaces.is_some_and(|all| {
            !all.is_empty() && all.iter().all(|index| self.held.validated.contains(index))
        }) && netns.is_some_and(|netns| netns.past_the_host_side.is_empty());
        let enforced = self.held.cgroups.get(&seen.cgroup).map(mesh_ebpf::abi::Pod::class);
        // Decided is not done: an action may have failed in the last round.
        let state = match (decision.state, enforced) {
            (PodState::Wired, Some(Class::Wired)) => PodState::Wired,
            (PodState::Wired, Some(Class::Plain)) => PodState::Plain,
            (PodState::Wired, _) => PodState::Pending,
            (other, _) => other,
        };
        Some(PodReport {
            uid: uid.to_owned(),
            state,
            reason: decision.reason.clone(),
            late_enrolled: state == PodState::Wired && self.late.contains(uid),
            preexisting_connections: self.parts.older.count(uid),
            validated,
            cgroup: seen.cgroup,
            netns: netns.map_or(0, |netns| netns.cookie),
            interface: interfaces.and_then(|all| all.first()).copied().unwrap_or(0),
            routed: netns.map(|netns| netns.routed.clone()).unwrap_or_default(),
            listeners: netns.map_or(0, |netns| self.parts.kernel.listeners.made_at(netns.cookie)),
        })
    }
}
