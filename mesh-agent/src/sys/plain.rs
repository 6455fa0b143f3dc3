//! Plain data out of bytes.

use mesh_ebpf::abi::Event;

/// An event out of a record of the ring, which need not be aligned as an [`Event`] is.
pub(crate) fn event(bytes: &[u8; size_of::<Event>()]) -> Event {
    // SAFETY: the array is exactly as long as an `Event`, which is made of integers and byte arrays
    // only (aya's `Pod`), so every bit pattern is one.
    unsafe { bytes.as_ptr().cast::<Event>().read_unaligned() }
}
