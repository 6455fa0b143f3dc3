//! The members of `union bpf_attr` that are used, laid out as in `include/uapi/linux/bpf.h`.
//!
//! The kernel takes a shorter attribute than it knows and reads the rest as 0.

/// `BPF_OBJ_PIN`, `BPF_OBJ_GET`.
#[derive(Default)]
#[repr(C)]
pub(super) struct Object {
    /// `pathname`.
    pub(super) path: u64,
    /// `bpf_fd`.
    pub(super) fd: u32,
    /// `file_flags`.
    pub(super) flags: u32,
}

/// `BPF_LINK_CREATE`.
#[derive(Default)]
#[repr(C)]
pub(super) struct LinkCreate {
    /// `prog_fd`.
    pub(super) program: u32,
    /// `target_fd` or `target_ifindex`.
    pub(super) target: u32,
    /// `attach_type`.
    pub(super) attach_type: u32,
    /// `flags`: 0, which for cgroups means multi (KERNEL 10).
    pub(super) flags: u32,
    /// `tcx.relative_fd`, `tcx.expected_revision`: last in the list, any revision.
    pub(super) relative: [u64; 2],
}

/// `BPF_LINK_UPDATE`.
#[derive(Default)]
#[repr(C)]
pub(super) struct LinkUpdate {
    /// `link_fd`.
    pub(super) link: u32,
    /// `new_prog_fd`.
    pub(super) program: u32,
    /// `flags`.
    pub(super) flags: u32,
    /// `old_prog_fd`.
    pub(super) old_program: u32,
}

/// `BPF_LINK_DETACH`.
#[repr(C)]
pub(super) struct LinkDetach {
    /// `link_fd`.
    pub(super) link: u32,
}

/// `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
pub(super) struct Info {
    /// `bpf_fd`.
    pub(super) fd: u32,
    /// `info_len`.
    pub(super) length: u32,
    /// `info`.
    pub(super) info: u64,
}

/// `BPF_PROG_QUERY`.
#[derive(Default)]
#[repr(C)]
pub(super) struct Query {
    /// `target_fd` or `target_ifindex`.
    pub(super) target: u32,
    /// `attach_type`.
    pub(super) attach_type: u32,
    /// `query_flags`.
    pub(super) query_flags: u32,
    /// `attach_flags`, an answer.
    pub(super) attach_flags: u32,
    /// `prog_ids`.
    pub(super) programs: u64,
    /// `prog_cnt`: room, then how many there are.
    pub(super) count: u32,
    /// Padding.
    pub(super) reserved: u32,
    /// `prog_attach_flags`, `link_ids`, `link_attach_flags`, `revision`.
    pub(super) rest: [u64; 4],
}

/// `struct bpf_link_info`, as far as its first union member.
#[derive(Default)]
#[repr(C)]
pub(super) struct LinkInfoRaw {
    /// `type`.
    pub(super) kind: u32,
    /// `id`.
    pub(super) id: u32,
    /// `prog_id`.
    pub(super) program: u32,
    /// Padding.
    pub(super) reserved: u32,
    /// `cgroup.cgroup_id`, or in its first half `netns.netns_ino` or `tcx.ifindex`.
    pub(super) target: u64,
    /// `cgroup.attach_type` and what other link types have.
    pub(super) rest: [u64; 6],
}
