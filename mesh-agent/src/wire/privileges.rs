//! Capabilities: what is kept, everything else is dropped for good before the first thread starts.

use caps::{CapSet, Capability, CapsHashSet};

/// What wire goes on needing; the reasons are in the module's page.
pub(super) const KEPT: [Capability; 5] = [
    Capability::CAP_BPF,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_PERFMON,
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_SYS_PTRACE,
];

/// The kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("dropping capabilities: {0}")]
pub(super) struct PrivilegesError(#[from] caps::errors::CapsError);

/// Drops every capability that is not kept, of this thread and all it starts, also for programs it
/// might run.
///
/// # Errors
/// When the kernel refuses, which would mean that more is held than can be given up.
pub(super) fn drop_unneeded() -> Result<(), PrivilegesError> {
    let held = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = KEPT.into_iter().filter(|one| held.contains(one)).collect();
    for capability in caps::all().difference(&kept) {
        // One that this kernel does not know, or that is not in the bounding set, is gone already.
        let _ = caps::drop(None, CapSet::Bounding, *capability);
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new())?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    Ok(())
}
