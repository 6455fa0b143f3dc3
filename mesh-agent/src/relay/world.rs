//! What the workers know of the mesh: who is at an address, and the policies of local pods.
//!
//! The control thread writes it as discovery changes; workers read it once per connection under a
//! lock held for a look-up, never across I/O. Everything handed out is shared by reference count,
//! so a reader keeps a consistent view of what it took.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::Duration;

use mesh_api::{GroupId, SpiffeId};
use mesh_ebpf::abi::Workload as Flags;
use mesh_ebpf::policy::{Peer, SetId};
use tokio::sync::watch;

use super::access::{PodRules, Set};
use super::compile::peer_flags;
use super::resource::Workload;
use crate::handover::{PolicySet, SetDigest};

/// Why nobody is expected at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    /// Discovery knows no enrolled pod there.
    Nobody,
    /// The enrolled pod there is not the one that was picked.
    Another,
}

/// A pod of this node that is enrolled.
#[derive(Debug)]
pub(crate) struct Resident {
    /// Its UID.
    pub uid: Arc<str>,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The name metrics know it by.
    pub workload: String,
    /// Its identity.
    pub id: Arc<SpiffeId>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// `encryption: Always` holds for it.
    pub encrypt_always: bool,
    /// Its compiled ingress policy.
    pub ingress: Arc<Set>,
    /// Its compiled egress policy, for what relay connects to on its behalf.
    pub egress: Arc<Set>,
    /// Its policy for what is decided by request; `None` denies.
    pub rules: Option<Arc<PodRules>>,
}

/// A pod anywhere, by one of its addresses.
#[derive(Debug, Clone)]
struct Known {
    /// Resource name.
    resource: Arc<str>,
    id: Arc<SpiffeId>,
    group: u64,
    /// Those that this same pod had before, the latest first: a connection that was made meanwhile was made to it.
    former: Vec<u64>,
    /// Bits of [`mesh_ebpf::abi::Workload`].
    flags: u32,
}

impl Known {
    fn is_enrolled(&self) -> bool {
        self.flags & Flags::ENROLLED != 0
    }
}

/// Who is at an address, as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whereabouts {
    /// Its group, 0 when several share the address.
    pub group: u64,
    /// Bits of [`mesh_ebpf::abi::Workload`].
    pub flags: u32,
}

/// A local pod and its policy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settled<'a> {
    /// The pod.
    pub workload: &'a Workload,
    /// Its compiled ingress policy; `None` is the empty one.
    pub ingress: Option<&'a PolicySet>,
    /// Its compiled egress policy; `None` is the empty one.
    pub egress: Option<&'a PolicySet>,
    /// Its rules for what is decided by request; `None` denies.
    pub rules: Option<&'a Arc<PodRules>>,
}

/// What is known of proof within the node.
const UNTOLD: u8 = 0;
const HOLDS_NOT: u8 = 1;
const HOLDS: u8 = 2;

/// Former groups that are remembered of a pod: labels and policies change, but not that often within a connect.
const FORMER: usize = 8;

/// What is known of every pod.
#[derive(Debug)]
pub(crate) struct World {
    state: RwLock<State>,
    /// [`UNTOLD`], [`HOLDS`] or [`HOLDS_NOT`].
    local_proof: AtomicU8,
    whole: watch::Sender<bool>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    trust_domain: String,
    /// By resource name; what is needed to name it anew and to forget it.
    workloads: HashMap<Arc<str>, Named>,
    at: HashMap<IpAddr, Vec<Known>>,
    residents: HashMap<Arc<str>, Arc<Resident>>,
    /// By id, with the whole hash of what each decides.
    sets: HashMap<SetId, (SetDigest, Weak<Set>)>,
}

#[derive(Debug)]
struct Named {
    uid: String,
    /// The group and those before it, the latest first.
    groups: Vec<u64>,
    namespace: String,
    service_account: String,
    addresses: Vec<IpAddr>,
}

impl World {
    /// Nothing known: nobody may come in, nobody can be reached.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: RwLock::default(),
            local_proof: AtomicU8::new(UNTOLD),
            whole: watch::Sender::new(false),
            changed: watch::Sender::new(0),
        })
    }

    /// Told of every change that may change a verdict.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Sets the trust domain of every identity.
    pub(crate) fn set_trust_domain(&self, trust_domain: &str) {
        let mut state = self.write();
        if state.trust_domain == trust_domain {
            return;
        }
        trust_domain.clone_into(&mut state.trust_domain);
        let State { workloads, at, .. } = &mut *state;
        for known in at.values_mut().flatten() {
            let Some(named) = workloads.get(&known.resource) else { continue };
            if let Ok(id) = SpiffeId::new(trust_domain, &named.namespace, &named.service_account) {
                known.id = Arc::new(id);
            }
        }
        let renamed: Vec<_> = state
            .residents
            .values()
            .filter_map(|pod| {
                let id = SpiffeId::new(trust_domain, pod.id.namespace(), pod.id.service_account()).ok()?;
                Some(Arc::new(Resident {
                    uid: Arc::clone(&pod.uid),
                    namespace: pod.namespace.clone(),
                    name: pod.name.clone(),
                    workload: pod.workload.clone(),
                    id: Arc::new(id),
                    addresses: pod.addresses.clone(),
                    encrypt_always: pod.encrypt_always,
                    ingress: Arc::clone(&pod.ingress),
                    egress: Arc::clone(&pod.egress),
                    rules: pod.rules.clone(),
                }))
            })
            .collect();
        state.residents.extend(renamed.into_iter().map(|pod| (Arc::clone(&pod.uid), pod)));
        drop(state);
        self.bump();
    }

    /// Takes a pod, new or changed. One without a service account is nobody that could prove it.
    pub(crate) fn learn(&self, resource: &str, workload: &Workload) {
        let mut state = self.write();
        let before = state.forget(resource).filter(|named| named.uid == workload.uid);
        let mut groups = before.map(|named| named.groups).unwrap_or_default();
        groups.retain(|group| *group != workload.group);
        groups.insert(0, workload.group);
        groups.truncate(FORMER + 1);
        let id = SpiffeId::new(&state.trust_domain, &workload.namespace, &workload.service_account);
        if let Ok(id) = id
            .or_else(|_| SpiffeId::new(UNNAMED_TRUST_DOMAIN, &workload.namespace, &workload.service_account))
        {
            let resource: Arc<str> = resource.into();
            let id = Arc::new(id);
            for &address in &workload.addresses {
                state.at.entry(address.to_canonical()).or_default().push(Known {
                    resource: Arc::clone(&resource),
                    id: Arc::clone(&id),
                    group: workload.group,
                    former: groups[1..].to_vec(),
                    flags: peer_flags(workload),
                });
            }
            let named = Named {
                uid: workload.uid.clone(),
                groups,
                namespace: workload.namespace.clone(),
                service_account: workload.service_account.clone(),
                addresses: workload.addresses.clone(),
            };
            state.workloads.insert(resource, named);
        }
        drop(state);
        self.bump();
    }

    /// Forgets a pod.
    pub(crate) fn forget(&self, resource: &str) {
        self.write().forget(resource);
        self.bump();
    }

    /// Takes a local pod, or forgets it when it is no enrolled pod of this node any more.
    pub(crate) fn settle(&self, uid: &str, pod: Option<Settled<'_>>) {
        let mut state = self.write();
        let resident = pod.filter(|pod| pod.workload.enrolled).and_then(|pod| {
            let Settled { workload, ingress, egress, rules } = pod;
            let trust_domain = match state.trust_domain.as_str() {
                "" => UNNAMED_TRUST_DOMAIN,
                known => known,
            };
            let id = SpiffeId::new(trust_domain, &workload.namespace, &workload.service_account).ok()?;
            Some(Resident {
                uid: uid.into(),
                namespace: workload.namespace.clone(),
                name: workload.name.clone(),
                workload: workload.workload.clone(),
                id: Arc::new(id),
                addresses: workload.addresses.iter().map(IpAddr::to_canonical).collect(),
                encrypt_always: workload.encrypt_always,
                ingress: state.set(ingress),
                egress: state.set(egress),
                rules: rules.cloned(),
            })
        });
        match resident {
            Some(resident) => state.residents.insert(Arc::clone(&resident.uid), Arc::new(resident)),
            None => state.residents.remove(uid),
        };
        state.sets.retain(|_, (_, set)| set.strong_count() > 0);
        drop(state);
        self.bump();
    }

    /// The enrolled local pod of a UID.
    pub(crate) fn resident(&self, uid: &str) -> Option<Arc<Resident>> {
        self.read().residents.get(uid).cloned()
    }

    /// The names that whoever answers at an address may prove: those of the enrolled pods that
    /// discovery knows there and that are or were of `group`, what was picked when the application
    /// connected (0: several shared the address then).
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn expected(&self, address: IpAddr, group: u64) -> Result<Arc<BTreeSet<SpiffeId>>, Absent> {
        let state = self.read();
        let there = state.at.get(&address.to_canonical()).into_iter().flatten();
        let mut enrolled = there.filter(|known| known.is_enrolled()).peekable();
        if enrolled.peek().is_none() {
            return Err(Absent::Nobody);
        }
        let is_picked = |known: &&Known| group == 0 || known.group == group || known.former.contains(&group);
        let picked = enrolled.filter(is_picked);
        let ids: BTreeSet<SpiffeId> = picked.map(|known| SpiffeId::clone(&known.id)).collect();
        if ids.is_empty() { Err(Absent::Another) } else { Ok(Arc::new(ids)) }
    }

    /// Who is at an address; `None` where discovery knows nobody.
    pub(crate) fn whereabouts(&self, address: IpAddr) -> Option<Whereabouts> {
        let state = self.read();
        let mut there = state.at.get(&address.to_canonical())?.iter();
        let first = there.next()?;
        let one = Whereabouts { group: first.group, flags: first.flags };
        Some(there.fold(one, |seen, other| {
            let flags = seen.flags | other.flags;
            if seen.group == other.group {
                return Whereabouts { flags, ..seen };
            }
            Whereabouts { group: 0, flags: flags | Flags::HOST_NETWORK }
        }))
    }

    /// Whom an address claims to be, without proof, as the kernel's gate takes it.
    pub(crate) fn claimed(&self, address: IpAddr) -> Peer {
        match self.whereabouts(address) {
            Some(there) if there.flags & Flags::HOST_NETWORK == 0 => Peer::Claimed(there.group),
            _ => Peer::Unknown,
        }
    }

    /// Whether a connection within the node is proof of who makes it (SEMANTICS 2.2).
    pub(crate) fn has_local_proof(&self) -> bool {
        self.local_proof.load(Ordering::Relaxed) == HOLDS
    }

    /// Sets whether it is, as wire tells it.
    pub(crate) fn set_local_proof(&self, holds: bool) {
        let told = if holds { HOLDS } else { HOLDS_NOT };
        if self.local_proof.swap(told, Ordering::Relaxed) != told {
            self.bump();
        }
    }

    /// Whether wire has told that.
    pub(crate) fn knows_local_proof(&self) -> bool {
        self.local_proof.load(Ordering::Relaxed) != UNTOLD
    }

    /// Discovery, or the snapshot, has told a whole state.
    pub(crate) fn set_whole(&self) {
        self.whole.send_replace(true);
    }

    /// Waits until it has; false when that takes longer.
    pub(crate) async fn whole_within(&self, within: Duration) -> bool {
        let mut whole = self.whole.subscribe();
        let told = whole.wait_for(|whole| *whole);
        tokio::time::timeout(within, told).await.is_ok()
    }

    /// The group of a peer that proved `id` and comes from `address`: its pod's, where exactly one
    /// class of pods there has that name, else that of the bare identity (SEMANTICS 2.5).
    pub(crate) fn group(&self, address: IpAddr, id: &SpiffeId) -> u64 {
        let state = self.read();
        let there = state.at.get(&address.to_canonical()).into_iter().flatten();
        let mut groups = there.filter(|known| *known.id == *id).map(|known| known.group);
        match groups.next() {
            Some(group) if groups.all(|other| other == group) => group,
            _ => GroupId::of_identity(id.namespace(), id.service_account()).get(),
        }
    }

    fn bump(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    // A writer that panicked left whole entries behind: every write is one insert or remove.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stands in until NodeConfig tells; no certificate is of it, so it matches nobody.
const UNNAMED_TRUST_DOMAIN: &str = "unknown.invalid";

impl State {
    fn forget(&mut self, resource: &str) -> Option<Named> {
        let named = self.workloads.remove(resource)?;
        for address in &named.addresses {
            let address = address.to_canonical();
            if let Some(there) = self.at.get_mut(&address) {
                there.retain(|known| *known.resource != *resource);
                if there.is_empty() {
                    self.at.remove(&address);
                }
            }
        }
        Some(named)
    }

    /// The worker's copy of a set, made once however many pods it is the policy of.
    fn set(&mut self, policy: Option<&PolicySet>) -> Arc<Set> {
        let id = policy.map_or(SetId::EMPTY, |policy| policy.id);
        let digest = policy.map_or([0; 32], PolicySet::digest);
        if let Some((held, set)) = self.sets.get(&id)
            && *held == digest
            && let Some(set) = set.upgrade()
        {
            return set;
        }
        let set = Arc::new(policy.map_or_else(Set::empty, Set::new));
        self.sets.insert(id, (digest, Arc::downgrade(&set)));
        set
    }
}
