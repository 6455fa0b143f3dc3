//! Giving memory that was freed back to the system.

/// Returns the free pages of every arena of the allocator to the system. glibc does that by itself
/// only for the end of an arena, so what one burst of connections used would stay for ever.
#[cfg(target_env = "gnu")]
pub(crate) fn give_back() {
    // SAFETY: takes the allocator's own locks and touches nothing that is in use; any thread may
    // call it at any time.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators give back by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn give_back() {}
