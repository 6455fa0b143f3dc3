//! The rules of every class of pods, made once for all pods of it, and which class each pod is of.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{Class, Directions, DnsRule, Policy, Shades, directions, shades};
use crate::objects::ObjectName;

/// The classes that there are.
#[derive(Debug, Default)]
pub(in super::super) struct Classes {
    of_pods: BTreeMap<ObjectName, Arc<Class>>,
    classes: HashMap<Arc<Class>, Made>,
    /// Some came or went since somebody last looked.
    moved: bool,
}

#[derive(Debug)]
struct Made {
    rules: Arc<Directions>,
    shades: Shades,
    pods: usize,
}

impl Classes {
    /// Forgets everything: policies changed.
    pub(in super::super) fn clear(&mut self) {
        self.of_pods.clear();
        self.classes.clear();
        self.moved = true;
    }

    /// A pod is of this class now: its rules.
    pub(in super::super) fn put(
        &mut self,
        pod: &ObjectName,
        class: Class,
        policies: &[Arc<Policy>],
        dns: &DnsRule,
    ) -> Arc<Directions> {
        if let Some(last) = self.of_pods.get(pod).filter(|last| ***last == class)
            && let Some(made) = self.classes.get(last)
        {
            return made.rules.clone();
        }
        self.forget(pod);
        let class = Arc::new(class);
        self.of_pods.insert(pod.clone(), class.clone());
        if let Some(made) = self.classes.get_mut(&class) {
            made.pods += 1;
            return made.rules.clone();
        }
        let rules = Arc::new(directions(&class, policies, dns));
        let shades = shades(&class, &rules, policies, dns);
        self.classes.insert(class, Made { rules: rules.clone(), shades, pods: 1 });
        self.moved = true;
        rules
    }

    /// A pod is gone, or has no rules any more.
    pub(in super::super) fn forget(&mut self, pod: &ObjectName) {
        let Some(class) = self.of_pods.remove(pod) else { return };
        let Some(made) = self.classes.get_mut(&class) else { return };
        made.pods -= 1;
        if made.pods == 0 {
            self.classes.remove(&class);
            self.moved = true;
        }
    }

    /// What they say of policies, if it may be other than when this was last asked.
    pub(in super::super) fn changed_shades(&mut self) -> Option<impl Iterator<Item = &Shades>> {
        std::mem::take(&mut self.moved).then(|| self.classes.values().map(|made| &made.shades))
    }
}
