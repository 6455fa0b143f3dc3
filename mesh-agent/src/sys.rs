//! The raw system calls that no crate wraps: `bpf(2)` on links, namespace cookies, clocks, `poll`,
//! the mesh's own socket options.
//!
//! The one module of the host crates that may use `unsafe`. Each function takes and gives safe
//! types, does one system call, and says next to the call why it is sound. What a crate wraps
//! safely (`setns`, mounts, netlink, maps) is used from that crate and is not here.

pub(crate) mod ancestry;
pub(crate) mod bpf;
pub(crate) mod clock;
pub(crate) mod feature;
pub(crate) mod memory;
pub(crate) mod netns;
pub(crate) mod option;
pub(crate) mod plain;
pub(crate) mod poll;

use std::io;

/// The result of a system call that says -1 for failure.
fn checked(result: libc::c_long) -> io::Result<i32> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}
