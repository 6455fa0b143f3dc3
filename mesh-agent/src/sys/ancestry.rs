//! Which cgroups the calling process is in, as the kernel numbers them from its own root.
//!
//! The hooks find a pod by its depth below the root of the whole hierarchy. A mount shows no more
//! than what is below its own root, and a process in a cgroup namespace is told paths that begin
//! there, so on a node that is itself somebody's container neither tells how deep anything is. The
//! kernel does: a program that is run on a made-up packet sees a socket made by whoever runs it, and
//! may ask for any ancestor of that socket's cgroup (`bpf_skb_ancestor_cgroup_id`, since 4.18).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::bpf::{AttachType, call};
use super::feature::{ProgramType, load};

/// Id of the root of the hierarchy, in every kernel.
pub(crate) const ROOT: u64 = 1;

/// No hierarchy is deeper; it bounds the loop.
const DEEPEST: u32 = 128;

const PROG_TEST_RUN: libc::c_int = 10;

/// Bytes of the made-up packet: a header and something behind it.
const PACKET: usize = 64;

/// Words of `struct __sk_buff`, with room for those that later kernels add.
const CONTEXT: usize = 128;

/// Where `cb` begins in it, in words: the depth that is asked for, then the two halves of the id.
const CB: usize = 12;

const fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    let registers =
        if cfg!(target_endian = "little") { source << 4 | destination } else { destination << 4 | source };
    let (offset, immediate) = (offset.to_ne_bytes(), immediate.to_ne_bytes());
    u64::from_ne_bytes([
        code,
        registers,
        offset[0],
        offset[1],
        immediate[0],
        immediate[1],
        immediate[2],
        immediate[3],
    ])
}

/// Asks for the ancestor at the depth in `cb[0]`, puts its id into `cb[1]` and `cb[2]`.
const ASK: [u64; 8] = [
    // r6 = r1, the packet
    instruction(0xbf, 6, 1, 0, 0),
    // r2 = cb[0]
    instruction(0x61, 2, 1, (CB * 4) as i16, 0),
    // r0 = bpf_skb_ancestor_cgroup_id(r1, r2)
    instruction(0x85, 0, 0, 0, 83),
    // cb[1] = r0's lower half
    instruction(0x63, 6, 0, (CB * 4 + 4) as i16, 0),
    // r0 >>= 32
    instruction(0x77, 0, 0, 0, 32),
    // cb[2] = what was its upper half
    instruction(0x63, 6, 0, (CB * 4 + 8) as i16, 0),
    // return 1: the packet may go on
    instruction(0xb7, 0, 0, 0, 1),
    instruction(0x95, 0, 0, 0, 0),
];

/// `BPF_PROG_TEST_RUN`.
#[derive(Default)]
#[repr(C)]
struct Run {
    program: u32,
    answer: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    reserved: u32,
}

/// Ids of the cgroups that the calling process is in: the hierarchy's root first, its own last.
///
/// # Errors
/// As `BPF_PROG_LOAD` and `BPF_PROG_TEST_RUN`; `Unsupported` when the kernel tells not even the root.
pub(crate) fn ancestors() -> io::Result<Vec<u64>> {
    let program = load(ProgramType::CgroupSkb, AttachType::CgroupInetEgress, &ASK)?;
    let mut ids = Vec::new();
    for depth in 0..DEEPEST {
        match ancestor(program.as_fd(), depth)? {
            0 => break,
            id => ids.push(id),
        }
    }
    if ids.is_empty() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(ids)
}

/// Id of the ancestor at a depth; 0 where the process is not that deep.
fn ancestor(program: BorrowedFd<'_>, depth: u32) -> io::Result<u64> {
    let packet = [0u8; PACKET];
    let mut context = [0u32; CONTEXT];
    context[CB] = depth;
    let mut answered = [0u32; CONTEXT];
    let mut run = Run {
        program: program.as_raw_fd().cast_unsigned(),
        data_size_in: PACKET as u32,
        data_in: packet.as_ptr() as u64,
        context_size_in: size_of_val(&context) as u32,
        context_size_out: size_of_val(&answered) as u32,
        context_in: context.as_ptr() as u64,
        context_out: answered.as_mut_ptr() as u64,
        ..Run::default()
    };
    // SAFETY: `packet`, `context` and `answered` outlive the call and are as long as it is told; no
    // room for the packet itself is given, and none is used.
    unsafe { call(PROG_TEST_RUN, &mut run) }?;
    Ok(u64::from(answered[CB + 1]) | u64::from(answered[CB + 2]) << 32)
}

#[cfg(test)]
mod tests {
    use super::{ROOT, ancestors};

    #[test]
    fn a_process_knows_its_cgroups_from_the_root_down() {
        let ids = ancestors().expect("this test needs root: it runs a kernel program");
        assert_eq!(ids.first(), Some(&ROOT));
        let mut different = ids.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), ids.len(), "{ids:?}");
    }
}
