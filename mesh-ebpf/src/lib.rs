//! The kernel/user boundary of the data path, and the pure decisions taken on both sides of it.
//!
//! Everything here is `no_std`, allocates nothing and compiles for the kernel and for the host,
//! where it is unit- and property-tested. The programs that call it live in `bin/mesh/`, one
//! module per hook.
//!
//! | module | what it decides or describes |
//! |---|---|
//! | [`address`] | one 16-byte form for IPv4, IPv6 and v4-mapped addresses |
//! | [`abi`] | keys and values of the maps, settings, counters and events |
//! | [`policy`] | the verdict: flat longest-prefix keys and their precedence |
//! | [`pick`] | which endpoint of a Service a connection gets |
//! | [`egress`] | what a connect towards a destination is: direct, refused, and why |
//! | [`packet`] | the source-address and escape checks on a pod's interface |
//! | [`ended`] | how a connection ended, from what the kernel says of it |
//! | [`quota`] | how many connections a pod may hold |
#![no_std]

#[cfg(any(test, feature = "user"))]
extern crate std;

pub mod abi;
pub mod address;
pub mod egress;
pub mod ended;
pub mod packet;
pub mod pick;
pub mod policy;
pub mod quota;
