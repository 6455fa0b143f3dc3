//! Compiled sets, shared between pods.

use std::collections::BTreeMap;
use std::rc::Rc;

use mesh_ebpf::policy::SetId;

use crate::handover::PolicySet;
use crate::relay::compile::CompileError;

/// Sets by name, each with how many policies compiled to it.
#[derive(Debug, Default)]
pub(super) struct Sets(BTreeMap<SetId, (Rc<PolicySet>, usize)>);

impl Sets {
    /// The set, unless another is held under its id. An id is a hash cut short, and who writes policies
    /// chooses what is hashed: two may be made to meet.
    ///
    /// # Errors
    /// When there is another.
    pub(super) fn alone(&self, set: PolicySet) -> Result<PolicySet, CompileError> {
        match self.0.get(&set.id) {
            Some((held, _)) if **held != set => {
                tracing::error!(
                    set = format!("{:#x}", set.id.0),
                    "two policies have the same id and different content; the later one denies everything"
                );
                Err(CompileError::SameId { id: set.id })
            }
            _ => Ok(set),
        }
    }

    /// Holds a set once more; true when it is new. The empty set is nobody's.
    pub(super) fn hold(&mut self, set: &Rc<PolicySet>) -> bool {
        if set.id == SetId::EMPTY {
            return false;
        }
        let (_, holders) = self.0.entry(set.id).or_insert_with(|| (Rc::clone(set), 0));
        *holders += 1;
        *holders == 1
    }

    /// Holds a set once less; true when nobody holds it any more.
    pub(super) fn release(&mut self, id: SetId) -> bool {
        let Some((_, holders)) = self.0.get_mut(&id) else { return false };
        *holders -= 1;
        if *holders > 0 {
            return false;
        }
        self.0.remove(&id);
        true
    }

    /// A set that is held.
    pub(super) fn get(&self, id: SetId) -> Option<&Rc<PolicySet>> {
        self.0.get(&id).map(|(set, _)| set)
    }

    /// Every set that is held.
    pub(super) fn ids(&self) -> impl Iterator<Item = SetId> {
        self.0.keys().copied()
    }
}
