//! The kernel helpers that the hooks use, with what the verifier asks of a call kept here.

use core::{arch::asm, ptr};

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    helpers::{
        bpf_get_prandom_u32, bpf_ktime_get_ns, bpf_set_retval, bpf_sk_storage_delete, bpf_sk_storage_get,
    },
};
use mesh_ebpf::abi::{Counter, PodUse, Settings, Socket};

use crate::maps::{COUNTERS, SETTINGS, SOCKETS, USE};

/// Operation not permitted: a policy refuses it.
pub const EPERM: i32 = 1;
/// Try again: a bound is reached.
pub const EAGAIN: i32 = 11;
/// Network unreachable: the pod has none yet.
pub const ENETUNREACH: i32 = 101;
/// No route to host: the Service has no endpoint.
pub const EHOSTUNREACH: i32 = 113;

/// What a cgroup hook returns to let the call go on.
pub const GO_ON: i32 = 1;

/// Makes the system call fail with `errno`; the hook returns this.
#[inline(always)]
pub fn fail(errno: i32) -> i32 {
    // SAFETY: takes a number; valid in every program type that calls this.
    unsafe { bpf_set_retval(-errno) };
    0
}

/// Nanoseconds of the monotonic clock.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: takes nothing.
    unsafe { bpf_ktime_get_ns() }
}

/// A random number.
#[inline(always)]
pub fn random() -> u32 {
    // SAFETY: takes nothing.
    unsafe { bpf_get_prandom_u32() }
}

/// The node's settings. An array always has its first value; a hook that finds none refuses.
#[inline(always)]
pub fn settings() -> Option<&'static Settings> {
    SETTINGS.get(0)
}

/// Counts one.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the verifier checked the index; the value is this CPU's own, and a program that
        // interrupts this one on it can cost a count, nothing else.
        unsafe { *value += 1 };
    }
}

/// What the pod of `slot` uses.
#[inline(always)]
pub fn use_of(slot: u32) -> Option<&'static PodUse> {
    USE.get(slot)
}

/// Adds to a counter that several CPUs share. The target's `core` has no atomics (they are BPF
/// instructions of later instruction sets than its baseline), the plain addition is in all of them.
#[inline(always)]
pub fn add(value: &u64, amount: u64) {
    // SAFETY: `value` is in a map: valid, aligned, and only ever changed by this instruction.
    unsafe {
        asm!(
            "lock *(u64 *)({value} + 0) += {amount}",
            value = in(reg) ptr::from_ref(value),
            amount = in(reg) amount,
        );
    }
}

/// The record on a socket, if it has one.
///
/// # Safety
/// `sk` is a socket pointer the verifier knows, or null.
#[inline(always)]
pub unsafe fn socket<'a>(sk: *mut bpf_sock) -> Option<&'a mut Socket> {
    if sk.is_null() {
        return None;
    }
    // SAFETY: the map is a socket storage; the caller vouches for `sk`; no value is created. The
    // helper gives null or a value that lives as long as the socket, which outlives the program.
    unsafe {
        bpf_sk_storage_get((&raw const SOCKETS).cast_mut().cast(), sk.cast(), ptr::null_mut(), 0)
            .cast::<Socket>()
            .as_mut()
    }
}

/// The record on a socket, made of zeros if it has none; nothing when there is no memory.
///
/// # Safety
/// `sk` is a socket pointer the verifier knows, or null.
#[inline(always)]
pub unsafe fn socket_or_new<'a>(sk: *mut bpf_sock) -> Option<&'a mut Socket> {
    if sk.is_null() {
        return None;
    }
    // SAFETY: as `socket`; with the flag the helper makes a zeroed value, and every bit pattern is
    // a `Socket`.
    unsafe {
        bpf_sk_storage_get(
            (&raw const SOCKETS).cast_mut().cast(),
            sk.cast(),
            ptr::null_mut(),
            u64::from(BPF_SK_STORAGE_GET_F_CREATE),
        )
        .cast::<Socket>()
        .as_mut()
    }
}

/// Removes the record from a socket.
///
/// # Safety
/// `sk` is a socket pointer the verifier knows, or null.
#[inline(always)]
pub unsafe fn forget_socket(sk: *mut bpf_sock) {
    if !sk.is_null() {
        // SAFETY: as `socket`.
        unsafe { bpf_sk_storage_delete((&raw const SOCKETS).cast_mut().cast(), sk.cast()) };
    }
}
