//! Loading the smallest program of a type, to see whether the kernel takes it.

use std::io;
use std::os::fd::OwnedFd;

use super::bpf::{AttachType, call, owned};

/// Program types (`enum bpf_prog_type`) the mesh uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum ProgramType {
    /// tc and tcx.
    SchedClassifier = 3,
    /// Packets of a cgroup.
    CgroupSkb = 8,
    /// TCP life events.
    SockOps = 13,
    /// `connect`, `sendmsg` and their kin.
    CgroupSockAddr = 18,
    /// `getsockopt` and `setsockopt`.
    CgroupSockopt = 25,
    /// The choice of a listener.
    SkLookup = 30,
}

/// Start of `BPF_PROG_LOAD`'s attribute.
#[derive(Default)]
#[repr(C)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

const PROG_LOAD: libc::c_int = 5;

/// `r0 = 1; exit`, as `struct bpf_insn`s: the one answer that every type of program may give.
const ANSWER_ONE: [u64; 2] =
    [u64::from_ne_bytes([0xb7, 0, 0, 0, 1, 0, 0, 0]), u64::from_ne_bytes([0x95, 0, 0, 0, 0, 0, 0, 0])];

/// Loads a program of two instructions.
///
/// # Errors
/// As `BPF_PROG_LOAD`; `EINVAL` for a type that this kernel does not know.
pub(crate) fn load_smallest(program_type: ProgramType, attach_type: AttachType) -> io::Result<OwnedFd> {
    load(program_type, attach_type, &ANSWER_ONE)
}

/// Loads a program that is written down by hand.
///
/// # Errors
/// As `BPF_PROG_LOAD`.
pub(super) fn load(
    program_type: ProgramType,
    attach_type: AttachType,
    instructions: &[u64],
) -> io::Result<OwnedFd> {
    let license = c"GPL";
    let mut attr = Load {
        program_type: program_type as u32,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        expected_attach_type: match program_type {
            // Takes any, but keeps what it got and then refuses another at attach.
            ProgramType::SchedClassifier => 0,
            _ => attach_type as u32,
        },
        ..Load::default()
    };
    // SAFETY: the license is static, and the instructions outlive the call; there are as many as it
    // says.
    unsafe { call(PROG_LOAD, &mut attr) }.map(owned)
}
