//! Slots of `mesh_use`: one small number per pod of the node, under which the kernel counts what
//! the pod uses.

use std::collections::{BTreeMap, BTreeSet};

use mesh_ebpf::abi::capacity::PODS;

/// Which slot is whose.
#[derive(Debug, Default)]
pub(super) struct Slots {
    by_pod: BTreeMap<u64, u32>,
    taken: BTreeSet<u32>,
    next: u32,
}

impl Slots {
    /// The slots of pods that an earlier wire left in the maps: (UID hash, slot).
    pub(super) fn adopt(pods: impl IntoIterator<Item = (u64, u32)>) -> Self {
        let mut slots = Self::default();
        for (pod, slot) in pods {
            if slot != 0 && slots.taken.insert(slot) {
                slots.by_pod.insert(pod, slot);
            }
        }
        slots
    }

    /// The slot of a pod.
    pub(super) fn get(&self, pod: u64) -> Option<u32> {
        self.by_pod.get(&pod).copied()
    }

    /// The pod's slot, a free one if it had none; none when all are in use. A freed slot that open
    /// flows still count under is not free: `unused` tells, and wipes the one it says yes to.
    pub(super) fn ensure(&mut self, pod: u64, mut unused: impl FnMut(u32) -> bool) -> Option<u32> {
        if let Some(slot) = self.get(pod) {
            return Some(slot);
        }
        // Starting after the last one given leaves a freed slot alone for as long as possible.
        for _ in 1..PODS {
            self.next = self.next % (PODS - 1) + 1;
            if !self.taken.contains(&self.next) && unused(self.next) {
                self.taken.insert(self.next);
                self.by_pod.insert(pod, self.next);
                return Some(self.next);
            }
        }
        None
    }

    /// Frees the slots of pods that are not among `alive`.
    pub(super) fn retain(&mut self, alive: &BTreeSet<u64>) {
        let taken = &mut self.taken;
        self.by_pod.retain(|pod, slot| alive.contains(pod) || !taken.remove(slot));
    }
}

#[cfg(test)]
mod tests {
    use super::{PODS, Slots};
    use std::collections::BTreeSet;

    #[test]
    fn a_slot_is_one_pods_and_never_zero() {
        let mut slots = Slots::adopt([(9, 1), (8, 1), (7, 0)]);
        assert_eq!(slots.get(9), Some(1));
        assert_eq!(slots.get(8), None);
        let second = slots.ensure(8, |_| true).unwrap();
        assert_ne!(second, 1);
        assert_ne!(second, 0);
        assert_eq!(slots.ensure(8, |_| true), Some(second));
    }

    #[test]
    fn a_slot_that_flows_still_use_is_not_given_again() {
        let mut slots = Slots::default();
        let first = slots.ensure(1, |_| true).unwrap();
        slots.retain(&BTreeSet::new());
        for pod in 2..u64::from(PODS) {
            assert_ne!(slots.ensure(pod, |slot| slot != first), Some(first));
        }
        assert_eq!(slots.ensure(u64::MAX, |slot| slot != first), None);
        assert_eq!(slots.ensure(u64::MAX, |_| true), Some(first));
    }
}
